import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { changeDirectory } from '../../src/domain/people/directories.ts';
import { makeGroup, named, patchOf, receiptsOf, setActive, standingOf, whyDead } from '../support/departures.ts';
import { openScimWorld, type ScimAnswer, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
});
afterAll(() => world.close());

const require = (group: string | null, confirm = false, of = directory) =>
  changeDirectory(world.db, world.act, of.id, { requiredGroup: group, confirm }, new Date());

/** A directory that requires a group with `count` people in it, each with an agent. */
async function requiring(count: number): Promise<{ group: string; people: string[]; agents: string[] }> {
  directory = await world.directory();
  const people: string[] = [];
  for (let n = 0; n < count; n++) people.push(await directory.user());
  const agents: string[] = [];
  for (const person of people) agents.push(await world.agentOf(person));
  const group = await makeGroup(directory, people);
  expect((await require(group)).departed).toBe(0);
  return { group, people, agents };
}

const gone = { active: true, excluded: true, live: false };
const here = { active: true, excluded: false, live: true };

async function expectLeft(person: string, agent: string, answer: ScimAnswer, method: string): Promise<void> {
  expect(answer.status).toBeLessThan(300);
  expect(await standingOf(world, person)).toMatchObject(gone);
  const receipts = await receiptsOf(world, person);
  expect(receipts).toMatchObject([{ method }]);
  expect(named(answer)).toContain(receipts[0]?.id);
  expect(await whyDead(world, agent)).toBe('owner_inactive');
}

describe('removal from a group that the directory requires is a departure (promise 2)', () => {
  const shapes: [string, (group: string, leaver: string, others: string[]) => [string, object]][] = [
    [
      'remove with a value list',
      (_g, id) => ['PATCH', patchOf({ op: 'remove', path: 'members', value: [{ value: id }] })],
    ],
    ['remove by a filter', (_g, id) => ['PATCH', patchOf({ op: 'Remove', path: `members[value eq "${id}"]` })]],
    ['remove of one value', (_g, id) => ['PATCH', patchOf({ op: 'remove', path: 'members', value: { value: id } })]],
    [
      'replace of the list',
      (_g, _id, others) => [
        'PATCH',
        patchOf({ op: 'replace', path: 'members', value: others.map((value) => ({ value })) }),
      ],
    ],
    [
      'replace without a path',
      (_g, _id, others) => [
        'PATCH',
        patchOf({ op: 'replace', value: { members: others.map((value) => ({ value })) } }),
      ],
    ],
    [
      'PUT without them',
      (_g, _id, others) => ['PUT', { displayName: 'Agent owners', members: others.map((value) => ({ value })) }],
    ],
  ];
  it.each(shapes)('%s', async (_name, shape) => {
    const { group, people, agents } = await requiring(3);
    const [leaver = '', ...others] = people;
    const [method, body] = shape(group, leaver, others);
    const answer = await directory.call(method === 'PUT' ? 'PUT' : 'PATCH', `/Groups/${group}`, body);
    await expectLeft(leaver, agents[0] ?? '', answer, method);
    for (const other of others) expect(await standingOf(world, other)).toMatchObject(here);
    expect(await whyDead(world, agents[1] ?? '')).toBeNull();
    // What the IdP reads of the person is what it said itself.
    expect((await directory.call('GET', `/Users/${leaver}`)).body).toMatchObject({ active: true });
  });

  it('remove of all members, and DELETE of the group, which frees nobody', async () => {
    for (const method of ['PATCH', 'DELETE'] as const) {
      const { group, people, agents } = await requiring(7);
      const body = method === 'PATCH' ? patchOf({ op: 'remove', path: 'members' }) : undefined;
      const answer = await directory.call(method, `/Groups/${group}`, body);
      for (const [n, person] of people.entries()) await expectLeft(person, agents[n] ?? '', answer, method);
      expect(new Set(named(answer)).size).toBe(7);
      const newcomer = await directory.user();
      expect(await standingOf(world, newcomer)).toMatchObject(gone);
    }
  });

  it('names the first fifty receipts and how many there are', async () => {
    const { group } = await requiring(52);
    const answer = await directory.call('DELETE', `/Groups/${group}`);
    expect(named(answer)).toHaveLength(50);
    expect(answer.headers.get('writ-offboarding-count')).toBe('52');
  });

  it('is honoured by name even if the request adds somebody who is unknown, and a list that is half unknown changes nobody', async () => {
    const { group, people, agents } = await requiring(2);
    const [leaver = '', other = ''] = people;
    const nobody = { op: 'add', path: 'members', value: [{ value: '00000000-0000-4000-8000-000000000000' }] };
    const off = { op: 'remove', path: 'members', value: [{ value: leaver }] };
    const answer = await directory.call('PATCH', `/Groups/${group}`, patchOf(nobody, off));
    expect(answer.status).toBe(400);
    expect(await standingOf(world, leaver)).toMatchObject(gone);
    expect(await whyDead(world, agents[0] ?? '')).toBe('owner_inactive');
    const put = await directory.call('PUT', `/Groups/${group}`, { displayName: 'G', members: nobody.value });
    expect(put.status).toBe(400);
    expect(await standingOf(world, other)).toMatchObject(here);
  });

  it('a stale If-Match refuses it before anybody leaves', async () => {
    const { group, people } = await requiring(1);
    const answer = await directory.call('DELETE', `/Groups/${group}`, undefined, { 'If-Match': 'W/"99"' });
    expect(answer.status).toBe(412);
    expect(await standingOf(world, people[0] ?? '')).toMatchObject(here);
  });

  it('repeated, it is answered with the same receipt', async () => {
    const { group, people } = await requiring(1);
    const off = patchOf({ op: 'remove', path: 'members', value: [{ value: people[0] }] });
    const first = await directory.call('PATCH', `/Groups/${group}`, off);
    const second = await directory.call('PATCH', `/Groups/${group}`, off);
    expect(named(first)).toHaveLength(1);
    expect(named(second)).toEqual(named(first));
    expect(await receiptsOf(world, people[0] ?? '')).toHaveLength(1);
  });
});

describe('a failure half-way', () => {
  it('is a 5xx, nobody leaves without a receipt, and the same request again does the rest', async () => {
    const { group, people } = await requiring(6);
    const stuck = people.toSorted()[3] ?? '';
    // Somebody holds this one person's lock for longer than anybody waits.
    const blocker = await world.sql.reserve();
    await blocker`begin`;
    await blocker`select pg_advisory_xact_lock(owner_lock_key(${stuck}))`;
    const answer = await directory.call('DELETE', `/Groups/${group}`);
    expect(answer.status).toBe(503);
    const left = await Promise.all(people.map(async (person) => (await receiptsOf(world, person)).length));
    const live = await Promise.all(people.map(async (person) => (await standingOf(world, person)).live));
    expect(live).toEqual(left.map((receipts) => receipts === 0));
    expect((await standingOf(world, stuck)).live).toBe(true);
    await blocker`rollback`;
    blocker.release();
    expect((await directory.call('DELETE', `/Groups/${group}`)).status).toBe(204);
    for (const person of people) {
      expect(await standingOf(world, person)).toMatchObject(gone);
      expect(await receiptsOf(world, person)).toHaveLength(1);
    }
  }, 20_000);
});

describe('who is not in the required group', () => {
  it('is excluded from the beginning, and is no return when added', async () => {
    const { group } = await requiring(1);
    const person = await directory.user();
    expect(await standingOf(world, person)).toMatchObject(gone);
    expect(await receiptsOf(world, person)).toEqual([]);
    const added = patchOf({ op: 'add', path: 'members', value: [{ value: person }] });
    await directory.call('PATCH', `/Groups/${group}`, added);
    expect(await standingOf(world, person)).toMatchObject(here);
    expect(await world.kinds(person)).toEqual(['person.created', 'person.changed']);
  });

  it('comes back by being added, and the agents do not', async () => {
    const { group, people, agents } = await requiring(2);
    const [person = '', other = ''] = people;
    await directory.call('PATCH', `/Groups/${group}`, patchOf({ op: 'remove', path: `members[value eq "${person}"]` }));
    const members = [{ value: person }, { value: other }];
    await directory.call('PUT', `/Groups/${group}`, { displayName: 'Agent owners', members });
    expect(await standingOf(world, person)).toMatchObject(here);
    expect((await world.kinds(person)).slice(-2)).toEqual(['person.offboarded', 'person.returned']);
    expect(await whyDead(world, agents[0] ?? '')).toBe('owner_inactive');
  });

  it('PATCH active true makes them active and not live; deactivation and deletion add no second receipt', async () => {
    const { group, people } = await requiring(1);
    const [person = ''] = people;
    await directory.call('DELETE', `/Groups/${group}`);
    const [receipt] = await receiptsOf(world, person);
    const off = await directory.call('PATCH', `/Users/${person}`, setActive(false));
    expect(named(off)).toEqual([receipt?.id]);
    expect(await standingOf(world, person)).toMatchObject({ active: false, live: false });
    expect((await directory.call('PATCH', `/Users/${person}`, setActive(true))).body).toMatchObject({ active: true });
    expect(await standingOf(world, person)).toMatchObject(gone);
    expect(await world.kinds(person)).not.toContain('person.returned');
    expect(named(await directory.call('DELETE', `/Users/${person}`))).toEqual([receipt?.id]);
    expect(await receiptsOf(world, person)).toHaveLength(1);
  });

  it('who was deactivated first and is removed then has left once', async () => {
    const { group, people } = await requiring(1);
    const [person = ''] = people;
    await directory.call('PATCH', `/Users/${person}`, setActive(false));
    await directory.call('DELETE', `/Groups/${group}`);
    expect(await receiptsOf(world, person)).toMatchObject([{ method: 'PATCH' }]);
    expect(await standingOf(world, person)).toMatchObject({ active: false, excluded: true });
  });
});

describe('the setting', () => {
  it('offboards whoever is not in the group, says how many, and wants that confirmed', async () => {
    directory = await world.directory();
    const [inside, outside, third, inactive] = [
      await directory.user(),
      await directory.user(),
      await directory.user(),
      await directory.user(undefined, { active: false }),
    ];
    const agent = await world.agentOf(outside);
    const group = await makeGroup(directory, [inside]);
    await expect(require(group)).rejects.toMatchObject({
      code: 'conflict',
      detail: expect.stringMatching(/: 2 people/),
    });
    expect(await standingOf(world, outside)).toMatchObject(here);
    expect((await require(group, true)).departed).toBe(2);
    expect(await standingOf(world, inside)).toMatchObject(here);
    for (const person of [outside, third]) {
      expect(await standingOf(world, person)).toMatchObject(gone);
      expect(await receiptsOf(world, person)).toMatchObject([{ method: 'PATCH', confirmation: 'confirmed' }]);
    }
    expect(await standingOf(world, inactive)).toMatchObject({ active: false, excluded: true });
    expect(await receiptsOf(world, inactive)).toEqual([]);
    // Again: it is so already.
    expect((await require(group)).departed).toBe(0);
    expect((await require(null)).departed).toBe(0);
    for (const person of [inside, outside, third]) expect(await standingOf(world, person)).toMatchObject(here);
    expect(await whyDead(world, agent)).toBe('owner_inactive');
    expect((await world.kinds(outside)).slice(-2)).toEqual(['person.offboarded', 'person.returned']);
  });

  it('takes only a group of the directory', async () => {
    directory = await world.directory();
    const other = await world.directory();
    const group = await makeGroup(other);
    await expect(require(group, true)).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('loses nobody who comes or goes while it is made', async () => {
    for (let round = 0; round < 4; round++) {
      directory = await world.directory();
      const member = await directory.user();
      const group = await makeGroup(directory, [member]);
      const [people] = await Promise.all([
        Promise.all(Array.from({ length: 12 }, () => directory.user())),
        directory.call('PATCH', `/Groups/${group}`, patchOf({ op: 'remove', path: 'members' })),
        require(group, true),
        directory.call(
          'PATCH',
          `/Groups/${group}`,
          patchOf({ op: 'add', path: 'members', value: [{ value: member }] }),
        ),
      ]);
      const wrong = await world.sql`
        select id from people p where directory_id = ${directory.id} and excluded =
          exists (select from group_members m where m.group_id = ${group} and m.person_id = p.id)`;
      expect(wrong).toHaveLength(0);
      expect(people).toHaveLength(12);
    }
  });

  it('removals and additions at once leave membership and exclusion saying the same', async () => {
    const { group, people } = await requiring(8);
    const add = (value: string) => patchOf({ op: 'add', path: 'members', value: [{ value }] });
    const remove = (value: string) => patchOf({ op: 'remove', path: `members[value eq "${value}"]` });
    await Promise.all(
      people.flatMap((person) => [
        directory.call('PATCH', `/Groups/${group}`, remove(person)),
        directory.call('PATCH', `/Groups/${group}`, add(person)),
        directory.call('PATCH', `/Groups/${group}`, remove(person)),
      ]),
    );
    const wrong = await world.sql`
      select id from people p where directory_id = ${directory.id} and excluded =
        exists (select from group_members m where m.group_id = ${group} and m.person_id = p.id)`;
    expect(wrong).toHaveLength(0);
  });
});
