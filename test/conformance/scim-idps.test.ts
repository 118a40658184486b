import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type IdpPerson, idps, pingOne } from '../support/idp.ts';
import { idIn, openScimWorld, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
beforeAll(async () => {
  world = await openScimWorld();
});
afterAll(() => world.close());

const makePerson = (): IdpPerson => ({
  userName: `Ada.${randomUUID().slice(0, 8)}@Example.com`,
  externalId: randomUUID(),
  givenName: 'Ada',
  familyName: 'Byron',
});

describe.each(idps)('$name', (idp) => {
  it('matches, creates, matches again, renames', async () => {
    const directory = await world.directory(idp.kind);
    const person = makePerson();
    const before = await directory.send(idp.match(person.userName));
    expect(before.status).toBe(200);
    if (idp.kind !== 'authentik') expect(before.body).toMatchObject({ totalResults: 0, Resources: [] });

    const created = await directory.send(idp.create(person));
    expect(created.status).toBe(201);
    const id = idIn(created);
    expect(created.headers.get('location')).toBe(`http://writ.test/scim/v2/Users/${id}`);
    expect(created.body).toMatchObject({ userName: person.userName, externalId: person.externalId, active: true });
    expect(JSON.stringify(created.body)).not.toContain('password');
    expect((await directory.send(idp.create(person))).body).toMatchObject({ status: '409', scimType: 'uniqueness' });
    const after = await directory.send(idp.match(person.userName.toUpperCase()));
    if (idp.kind !== 'authentik') expect(after.body).toMatchObject({ totalResults: 1, Resources: [{ id }] });

    const renamed = await directory.send(idp.rename(id, person, 'Lovelace'));
    expect(renamed.status).toBe(200);
    expect(renamed.body).toMatchObject({ name: { familyName: 'Lovelace', givenName: 'Ada' }, active: true });
    expect((await directory.call('GET', `/Users/${id}`)).body).toEqual(renamed.body);
  });

  it('deactivates with one receipt however often it repeats, reactivates without bringing an agent back', async () => {
    const directory = await world.directory(idp.kind);
    const person = makePerson();
    const id = idIn(await directory.send(idp.create(person)));
    const agent = await world.agentOf(id);
    const latches = () => world.sql`select reason from latches where agent_id = ${agent}`;

    const gone = await directory.send(idp.deactivate(id, person));
    expect(gone).toMatchObject({ status: 200, body: { id, active: false } });
    const receipt = gone.headers.get('writ-offboarding');
    expect(receipt).toMatch(/^[0-9a-f-]{36}$/);
    expect(await latches()).toEqual([{ reason: 'owner_lost' }]);
    const again = await directory.send(idp.deactivate(id, person));
    expect(again).toMatchObject({ status: 200, body: gone.body });
    expect(again.headers.get('writ-offboarding')).toBe(receipt);
    await expect
      .poll(() => world.sql`select id, answered_at is not null as answered from offboardings where person_id = ${id}`)
      .toEqual([{ id: receipt, answered: true }]);

    expect(await directory.send(idp.reactivate(id, person))).toMatchObject({ status: 200, body: { active: true } });
    expect(await latches()).toEqual([{ reason: 'owner_lost' }]);
    expect((await world.kinds(id)).filter((kind) => /offboarded|returned/.test(kind))).toEqual([
      'person.offboarded',
      'person.returned',
    ]);
  });

  it.runIf(idp.remove)('deletes: 204, then 404, and a new person of the same name is a new person', async () => {
    const directory = await world.directory(idp.kind);
    const person = makePerson();
    const id = idIn(await directory.send(idp.create(person)));
    const remove = idp.remove?.(id);
    if (remove === undefined) return;
    const gone = await directory.send(remove);
    expect(gone).toMatchObject({ status: 204, body: null });
    expect(gone.headers.get('writ-offboarding')).not.toBeNull();
    expect((await directory.send(remove)).status).toBe(404);
    expect((await directory.call('GET', `/Users/${id}`)).status).toBe(404);
    const again = await directory.send(idp.create(person));
    expect(again.status).toBe(201);
    expect(idIn(again)).not.toBe(id);
  });

  it('keeps groups: create, add, rename, remove', async () => {
    const directory = await world.directory(idp.kind);
    const [one, two] = [await directory.user(), await directory.user()];
    const group = { displayName: 'Engineers', externalId: randomUUID() };
    const created = await directory.send(idp.createGroup(group));
    expect(created.status).toBe(201);
    const id = idIn(created);
    const members = async () => {
      const { body } = await directory.call('GET', `/Groups/${id}`);
      return [body?.displayName, ...[body?.members].flat().map((member) => Object(member).value)];
    };
    const ok = { status: expect.toBeOneOf([200, 204]) };
    expect(await directory.send(idp.addMember(id, one, group, []))).toMatchObject(ok);
    expect(await directory.send(idp.addMember(id, two, group, [one]))).toMatchObject(ok);
    expect(await directory.send(idp.addMember(id, two, group, [one, two]))).toMatchObject(ok);
    expect(await members()).toEqual(['Engineers', one, two]);
    expect((await directory.call('GET', `/Users/${one}`)).body).toMatchObject({
      groups: [{ value: id, display: 'Engineers', type: 'direct' }],
    });
    expect(await directory.send(idp.renameGroup(id, group, 'Builders', [one, two]))).toMatchObject(ok);
    expect(await members()).toEqual(['Builders', one, two]);
    const renamed = { ...group, displayName: 'Builders' };
    expect(await directory.send(idp.removeMember(id, one, renamed, [one, two]))).toMatchObject(ok);
    expect(await directory.send(idp.removeMember(id, one, renamed, [two]))).toMatchObject(ok);
    expect(await members()).toEqual(['Builders', two]);
  });
});

it('PingOne creates disabled users; that is no offboarding', async () => {
  const directory = await world.directory(pingOne.kind);
  const person = makePerson();
  const created = await directory.call('POST', '/Users', { ...person, name: {}, active: false });
  expect(created).toMatchObject({ status: 201, body: { active: false } });
  expect(await world.sql`select id from offboardings where person_id = ${idIn(created)}`).toEqual([]);
});

it('Okta empties a group with an empty replacement, and JumpCloud with a removal that names nobody', async () => {
  const directory = await world.directory();
  const member = await directory.user();
  const made = await directory.call('POST', '/Groups', { displayName: 'G', members: [{ value: member }] });
  const path = `/Groups/${idIn(made)}`;
  const patch = (operation: object) => directory.call('PATCH', path, { Operations: [operation] });
  const count = async () => [(await directory.call('GET', path)).body?.members].flat().length;
  expect((await patch({ op: 'remove', path: 'members', value: [] })).status).toBe(204);
  expect(await count()).toBe(1);
  expect((await patch({ op: 'replace', path: 'members', value: [] })).status).toBe(204);
  expect(await count()).toBe(0);
  expect((await patch({ op: 'add', value: { members: { value: member } } })).status).toBe(204);
  expect(await count()).toBe(1);
  expect((await patch({ op: 'remove', path: 'members' })).status).toBe(204);
  expect(await count()).toBe(0);
});
