import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { departureSpellings } from '../support/idp.ts';
import { idIn, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

const offboardings = (person: string) =>
  world.sql`select method, user_name from offboardings where person_id = ${person}`;
const stateOf = async (id: string) => (await directory.call('GET', `/Users/${id}`)).body;
const deactivation = { Operations: [{ op: 'replace', value: { active: false } }] };

describe('a PATCH that says the person is gone', () => {
  it.each(departureSpellings)('%s', async (_name, Operations) => {
    const id = await directory.user();
    const answer = await directory.call('PATCH', `/Users/${id}`, { Operations });
    expect(answer).toMatchObject({ status: 200, body: { active: false } });
    expect(answer.headers.get('writ-offboarding')).not.toBeNull();
    expect(await offboardings(id)).toMatchObject([{ method: 'PATCH' }]);
  });

  it('is honoured for what it says, and the rest is applied when it makes sense', async () => {
    const id = await directory.user(undefined, { title: 'Dr' });
    const off = { op: 'replace', path: 'active', value: false };
    const both = await directory.call('PATCH', `/Users/${id}`, {
      Operations: [off, { op: 'add', path: 'title', value: 'X' }],
    });
    expect(both.body).toMatchObject({ active: false, title: 'X' });
    expect(await world.kinds(id)).toEqual(['person.created', 'person.changed', 'person.offboarded']);

    const other = await directory.user(undefined, { title: 'Dr' });
    const nonsense = { op: 'add', path: 'shoeSize', value: 44 };
    const half = await directory.call('PATCH', `/Users/${other}`, {
      Operations: [{ op: 'add', path: 'title', value: 'X' }, nonsense, off],
    });
    expect(half).toMatchObject({ status: 200, body: { active: false, title: 'Dr' } });
  });

  it('is honoured although the new userName is taken, the body is no PatchOp, or If-Match is stale', async () => {
    const taken = `${randomUUID()}@example.com`;
    await directory.user(taken);
    const [one, two, three] = [await directory.user(), await directory.user(), await directory.user()];
    const clash = { op: 'replace', value: { active: false, userName: taken.toUpperCase() } };
    expect(await directory.call('PATCH', `/Users/${one}`, { Operations: [clash] })).toMatchObject({
      status: 200,
      body: { active: false, userName: expect.not.stringMatching(new RegExp(taken, 'i')) },
    });
    expect((await directory.call('PUT', `/Users/${two}`, { active: 'False' })).body).toMatchObject({ active: false });
    const stale = { 'If-Match': 'W/"99"' };
    expect((await directory.call('PATCH', `/Users/${three}`, deactivation, stale)).body).toMatchObject({
      active: false,
    });
    expect((await directory.call('DELETE', `/Users/${three}`, undefined, stale)).status).toBe(204);
    for (const id of [one, two, three]) expect(await offboardings(id)).toHaveLength(1);
  });
});

it('RFC 7644 §3.5.2: operations that are given twice, or a word beside them, hide nobody’s departure', async () => {
  const title = [{ op: 'add', path: 'title', value: 'X' }];
  const off = [{ op: 'replace', path: 'active', value: false }];
  for (const body of [
    { Operations: title, operations: off },
    { Operations: off, operations: title },
    { Operations: title, active: 'False' },
  ]) {
    const id = await directory.user();
    const answer = await directory.call('PATCH', `/Users/${id}`, body);
    expect(answer).toMatchObject({ status: 200, body: { active: false } });
    expect(await offboardings(id)).toHaveLength(1);
  }
  const id = await directory.user();
  const twice = await directory.call('PATCH', `/Users/${id}`, { Operations: title, operations: title });
  expect(twice).toMatchObject({ status: 400, body: { scimType: 'invalidSyntax' } });
});

describe('PUT', () => {
  it('with active false is a departure; without active it keeps the state; with null it keeps it as well', async () => {
    const userName = `${randomUUID()}@example.com`;
    const id = await directory.user(userName);
    const put = async (more: object) => (await directory.call('PUT', `/Users/${id}`, { userName, ...more })).body;
    expect(await put({})).toMatchObject({ active: true });
    expect(await put({ active: null })).toMatchObject({ active: true });
    expect(await put({ active: 'False' })).toMatchObject({ active: false });
    expect(await put({ title: 'x' })).toMatchObject({ active: false, title: 'x' });
    expect(await offboardings(id)).toMatchObject([{ method: 'PUT', user_name: userName }]);
  });
});

describe('an unintelligible active', () => {
  it.each([0, 1, '0', 'no', 'yes', '', {}, [true, false]])('%j is refused and changes nothing', async (active) => {
    const userName = `${randomUUID()}@example.com`;
    const id = await directory.user(userName);
    const before = await stateOf(id);
    const refusal = { status: 400, body: { status: '400', scimType: 'invalidValue' } };
    const operation = { op: 'replace', path: 'active', value: active };
    expect(await directory.call('PATCH', `/Users/${id}`, { Operations: [operation] })).toMatchObject(refusal);
    expect(await directory.call('PUT', `/Users/${id}`, { userName, active })).toMatchObject(refusal);
    expect(await directory.call('POST', '/Users', { userName: randomUUID(), active })).toMatchObject(refusal);
    expect(await stateOf(id)).toEqual(before);
  });
});

describe('concurrency', () => {
  it('an unrelated PATCH at the same time does not bring a leaver back', async () => {
    for (let round = 0; round < 5; round++) {
      const id = await directory.user();
      const rename = (title: string) =>
        directory.call('PATCH', `/Users/${id}`, { Operations: [{ op: 'replace', path: 'title', value: title }] });
      const off = directory.call('PATCH', `/Users/${id}`, deactivation);
      const answers = await Promise.all([rename('a'), off, rename('b'), rename('c'), rename('d')]);
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
      expect(await stateOf(id)).toMatchObject({ active: false, title: expect.stringMatching(/[abcd]/) });
    }
  });

  it('ten deactivations and a deletion at once are one offboarding', async () => {
    const id = await directory.user();
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, () => directory.call('PATCH', `/Users/${id}`, deactivation)),
      directory.call('DELETE', `/Users/${id}`),
    ]);
    expect(answers.every(({ status }) => [200, 204, 404].includes(status))).toBe(true);
    expect(new Set(answers.map(({ headers }) => headers.get('writ-offboarding')).filter(Boolean)).size).toBe(1);
    expect(await offboardings(id)).toHaveLength(1);
    expect((await world.kinds(id)).filter((kind) => kind === 'person.offboarded')).toHaveLength(1);
  });

  it('50 members added at once are 50 members, and removals meanwhile take only their own', async () => {
    const people = await Promise.all(Array.from({ length: 60 }, () => directory.user()));
    const leaving = people.slice(50);
    const made = await directory.call('POST', '/Groups', {
      displayName: 'G',
      members: leaving.map((value) => ({ value })),
    });
    const path = `/Groups/${idIn(made)}`;
    const patch = (operation: object) => directory.call('PATCH', path, { Operations: [operation] });
    const answers = await Promise.all([
      ...people.slice(0, 50).map((value) => patch({ op: 'add', path: 'members', value: [{ value }] })),
      ...leaving.map((value) => patch({ op: 'remove', path: `members[value eq "${value}"]` })),
    ]);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([204]));
    const { body } = await directory.call('GET', path);
    expect(
      [body?.members]
        .flat()
        .map((member) => Object(member).value)
        .sort(),
    ).toEqual(people.slice(0, 50).sort());
  });
});

it('a tombstone leaves its groups, keeps its id, and stays out of every search', async () => {
  const userName = `${randomUUID()}@example.com`;
  const id = await directory.user(userName, { externalId: 'e-1' });
  const group = idIn(await directory.call('POST', '/Groups', { displayName: 'G', members: [{ value: id }] }));
  expect((await directory.call('DELETE', `/Users/${id}`)).status).toBe(204);
  expect((await directory.call('GET', `/Groups/${group}`)).body).toMatchObject({ members: [] });
  for (const filter of [`userName eq "${userName}"`, `id eq "${id}"`, 'externalId eq "e-1"']) {
    const found = await directory.call('GET', `/Users?filter=${encodeURIComponent(filter)}`);
    expect(found.body).toMatchObject({ totalResults: 0 });
  }
  for (const method of ['GET', 'PUT', 'PATCH', 'DELETE'] as const) {
    const body = method === 'PUT' ? { userName } : method === 'PATCH' ? deactivation : undefined;
    expect((await directory.call(method, `/Users/${id}`, body)).status).toBe(404);
  }
  expect(await world.sql`select active, deleted_at is not null as gone from people where id = ${id}`).toEqual([
    { active: false, gone: true },
  ]);
});
