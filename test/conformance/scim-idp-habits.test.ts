/**
 * Habits of single identity providers, beyond the sequences of `scim-idps.test.ts`: what else their documentation and
 * client sources show that they send, row by row, each with what has to come of it.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DirectoryKind } from '../../src/platform/db/schema.ts';
import { idIn, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

const urns = {
  user: 'urn:ietf:params:scim:schemas:core:2.0:User',
  enterprise: 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User',
  group: 'urn:ietf:params:scim:schemas:core:2.0:Group',
};

/** A directory with one user and one group in it. */
interface Stage {
  directory: ScimDirectory;
  user: string;
  userName: string;
  externalId: string;
  group: string;
  groupName: string;
  find(kind: 'Users' | 'Groups', filter: string, more?: string): Promise<unknown[]>;
  patchUser(...Operations: object[]): Promise<Record<string, unknown>>;
  patchGroup(...Operations: object[]): Promise<void>;
  readUser(): Promise<Record<string, unknown>>;
  members(): Promise<unknown[]>;
}

let world: ScimWorld;
beforeAll(async () => {
  world = await openScimWorld();
});
afterAll(() => world.close());

async function openStage(kind: DirectoryKind): Promise<Stage> {
  const directory = await world.directory(kind);
  const [userName, externalId, groupName] = [`Ada.${randomUUID()}@example.com`, randomUUID(), `G-${randomUUID()}`];
  const user = await directory.user(userName, {
    externalId,
    name: { givenName: 'Ada', familyName: 'Byron' },
    emails: [{ type: 'work', value: userName, primary: true }],
  });
  const group = idIn(
    await directory.call('POST', '/Groups', { displayName: groupName, externalId: `g-${externalId}` }),
  );
  const read = async (path: string) => (await directory.call('GET', path)).body ?? {};
  return {
    ...{ directory, user, userName, externalId, group, groupName },
    find: async (of, filter, more = '') => {
      const found = await directory.call('GET', `/${of}?filter=${encodeURIComponent(filter)}${more}`);
      expect(found.status).toBe(200);
      return [found.body?.Resources].flat().map((one) => Object(one).id);
    },
    patchUser: async (...Operations) => {
      const answer = await directory.call('PATCH', `/Users/${user}`, { Operations });
      expect(answer.status).toBe(200);
      return answer.body ?? {};
    },
    patchGroup: async (...Operations) => {
      expect((await directory.call('PATCH', `/Groups/${group}`, { Operations })).status).toBe(204);
    },
    readUser: () => read(`/Users/${user}`),
    members: async () => [(await read(`/Groups/${group}`)).members].flat().map((one) => Object(one).value),
  };
}

type Habit = [kind: DirectoryKind, habit: string, act: (stage: Stage) => Promise<void>];

const habits: Habit[] = [
  [
    'okta',
    'replaces the members of a group with a list, and with an empty one',
    async ({ user, patchGroup, members }) => {
      await patchGroup({ op: 'replace', path: 'members', value: [{ value: user, display: 'Ada' }] });
      expect(await members()).toEqual([user]);
      await patchGroup({ op: 'replace', path: 'members', value: [] });
      expect(await members()).toEqual([]);
    },
  ],
  [
    'okta',
    'deletes a group on unlink, and only groups; its members stay',
    async ({ directory, group, readUser, user, patchGroup }) => {
      await patchGroup({ op: 'add', path: 'members', value: [{ value: user }] });
      expect((await directory.call('DELETE', `/Groups/${group}`)).status).toBe(204);
      expect((await directory.call('GET', `/Groups/${group}`)).status).toBe(404);
      expect(await readUser()).toMatchObject({ active: true });
    },
  ],
  [
    'okta',
    'sends application/json at times, and pages of 100 with integers',
    async ({ directory, user }) => {
      const json = { 'Content-Type': 'application/json; charset=utf-8', 'User-Agent': 'Okta SCIM Client 1.0.0' };
      const Operations = [{ op: 'replace', value: { active: false } }];
      const answer = await directory.call('PATCH', `/Users/${user}`, { Operations }, json);
      expect(answer).toMatchObject({ status: 200, body: { active: false } });
      const page = await directory.call('GET', '/Users?startIndex=1&count=100');
      expect(page.body).toMatchObject({ totalResults: 1, startIndex: 1, itemsPerPage: 1 });
    },
  ],
  [
    'okta',
    'sets a password by PATCH; it is taken, kept nowhere and never shown',
    async ({ patchUser, readUser }) => {
      await patchUser({ op: 'replace', value: { password: 't1meMa$heen' } });
      expect(JSON.stringify(await readUser())).not.toMatch(/password|t1meMa/);
    },
  ],
  [
    'entra',
    'tests the connection: a random GUID is found nowhere (200, empty), and the schemas are read',
    async ({ directory, find }) => {
      expect(await find('Users', `userName eq "${randomUUID()}"`)).toEqual([]);
      expect((await directory.call('GET', '/Schemas')).body).toMatchObject({ totalResults: expect.any(Number) });
      expect((await directory.call('GET', `/Schemas/${urns.user}`)).body).toMatchObject({ id: urns.user });
    },
  ],
  [
    'entra',
    'matches by externalId, by work e-mail, and by several with and',
    async ({ find, user, userName, externalId }) => {
      expect(await find('Users', `externalId eq "${externalId}"`)).toEqual([user]);
      expect(await find('Users', `emails[type eq "work"].value eq "${userName}"`)).toEqual([user]);
      expect(await find('Users', `userName eq "${userName}" and externalId eq "${externalId}"`)).toEqual([user]);
      expect(await find('Users', `externalId eq "${randomUUID()}"`)).toEqual([]);
    },
  ],
  [
    'entra',
    'matches groups by displayName without their members, and asks whether one has a member',
    async ({ directory, find, user, group, groupName, patchGroup }) => {
      await patchGroup({ op: 'Add', path: 'members', value: [{ $ref: null, value: user }] });
      const path = `/Groups?excludedAttributes=members&filter=${encodeURIComponent(`displayName eq "${groupName}"`)}`;
      const { body } = await directory.call('GET', path);
      expect(body).toMatchObject({ totalResults: 1, Resources: [{ id: group, displayName: groupName }] });
      expect(JSON.stringify(body)).not.toContain('members');
      expect(await find('Groups', `id eq "${group}" and members eq "${user}"`)).toEqual([group]);
      expect(await find('Groups', `id eq "${group}" and members eq "${randomUUID()}"`)).toEqual([]);
    },
  ],
  [
    'entra',
    'writes the path Active, and booleans as strings',
    async ({ patchUser }) => {
      expect(await patchUser({ op: 'Replace', path: 'Active', value: 'False' })).toMatchObject({ active: false });
      expect(await patchUser({ op: 'Replace', path: 'Active', value: 'True' })).toMatchObject({ active: true });
    },
  ],
  [
    'entra',
    'selects a role by primary as a string, absent and there',
    async ({ patchUser }) => {
      const set = (value: string) => patchUser({ op: 'Add', path: 'roles[primary eq "True"].value', value });
      expect(await set('Seller')).toMatchObject({ roles: [{ primary: true, value: 'Seller' }] });
      expect((await set('Buyer')).roles).toEqual([{ primary: true, value: 'Buyer' }]);
    },
  ],
  ...(
    [
      ['an array', (value: string) => [{ $ref: null, value }]],
      ['a string', (value: string) => value],
      ['an object', (value: string) => ({ value })],
      ['an object with a reference', (value: string) => ({ value, $ref: `../Users/${value}` })],
    ] as const
  ).map(
    ([shape, make]): Habit => [
      'entra',
      `sends the manager as ${shape}`,
      async ({ directory, patchUser }) => {
        const boss = await directory.user();
        const set = { op: 'Add', path: `${urns.enterprise}:manager`, value: make(boss) };
        expect(await patchUser(set)).toMatchObject({ [urns.enterprise]: { manager: { value: boss } } });
        const unset = await patchUser({ op: 'Remove', path: `${urns.enterprise}:manager` });
        expect(JSON.stringify(unset)).not.toContain(boss);
      },
    ],
  ),
  [
    'entra',
    'writes dotted and qualified names without a path, beside active',
    async ({ patchUser }) => {
      const value = {
        'name.givenName': 'Augusta',
        [`${urns.enterprise}:employeeNumber`]: '701984',
        [`${urns.enterprise}:department`]: 'Sales',
        'emails[type eq "home"].value': 'ada@home.example',
        active: 'False',
      };
      expect(await patchUser({ op: 'replace', value })).toMatchObject({
        active: false,
        name: { givenName: 'Augusta', familyName: 'Byron' },
        [urns.enterprise]: { employeeNumber: '701984', department: 'Sales' },
        emails: expect.arrayContaining([expect.objectContaining({ type: 'home', value: 'ada@home.example' })]),
      });
    },
  ],
  [
    'entra',
    'disables at a soft delete and deletes 30 days later: one departure, one receipt',
    async ({ directory, user, patchUser }) => {
      await world.agentOf(user);
      await patchUser({ op: 'Replace', path: 'active', value: 'False' });
      expect((await directory.call('DELETE', `/Users/${user}`)).status).toBe(204);
      expect(await world.sql`select id from offboardings where person_id = ${user}`).toHaveLength(1);
    },
  ],
  [
    'entra',
    'leaves its feature flags in the address',
    async ({ directory, user, userName }) => {
      const path = `/Users?aadOptscim062020&filter=${encodeURIComponent(`userName eq "${userName}"`)}`;
      expect((await directory.call('GET', path)).body).toMatchObject({ totalResults: 1, Resources: [{ id: user }] });
    },
  ],
  [
    'entra',
    'takes two hundred members out in one message, some of whom are no members',
    async ({ directory, user, patchGroup, members }) => {
      const others = await Promise.all(Array.from({ length: 3 }, () => directory.user()));
      const value = [...others, ...Array.from({ length: 200 }, () => randomUUID())].map((one) => ({
        $ref: null,
        value: one,
      }));
      await patchGroup({ op: 'Add', path: 'members', value: [user, ...others].map((one) => ({ value: one })) });
      await patchGroup({ op: 'Remove', path: 'members', value });
      expect(await members()).toEqual([user]);
    },
  ],
  [
    'onelogin',
    'deactivates by PUT as well, and changes by PATCH',
    async ({ directory, user, userName, patchUser }) => {
      expect(await patchUser({ op: 'replace', path: 'name.familyName', value: 'L' })).toMatchObject({
        name: { familyName: 'L' },
      });
      const body = { schemas: [urns.user], userName, active: false };
      const gone = await directory.call('PUT', `/Users/${user}`, body, { 'Content-Type': 'application/json' });
      expect(gone).toMatchObject({ status: 200, body: { active: false } });
    },
  ],
  [
    'onelogin',
    'sends the member once as an object, once in an array',
    async ({ directory, user, patchGroup, members }) => {
      const other = await directory.user();
      await patchGroup({ op: 'add', path: 'members', value: { value: user } });
      await patchGroup({ op: 'add', path: 'members', value: [{ value: other }] });
      expect(await members()).toEqual([user, other]);
      await patchGroup({ op: 'remove', path: 'members', value: { value: user } });
      expect(await members()).toEqual([other]);
    },
  ],
  [
    'jumpcloud',
    'reads all users without a filter, and on activation makes, changes and removes a user and a group',
    async ({ directory, user }) => {
      const all = await directory.call('GET', '/Users');
      expect(all.body).toMatchObject({ totalResults: 1, Resources: [{ id: user }] });
      const trial = await directory.user('jumpcloud-test@example.com');
      const path = `/Users/${trial}`;
      expect(
        (await directory.call('PUT', path, { userName: 'jumpcloud-test@example.com', active: false })).status,
      ).toBe(200);
      expect((await directory.call('DELETE', path)).status).toBe(204);
      const group = `/Groups/${idIn(await directory.call('POST', '/Groups', { displayName: 'JumpCloud test' }))}`;
      expect((await directory.call('PUT', group, { displayName: 'JumpCloud test 2', members: [] })).status).toBe(200);
      expect((await directory.call('DELETE', group)).status).toBe(204);
    },
  ],
  [
    'jumpcloud',
    'removes a member through value, without a filter, and leaves the others',
    async ({ directory, user, patchGroup, members }) => {
      const other = await directory.user();
      await patchGroup({ op: 'add', path: 'members', value: [{ value: user }, { value: other }] });
      await patchGroup({ op: 'remove', path: 'members', value: [{ value: user }] });
      expect(await members()).toEqual([other]);
    },
  ],
  [
    'ping',
    'merges a group by add, and overwrites it by replace, with nobody too',
    async ({ directory, user, patchGroup, members }) => {
      const other = await directory.user();
      await patchGroup({ op: 'add', path: 'members', value: [{ value: user }] });
      await patchGroup({ op: 'add', path: 'members', value: [{ value: other }] });
      await patchGroup({ op: 'replace', path: 'members', value: [{ value: other }] });
      expect(await members()).toEqual([other]);
      await patchGroup({ op: 'replace', path: 'members', value: [] });
      expect(await members()).toEqual([]);
    },
  ],
  [
    'ping',
    'writes operators in mixed case',
    async ({ find, user, userName, externalId }) => {
      expect(await find('Users', `userName Eq "${userName}" And externalId EQ "${externalId}"`)).toEqual([user]);
    },
  ],
  [
    'google',
    'suspends, and deletes after the delay: one departure',
    async ({ directory, user, patchUser }) => {
      expect(await patchUser({ op: 'replace', value: { active: false, name: { givenName: 'Ada' } } })).toMatchObject({
        active: false,
        name: { givenName: 'Ada', familyName: 'Byron' },
      });
      expect((await directory.call('DELETE', `/Users/${user}`)).status).toBe(204);
      expect(await world.sql`select id from offboardings where person_id = ${user}`).toHaveLength(1);
    },
  ],
  [
    'rippling',
    'deactivates with a path too, changes by PATCH, and sends empty strings for what is not set',
    async ({ patchUser, readUser }) => {
      const changed = await patchUser({
        op: 'replace',
        value: { title: '', nickName: '', [urns.enterprise]: { department: '', manager: { value: '' } } },
      });
      expect(changed[urns.enterprise] ?? {}).not.toHaveProperty('manager');
      expect(await patchUser({ op: 'replace', path: 'active', value: false })).toMatchObject({ active: false });
      expect(await readUser()).toMatchObject({ active: false });
    },
  ],
  [
    'authentik',
    'reads the configuration first, and looks a group up by its name',
    async ({ directory, find, group, groupName }) => {
      const { body } = await directory.call('GET', '/ServiceProviderConfig');
      expect(body).toMatchObject({ patch: { supported: true }, filter: { supported: true }, bulk: expect.any(Object) });
      expect(await find('Groups', `displayName eq "${groupName}"`)).toEqual([group]);
    },
  ],
  [
    'authentik',
    'replaces a group without a path by the whole of it, and re-reads it',
    async ({ directory, user, group, externalId, patchGroup, members }) => {
      const value = { schemas: [urns.group], id: group, externalId: `g-${externalId}`, displayName: 'Builders' };
      await patchGroup({ op: 'add', path: 'members', value: [{ value: user }] });
      await patchGroup({ op: 'replace', path: null, value });
      expect((await directory.call('GET', `/Groups/${group}`)).body).toMatchObject({ displayName: 'Builders' });
      expect(await members()).toEqual([user]);
    },
  ],
  [
    'authentik',
    'adds members one operation each, removes by value, and (AWS mode) changes attribute by attribute',
    async ({ directory, user, group, patchGroup, members }) => {
      const others = await Promise.all(Array.from({ length: 5 }, () => directory.user()));
      const all = [user, ...others];
      await patchGroup(...all.map((value) => ({ op: 'add', path: 'members', value: [{ value }] })));
      expect([...(await members())].sort()).toEqual([...all].sort());
      await patchGroup({ op: 'remove', path: 'members', value: others.map((value) => ({ value })) });
      expect(await members()).toEqual([user]);
      await patchGroup(
        { op: 'replace', path: 'displayName', value: 'One by one' },
        { op: 'replace', path: 'externalId', value: 'aws-1' },
      );
      expect((await directory.call('GET', `/Groups/${group}`)).body).toMatchObject({
        displayName: 'One by one',
        externalId: 'aws-1',
      });
    },
  ],
];

describe.each([...new Set(habits.map(([kind]) => kind))])('%s', (of) => {
  it.each(habits.filter(([kind]) => kind === of).map(([, habit, act]) => [habit, act] as const))(
    '%s',
    async (_, act) => {
      await act(await openStage(of));
    },
  );
});

describe('a value for a typed element that is not there (RFC 7644 §3.5.2.3)', () => {
  const replace = (path: string, value: unknown) => ({ Operations: [{ op: 'Replace', path, value }] });
  it('makes it when a known IdP sends it, and is noTarget for others', async () => {
    const path = 'phoneNumbers[type eq "mobile"].value';
    const { patchUser } = await openStage('entra');
    const mobile = { type: 'mobile', value: '+44 1' };
    expect(await patchUser({ op: 'Replace', path, value: '+44 1' })).toMatchObject({ phoneNumbers: [mobile] });
    const added = await patchUser({ op: 'Replace', path: 'phoneNumbers[type eq "fax"]', value: { value: '+44 2' } });
    expect(added).toMatchObject({ phoneNumbers: [mobile, { type: 'fax', value: '+44 2' }] });
    const generic = await openStage('generic');
    const refused = await generic.directory.call('PATCH', `/Users/${generic.user}`, replace(path, '+44 1'));
    expect(refused).toMatchObject({ status: 400, body: { scimType: 'noTarget' } });
  });

  it.each([null, ''])('unassigns nothing with %j', async (value) => {
    const { patchUser, readUser } = await openStage('entra');
    for (const op of ['Add', 'Replace']) await patchUser({ op, path: 'phoneNumbers[type eq "mobile"].value', value });
    expect(await readUser()).not.toHaveProperty('phoneNumbers');
  });
});
