/** Every way in which a directory says that somebody is gone, in any order and however often, and the ways back. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { changeDirectory } from '../../src/domain/people/directories.ts';
import { makeGroup, named, patchOf, receiptsOf, setActive, standingOf, whyDead } from '../support/departures.ts';
import { idIn, openScimWorld, type ScimAnswer, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
});
beforeEach(async () => {
  directory = await world.directory();
});
afterAll(() => world.close());

const name = () => `${randomUUID()}@example.com`;

interface Leaver {
  id: string;
  userName: string;
  externalId: string;
  agent: string;
}

async function hire(): Promise<Leaver> {
  const [userName, externalId] = [name(), randomUUID()];
  const id = await directory.user(userName, { externalId });
  return { id, userName, externalId, agent: await world.agentOf(id) };
}

const forms: [string, (leaver: Leaver) => Promise<ScimAnswer>][] = [
  ['PATCH active false', ({ id }) => directory.call('PATCH', `/Users/${id}`, setActive(false))],
  ['PUT active false', ({ id, userName }) => directory.call('PUT', `/Users/${id}`, { userName, active: false })],
  ['DELETE', ({ id }) => directory.call('DELETE', `/Users/${id}`)],
  [
    'PATCH after a rename',
    async ({ id }) => {
      await directory.call('PATCH', `/Users/${id}`, patchOf({ op: 'replace', path: 'userName', value: name() }));
      return directory.call('PATCH', `/Users/${id}`, setActive(false));
    },
  ],
  [
    'PUT that renames at the same time',
    ({ id }) => directory.call('PUT', `/Users/${id}`, { userName: name(), active: 'False' }),
  ],
];

describe('somebody who leaves (promise 2)', () => {
  it.each(forms)('%s: one receipt, no agent lives', async (_name, leave) => {
    const leaver = await hire();
    const answer = await leave(leaver);
    expect(answer.status).toBeLessThan(300);
    const receipts = await receiptsOf(world, leaver.id);
    expect(receipts).toHaveLength(1);
    expect(named(answer)).toEqual([receipts[0]?.id]);
    expect((await standingOf(world, leaver.id)).live).toBe(false);
    expect(await whyDead(world, leaver.agent)).toBe('owner_inactive');
  });

  it('stays readable when deactivated, by id and by name, and PUT without active does not bring them back', async () => {
    const { id, userName } = await hire();
    await directory.call('PATCH', `/Users/${id}`, setActive(false));
    expect((await directory.call('GET', `/Users/${id}`)).body).toMatchObject({ id, active: false });
    const filter = encodeURIComponent(`userName eq "${userName}"`);
    expect((await directory.call('GET', `/Users?filter=${filter}`)).body).toMatchObject({ totalResults: 1 });
    const put = await directory.call('PUT', `/Users/${id}`, { userName, title: 'Dr' });
    expect(put).toMatchObject({ status: 200, body: { active: false, title: 'Dr' } });
    expect(await receiptsOf(world, id)).toHaveLength(1);
  });

  it('keeps their agents through a new manager, a new name and other groups', async () => {
    const leaver = await hire();
    const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
    const manager = { op: 'replace', path: `${enterprise}:manager`, value: await directory.user() };
    const rename = { op: 'replace', path: 'userName', value: name() };
    expect((await directory.call('PATCH', `/Users/${leaver.id}`, patchOf(manager, rename))).status).toBe(200);
    const group = await makeGroup(directory, [leaver.id]);
    const removal = patchOf({ op: 'remove', path: `members[value eq "${leaver.id}"]` });
    const removed = await directory.call('PATCH', `/Groups/${group}`, removal);
    expect(named(removed)).toEqual([]);
    const [agent] = await world.sql`select owner_id from agents where id = ${leaver.agent}`;
    expect(agent).toEqual({ owner_id: leaver.id });
    expect(await whyDead(world, leaver.agent)).toBeNull();
  });
});

describe('order and repetition do not matter', () => {
  it('of requests that all say that somebody is gone: one receipt each, and the same end', async () => {
    const requests: ((group: string, leaver: Leaver) => Promise<ScimAnswer>)[] = [
      (_group, { id }) => directory.call('PATCH', `/Users/${id}`, setActive(false)),
      (_group, { id, userName }) => directory.call('PUT', `/Users/${id}`, { userName, active: false }),
      (group, { id }) =>
        directory.call('PATCH', `/Groups/${group}`, patchOf({ op: 'remove', path: `members[value eq "${id}"]` })),
      (_group, { id }) => directory.call('PATCH', `/Users/${id}`, patchOf({ op: 'add', value: { active: 'False' } })),
      (_group, { id }) =>
        directory.call('PATCH', `/Users/${id}`, patchOf({ op: 'replace', path: 'title', value: 'x' })),
      (group) => directory.call('PUT', `/Groups/${group}`, { displayName: 'Agent owners', members: [] }),
    ];
    const steps = fc
      .shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 6 })
      .chain((order) => fc.array(fc.constantFrom(...order), { maxLength: 4 }).map((again) => [...order, ...again]));
    await fc.assert(
      fc.asyncProperty(steps, fc.boolean(), async (order, atOnce) => {
        directory = await world.directory();
        const leaver = await hire();
        const stayer = await hire();
        const group = await makeGroup(directory, [leaver.id]);
        const everybody = await makeGroup(directory, [leaver.id, stayer.id]);
        const settings = { requiredGroup: group, confirm: true };
        await changeDirectory(world.db, world.act, directory.id, settings, new Date());
        const send = (n: number) => requests[n]?.(group, leaver);
        if (atOnce) await Promise.all(order.map(send));
        else for (const n of order) await send(n);
        const standing = await standingOf(world, leaver.id);
        expect(standing).toEqual({ active: false, live: false, excluded: true, deleted: false });
        expect(await receiptsOf(world, leaver.id)).toHaveLength(1);
        expect(await receiptsOf(world, stayer.id)).toHaveLength(1);
        expect(await whyDead(world, leaver.agent)).toBe('owner_inactive');
        const members = await world.sql`select person_id from group_members where group_id = ${everybody}`;
        expect(members).toHaveLength(2);
      }),
      { numRuns: 25 },
    );
  }, 60_000);

  it('of deactivation and deletion: whoever is deleted is gone for good', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(0, 1, 2), { minLength: 1, maxLength: 6 }), async (order) => {
        const leaver = await hire();
        for (const n of order) await forms[n]?.[1](leaver);
        const standing = await standingOf(world, leaver.id);
        expect(standing).toMatchObject({ live: false, deleted: order.includes(2) });
        expect(await receiptsOf(world, leaver.id)).toHaveLength(1);
      }),
      { numRuns: 20 },
    );
  }, 30_000);
});

describe('the way back brings the person, and not the agents', () => {
  const create = (body: object) => directory.call('POST', '/Users', body);

  async function expectBack(leaver: Leaver, answer: ScimAnswer): Promise<void> {
    expect(answer).toMatchObject({ status: 201, body: { id: leaver.id, active: true } });
    expect(await standingOf(world, leaver.id)).toMatchObject({ live: true });
    expect(await whyDead(world, leaver.agent)).toBe('owner_inactive');
    expect((await world.kinds(leaver.id)).at(-1)).toBe('person.returned');
  }
  const deactivated = async (): Promise<Leaver> => {
    const leaver = await hire();
    await directory.call('PATCH', `/Users/${leaver.id}`, setActive(false));
    return leaver;
  };

  it('by PATCH, and by creation again with the same userName', async () => {
    const one = await deactivated();
    await directory.call('PATCH', `/Users/${one.id}`, setActive(true));
    expect(await standingOf(world, one.id)).toMatchObject({ live: true });
    expect(await whyDead(world, one.agent)).toBe('owner_inactive');
    const two = await deactivated();
    await expectBack(two, await create({ userName: two.userName.toUpperCase() }));
  });

  it('by creation again with the same externalId, under the same name or another', async () => {
    const same = await deactivated();
    await expectBack(same, await create({ userName: same.userName, externalId: same.externalId }));
    const renamed = await deactivated();
    const userName = name();
    const answer = await create({ userName, externalId: renamed.externalId });
    await expectBack(renamed, answer);
    expect(answer.body).toMatchObject({ userName });
    expect(answer.headers.get('location')).toContain(renamed.id);
  });

  it('an externalId that several have, or that somebody active has, says of nobody who they are', async () => {
    const [one, two] = [await deactivated(), await deactivated()];
    await directory.call(
      'PATCH',
      `/Users/${two.id}`,
      patchOf({ op: 'replace', path: 'externalId', value: one.externalId }),
    );
    const made = await create({ userName: name(), externalId: one.externalId });
    expect([one.id, two.id]).not.toContain(idIn(made));
    expect(made.status).toBe(201);
    const active = await hire();
    expect(idIn(await create({ userName: name(), externalId: active.externalId }))).not.toBe(active.id);
    expect((await standingOf(world, one.id)).live).toBe(false);
  });

  it('a name that is taken refuses, or brings back whom it names; an inactive creation brings back nobody', async () => {
    const [leaver, other, third] = [await deactivated(), await hire(), await deactivated()];
    expect((await create({ userName: other.userName, externalId: leaver.externalId })).status).toBe(409);
    expect((await standingOf(world, leaver.id)).live).toBe(false);
    await expectBack(third, await create({ userName: third.userName, externalId: leaver.externalId }));
    const inactive = await create({ userName: name(), externalId: third.externalId, active: false });
    expect(inactive.status).toBe(201);
    expect(idIn(inactive)).not.toBe(third.id);
  });

  it('a deleted person stays deleted: the same externalId or userName is somebody new', async () => {
    for (const by of ['userName', 'externalId'] as const) {
      const leaver = await hire();
      await directory.call('DELETE', `/Users/${leaver.id}`);
      const made = await create({ userName: name(), [by]: leaver[by] });
      expect(made.status).toBe(201);
      expect(idIn(made)).not.toBe(leaver.id);
      expect(await standingOf(world, leaver.id)).toMatchObject({ live: false, deleted: true });
    }
  });

  it('two creations at once with one externalId bring the person back once', async () => {
    const leaver = await deactivated();
    const answers = await Promise.all([1, 2, 3].map(() => create({ userName: name(), externalId: leaver.externalId })));
    expect(answers.every(({ status }) => status === 201)).toBe(true);
    expect(answers.filter((answer) => idIn(answer) === leaver.id)).toHaveLength(1);
  });
});
