import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { managersOf } from '../../src/domain/people/managers.ts';
import { readPerson } from '../../src/domain/people/people.ts';
import { idIn, issuer, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
let boss: string;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
  boss = await directory.user(undefined, { displayName: 'Ada' });
});
afterAll(() => world.close());

const urn = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
const managerIn = (body: Record<string, unknown> | null): unknown => Object(body?.[urn]).manager;
const managedBy = (manager: unknown, more: object = {}) =>
  directory.call('POST', '/Users', { userName: randomUUID(), [urn]: { manager }, ...more });
const patched = async (id: string, ...Operations: object[]) =>
  managerIn((await directory.call('PATCH', `/Users/${id}`, { Operations })).body);

describe('RFC 7643 §4.3 manager', () => {
  const reference = () => ({ value: boss, $ref: `${issuer}/scim/v2/Users/${boss}`, displayName: 'Ada' });

  it.each<[string, (id: string) => unknown]>([
    ['a string', (id) => id],
    ['an object', (id) => ({ value: id })],
    ['an array of one', (id) => [{ value: id }]],
    ['a $ref', (id) => ({ $ref: `../Users/${id}` })],
    ['with another displayName, which is read-only', (id) => ({ value: id, displayName: 'Eve' })],
  ])('written as %s, it is read as a reference with the displayName', async (_name, spell) => {
    const made = await managedBy(spell(boss));
    expect(managerIn(made.body)).toEqual(reference());
    const id = idIn(made);
    expect(managerIn((await directory.call('GET', `/Users/${id}`)).body)).toEqual(reference());
    const bare = await directory.user();
    expect(await patched(bare, { op: 'add', path: `${urn}:manager`, value: spell(boss) })).toEqual(reference());
    expect(await patched(bare, { op: 'remove', path: `${urn}:manager` })).toBeUndefined();
  });

  it('follows another value, another $ref, and how the manager is called', async () => {
    const other = await directory.user(undefined, { displayName: 'Bob' });
    const id = idIn(await managedBy(boss));
    const isOther = { value: other, displayName: 'Bob' };
    expect(await patched(id, { op: 'replace', value: { [`${urn}:manager.value`]: other } })).toMatchObject(isOther);
    expect(await patched(id, { op: 'replace', path: `${urn}:manager`, value: { $ref: `x/${boss}` } })).toEqual(
      reference(),
    );
    expect(await patched(id, { op: 'replace', path: `${urn}:manager.$ref`, value: `x/${other}` })).toMatchObject(
      isOther,
    );
    expect(await patched(id, { op: 'replace', path: `${urn}:manager`, value: { displayName: 'Eve' } })).toMatchObject(
      isOther,
    );
    await directory.call('PATCH', `/Users/${other}`, { Operations: [{ op: 'remove', path: 'displayName' }] });
    const { body } = await directory.call('GET', `/Users/${other}`);
    expect(managerIn((await directory.call('GET', `/Users/${id}`)).body)).toMatchObject({
      displayName: body?.userName,
    });
    expect(await patched(id, { op: 'replace', path: `${urn}:manager`, value: { value: '' } })).toBeUndefined();
  });

  it('who is not known here is kept as written, without $ref; so is another directory’s', async () => {
    const stranger = await (await world.directory()).user();
    for (const value of [randomUUID(), 'CN=Ada,DC=example', stranger]) {
      const made = await managedBy(value);
      expect(managerIn(made.body)).toEqual({ value });
    }
    const later = randomUUID();
    const early = idIn(await managedBy({ value: later.toUpperCase() }));
    await world.sql`insert into people (id, directory_id, user_name, display_name)
      values (${later}, ${directory.id}, ${later}, 'Come since')`;
    expect(managerIn((await directory.call('GET', `/Users/${early}`)).body)).toEqual({
      value: later.toUpperCase(),
      $ref: `${issuer}/scim/v2/Users/${later}`,
      displayName: 'Come since',
    });
    await directory.call('DELETE', `/Users/${later}`);
    expect(managerIn((await directory.call('GET', `/Users/${early}`)).body)).toEqual({ value: later.toUpperCase() });
  });

  it('in a list all managers are named', async () => {
    const alone = await world.directory();
    const [one, two] = [await alone.user(undefined, { displayName: 'One' }), await alone.user()];
    for (const manager of [one, two, 'nobody']) await alone.user(undefined, { [urn]: { manager } });
    const { body } = await alone.call('GET', '/Users');
    const managers = [body?.Resources].flat().map((resource) => managerIn(Object(resource)));
    expect(managers).toMatchObject([undefined, undefined, { displayName: 'One' }, { value: two }, { value: 'nobody' }]);
    expect(JSON.stringify(managers[4])).not.toContain('$ref');
  });

  it('is of one value: a number is refused', async () => {
    expect((await managedBy({ value: 7 })).body).toMatchObject({ status: '400', scimType: 'invalidValue' });
  });
});

describe('who somebody’s manager is', () => {
  const managerOf = async (of: ScimDirectory, person: string) => {
    const found = await readPerson(world.db, of.id, person);
    if (found === null) throw new Error('no such person');
    return (await managersOf(world.db, [found])).get(person);
  };
  const person = async (manager: unknown) => idIn(await managedBy(manager));

  it('by id, else by externalId, else by userName in any case', async () => {
    const [externalId, userName] = [randomUUID(), `${randomUUID()}@example.com`];
    const id = await directory.user(userName, { externalId, displayName: 'M' });
    for (const value of [id.toUpperCase(), externalId, userName.toUpperCase()]) {
      expect(await managerOf(directory, await person(value))).toEqual({ id, displayName: 'M', userName, live: true });
    }
    await directory.user(id, { externalId: userName });
    expect(await managerOf(directory, await person(id))).toMatchObject({ id });
    expect(await managerOf(directory, await person(userName))).not.toMatchObject({ id });
    await directory.call('PATCH', `/Users/${id}`, { Operations: [{ op: 'replace', value: { active: false } }] });
    expect(await managerOf(directory, await person(id))).toMatchObject({ id, live: false });
  });

  it('nobody: when none is named, known, or meant alone, when gone, of another directory, or the person', async () => {
    const shared = randomUUID();
    await directory.user(undefined, { externalId: shared });
    const gone = await directory.user(undefined, { externalId: shared });
    expect(await managerOf(directory, await person(shared))).toBeUndefined();
    await directory.call('DELETE', `/Users/${gone}`);
    expect(await managerOf(directory, await person(shared))).toBeDefined();
    const foreign = await (await world.directory()).user();
    for (const value of [undefined, randomUUID(), 'nobody', gone, foreign]) {
      expect(await managerOf(directory, await person(value))).toBeUndefined();
    }
    const own = `${randomUUID()}@example.com`;
    const id = await directory.user(own, { [urn]: { manager: own } });
    expect(await managerOf(directory, id)).toBeUndefined();
  });
});
