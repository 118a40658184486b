/** RFC 7644 §3.5.2: PATCH as a table of what each operation does to each kind of target. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import {
  type Body,
  checkRows,
  enterpriseUrn,
  expectError,
  openMatrix,
  type Row,
  userUrn,
} from '../support/scim-rfc.ts';

const { user, get, made, group, patch, patched, refused } = openMatrix();

const work = { type: 'work', value: 'w@example.com' };
const home = { type: 'home', value: 'h@example.com' };
const patchRows: Row[] = [
  [
    'add without a path: each member as if added',
    async () =>
      expect(
        await patched({ title: 'A', emails: [work] }, { op: 'add', value: { nickName: 'N', emails: [home] } }),
      ).toMatchObject({
        title: 'A',
        nickName: 'N',
        emails: [work, home],
      }),
  ],
  [
    'add to a multi-valued attribute: appended; an equal element changes nothing, lastModified neither',
    async () => {
      expect(await patched({ emails: [work] }, { op: 'add', path: 'emails', value: [home] })).toMatchObject({
        emails: [work, home],
      });
      const user = await made({ emails: [work] });
      const again = await patch(`/Users/${user.id}`, {
        op: 'add',
        path: 'emails',
        value: [{ value: work.value, type: work.type }],
      });
      expect(again.body).toEqual(user);
    },
  ],
  [
    'add to a single-valued attribute: set; a complex one is merged',
    async () => {
      const before = { title: 'A', name: { givenName: 'G' } };
      const after = await patched(
        before,
        { op: 'add', path: 'title', value: 'B' },
        { op: 'add', path: 'name', value: { familyName: 'F' } },
      );
      expect(after).toMatchObject({ title: 'B', name: { givenName: 'G', familyName: 'F' } });
    },
  ],
  [
    'add with a value filter that matches nothing: makes the element that it describes',
    async () => {
      const add = { op: 'add', path: 'emails[type eq "home"].value', value: home.value };
      expect(await patched({ emails: [work] }, add)).toMatchObject({ emails: [work, home] });
      expect(await patched({}, add)).toMatchObject({ emails: [home] });
    },
  ],
  [
    'add with a value filter that matches: that element alone',
    async () =>
      expect(
        await patched({ emails: [work, home] }, { op: 'add', path: 'emails[type eq "work"].display', value: 'W' }),
      ).toMatchObject({ emails: [{ ...work, display: 'W' }, home] }),
  ],
  [
    'replace without a path: each member is set, the others stay',
    async () =>
      expect(
        await patched(
          { title: 'A', nickName: 'N', emails: [work] },
          { op: 'replace', value: { title: 'B', emails: [home] } },
        ),
      ).toMatchObject({
        title: 'B',
        nickName: 'N',
        emails: [home],
      }),
  ],
  [
    'replace of a multi-valued attribute: all of its elements',
    async () =>
      expect(
        (await patched({ emails: [work, home] }, { op: 'replace', path: 'emails', value: [home] })).emails,
      ).toEqual([home]),
  ],
  [
    'replace with a value filter: the elements that match, or what is named in them',
    async () => {
      const other = { type: 'other', value: 'o' };
      const before = { emails: [work, home] };
      expect((await patched(before, { op: 'replace', path: 'emails[type eq "work"]', value: other })).emails).toEqual([
        other,
        home,
      ]);
      const value = { op: 'replace', path: 'emails[type eq "work"].value', value: 'n' };
      expect((await patched(before, value)).emails).toEqual([{ type: 'work', value: 'n' }, home]);
    },
  ],
  [
    'replace with a value filter that matches nothing: noTarget',
    () => refused({ emails: [work] }, { op: 'replace', path: 'emails[type eq "home"].value', value: 'x' }, 'noTarget'),
  ],
  [
    'replace of what is not assigned: as add',
    async () =>
      expect(
        await patched(
          {},
          { op: 'replace', path: 'title', value: 'T' },
          { op: 'replace', path: 'name.givenName', value: 'G' },
        ),
      ).toMatchObject({ title: 'T', name: { givenName: 'G' } }),
  ],
  [
    'replace of a complex attribute: only the sub-attributes given',
    async () =>
      expect(
        (
          await patched(
            { name: { givenName: 'A', familyName: 'F' } },
            { op: 'replace', path: 'name', value: { givenName: 'B' } },
          )
        ).name,
      ).toEqual({ givenName: 'B', familyName: 'F' }),
  ],
  ['remove without a path: noTarget', () => refused({ title: 'A' }, { op: 'remove' }, 'noTarget')],
  [
    'remove of a single-valued attribute, a sub-attribute, an extension: not assigned any more',
    async () => {
      const before = { title: 'A', name: { givenName: 'G', familyName: 'F' }, [enterpriseUrn]: { division: 'D' } };
      const paths = ['title', 'name.givenName', enterpriseUrn];
      const after = await patched(before, ...paths.map((path) => ({ op: 'remove', path })));
      expect(after).not.toHaveProperty('title');
      expect(after).toMatchObject({ schemas: [userUrn], name: { familyName: 'F' } });
    },
  ],
  [
    'remove of a multi-valued attribute: all elements; with elements in value those alone',
    async () => {
      const before = { emails: [work, home] };
      expect(await patched(before, { op: 'remove', path: 'emails' })).not.toHaveProperty('emails');
      expect((await patched(before, { op: 'remove', path: 'emails', value: [{ value: home.value }] })).emails).toEqual([
        work,
      ]);
    },
  ],
  [
    'remove with a value filter: those that match, and the attribute with the last; none that match is success',
    async () => {
      const before = { emails: [work, home] };
      const remove = (type: string) => ({ op: 'remove', path: `emails[type eq "${type}"]` });
      expect((await patched(before, remove('work'))).emails).toEqual([home]);
      expect(await patched(before, remove('work'), remove('home'))).not.toHaveProperty('emails');
      expect((await patched(before, remove('other'))).emails).toEqual([work, home]);
      const display = { op: 'remove', path: 'emails[type eq "work"].type' };
      expect((await patched(before, display)).emails).toEqual([{ value: work.value }, home]);
    },
  ],
  [
    'remove of what is required or read-only: mutability',
    async () => {
      for (const path of ['userName', 'id', 'meta', 'groups', 'meta.version']) {
        await refused({ title: 'A' }, { op: 'remove', path }, 'mutability');
      }
      expectError(await patch(`/Groups/${await group()}`, { op: 'remove', path: 'displayName' }), 400, 'mutability');
    },
  ],
  [
    'add and replace of what is read-only: mutability',
    async () => {
      for (const path of ['id', 'meta', 'groups', 'meta.created', `${enterpriseUrn}:manager.displayName`]) {
        for (const op of ['add', 'replace']) await refused({ title: 'A' }, { op, path, value: 'x' }, 'mutability');
      }
    },
  ],
  [
    'a path that is malformed or names nothing: invalidPath',
    async () => {
      for (const path of [
        'shoeSize',
        'name.shoeSize',
        'emails[',
        'emails[type eq',
        'emails[shoe eq "x"]',
        'title[value eq "x"]',
        'a b',
        '.',
        'emails[type eq "x"].shoe',
        'urn:x:title',
      ]) {
        await refused({ emails: [work] }, { op: 'add', path, value: 'x' }, 'invalidPath');
      }
    },
  ],
  [
    'a value of the wrong type, or none: invalidValue',
    async () => {
      for (const operation of [
        { op: 'add', path: 'title', value: 7 },
        { op: 'replace', path: 'name', value: 'x' },
        { op: 'add', path: 'title' },
        { op: 'add', value: 'x' },
        { op: 'replace', path: 'userName', value: null },
        { op: 'replace', path: 'userName', value: '' },
      ]) {
        await refused({ title: 'A' }, operation, 'invalidValue');
      }
    },
  ],
  [
    'null as the value of replace: not assigned any more (RFC 7643 §2.5)',
    async () =>
      expect(await patched({ title: 'A' }, { op: 'replace', path: 'title', value: null })).not.toHaveProperty('title'),
  ],
  [
    'an element set primary: no other is any more',
    async () => {
      const before = { emails: [{ ...work, primary: true }, home] };
      const after = await patched(before, { op: 'add', path: 'emails[type eq "home"].primary', value: true });
      expect(after.emails).toEqual([
        { ...work, primary: false },
        { ...home, primary: true },
      ]);
      const third = { value: 't', primary: true };
      expect([(await patched(before, { op: 'add', path: 'emails', value: [third] })).emails].flat().at(-1)).toEqual(
        third,
      );
    },
  ],
  [
    'op and path in any case, a path with the URN',
    async () =>
      expect(
        await patched(
          {},
          { op: 'Add', path: 'TITLE', value: 'A' },
          { op: 'REPLACE', path: `${userUrn}:Name.GivenName`, value: 'G' },
          { OP: 'add', PATH: `${enterpriseUrn}:Department`, VALUE: 'D' },
        ),
      ).toMatchObject({ title: 'A', name: { givenName: 'G' }, [enterpriseUrn]: { department: 'D' } }),
  ],
  [
    'operations see what those before them did; the whole is one change',
    async () => {
      const after = await patched(
        { emails: [work] },
        { op: 'remove', path: 'emails' },
        { op: 'add', path: 'emails', value: [home] },
        { op: 'replace', path: 'emails[type eq "home"].value', value: 'n' },
      );
      expect(after).toMatchObject({ emails: [{ type: 'home', value: 'n' }], meta: { version: 'W/"2"' } });
    },
  ],
  [
    'one operation that is refused: none is applied',
    () => refused({ title: 'A' }, { op: 'replace', path: 'id', value: 'x' }, 'mutability'),
  ],
  [
    'members of a group: added, again without effect, removed by filter and by value, all at once',
    async () => {
      const ids = [await user(), await user(), await user()];
      const path = `/Groups/${await group()}`;
      const members = async () =>
        [(await get(path)).members ?? []]
          .flat()
          .map((member) => Object(member).value)
          .sort();
      const change = async (operation: Body) => expect((await patch(path, operation)).status).toBeLessThan(300);
      await change({ op: 'add', path: 'members', value: ids.map((value) => ({ value })) });
      await change({ op: 'add', path: 'members', value: [{ value: ids[0] }] });
      expect(await members()).toEqual(ids.toSorted());
      await change({ op: 'remove', path: `members[value eq "${ids[0]}"]` });
      await change({ op: 'remove', path: 'members', value: [{ value: ids[1] }] });
      await change({ op: 'remove', path: 'members', value: [] });
      await change({ op: 'remove', path: 'members', value: [{ value: randomUUID() }] });
      expect(await members()).toEqual([ids[2]]);
      await change({ op: 'replace', path: 'members', value: [{ value: ids[0] }] });
      expect(await members()).toEqual([ids[0]]);
      await change({ op: 'remove', path: 'members' });
      expect(await members()).toEqual([]);
    },
  ],
];

checkRows('RFC 7644 §3.5.2 PATCH', patchRows);
