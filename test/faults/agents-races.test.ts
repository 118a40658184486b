/** Acts on one tree at the same instant: each happens whole, before or after the other, and none slips past a leaver. */
import { sql } from 'drizzle-orm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { changeAgent, getAgent } from '../../src/domain/agents/agents.ts';
import {
  activateAgent,
  decommissionAgent,
  expireAgents,
  suspendAgent,
  transferAgent,
} from '../../src/domain/agents/lifecycle.ts';
import { withAgent } from '../../src/domain/agents/locking.ts';
import { connect, isOutage, transaction } from '../../src/platform/db/client.ts';
import { lockOwners } from '../../src/platform/db/locks.ts';
import { type AgentWorld, openAgentWorld } from '../support/agents.ts';

let world: AgentWorld;
beforeAll(async () => {
  world = await openAgentWorld();
});
afterAll(() => world.close());

const rounds = Array.from({ length: 8 }, (_, round) => round);

const ownersInTree = async (root: string) =>
  (await world.sql`select distinct owner_id from agents where path @> array[${root}::uuid]`).map((row) => row.owner_id);

/** Lets what was started reach the lock that it has to wait for. */
const reachLock = () => new Promise((resolve) => setTimeout(resolve, 100));

describe('two transfers', () => {
  test.each(rounds)('to two people: one tree, one owner, both recorded (%i)', async () => {
    const root = await world.agent();
    for (let n = 0; n < 3; n++) await world.agent({ parent: root.id });
    const heirs = [await world.person(), await world.person()];
    await Promise.all(heirs.map((heir) => transferAgent(world.db, world.act, root.id, heir, 'race')));
    const { owner } = await getAgent(world.db, root.id);
    expect(heirs).toContain(owner);
    expect(await ownersInTree(root.id)).toEqual([owner]);
    expect(await world.epoch(root.id)).toBe(2);
    expect(await world.kinds(root.id)).toEqual(['agent.created', 'agent.transferred', 'agent.transferred']);
  });

  test('crosswise between two owners wait for each other and do not lock up', async () => {
    const [one, two] = [await world.agent(), await world.agent()];
    for (let n = 0; n < 10; n++) {
      const [a, b] = await Promise.all([getAgent(world.db, one.id), getAgent(world.db, two.id)]);
      await Promise.all([
        transferAgent(world.db, world.act, one.id, b.owner === a.owner ? two.owner : b.owner, 'race'),
        transferAgent(world.db, world.act, two.id, b.owner === a.owner ? one.owner : a.owner, 'race'),
      ]);
    }
    for (const root of [one.id, two.id]) expect(await ownersInTree(root)).toHaveLength(1);
  });
});

test.each(rounds)('suspend and transfer: both happen (%i)', async () => {
  const [root, heir] = [await world.agent(), await world.person()];
  const child = await world.agent({ parent: root.id });
  await Promise.all([
    transferAgent(world.db, world.act, root.id, heir, 'race'),
    suspendAgent(world.db, world.act, child.id, 'race'),
    suspendAgent(world.db, world.act, root.id, 'race'),
  ]);
  expect(await getAgent(world.db, root.id)).toMatchObject({ owner: heir, status: 'suspended', live: false });
  expect(await getAgent(world.db, child.id)).toMatchObject({ owner: heir, status: 'suspended' });
  expect(await world.epoch(root.id)).toBe(2);
});

test('an agent whose owner changes while its lock is waited for is locked anew, by its new owner', async () => {
  const [root, heir] = [await world.agent(), await world.person()];
  const order: string[] = [];
  const waiting: Promise<unknown>[] = [];
  await withAgent(
    world.db,
    world.act,
    root.id,
    async (tx) => {
      waiting.push(suspendAgent(world.db, world.act, root.id, 'race').then(() => order.push('suspended')));
      // Next in line for the heir's lock, and slow with it.
      waiting.push(
        transaction(world.db, async (other) => {
          await lockOwners(other, [heir]);
          await reachLock();
          order.push('something of the heir');
        }),
      );
      await reachLock();
      await tx.execute(sql`update agents set owner_id = ${heir}::uuid where id = ${root.id}::uuid`);
      order.push('transferred');
    },
    [heir],
  );
  await Promise.all(waiting);
  expect(order).toEqual(['transferred', 'something of the heir', 'suspended']);
  const [entry] = await world.sql`select person_id from audit_entries
    where agent_id = ${root.id} and kind = 'agent.suspended'`;
  expect(entry?.person_id).toBe(heir);
});

describe('a leaver', () => {
  test.each(rounds)('leaves no sub-agent behind that was made at that instant (%i)', async () => {
    const root = await world.agent();
    const children = Array.from({ length: 4 }, () => world.agent({ parent: root.id }));
    const [latched, ...made] = await Promise.all([
      world.offboard(root.owner),
      ...children.map((child) => child.catch((error: unknown) => error)),
    ]);
    const agents =
      await world.sql`select id, why_dead(id) as why from agents where owner_id = ${root.owner} order by id`;
    expect(agents.map(({ id }) => id)).toEqual(latched.map(({ id }) => id).toSorted());
    expect(agents.every(({ why }) => why === 'owner_inactive')).toBe(true);
    const refusals = made.filter((result) => result instanceof Error);
    expect(refusals.length).toBe(4 - (agents.length - 1));
    for (const refusal of refusals) expect(refusal).toMatchObject({ code: 'conflict' });
  });

  test('is waited for by whoever acts on their agents, and they then see it', async () => {
    const root = await world.agent();
    await suspendAgent(world.db, world.act, root.id, 'before');
    let late: Promise<unknown>[] = [];
    await world.offboard(root.owner, async () => {
      late = [
        activateAgent(world.db, world.act, root.id, 'late'),
        world.agent({ parent: root.id }),
        world.agent({ ownerId: root.owner }),
      ].map((attempt) => attempt.catch((error: unknown) => error));
      await reachLock();
    });
    for (const outcome of await Promise.all(late)) expect(outcome).toMatchObject({ code: 'conflict' });
    expect(await getAgent(world.db, root.id)).toMatchObject({ live: false, status: 'suspended' });
  });

  test.each(rounds)('against a transfer: the tree is latched, or somebody else answers for it (%i)', async () => {
    const [root, heir] = [await world.agent(), await world.person()];
    const child = await world.agent({ parent: root.id });
    await Promise.all([world.offboard(root.owner), transferAgent(world.db, world.act, root.id, heir, 'race')]);
    for (const id of [root.id, child.id]) {
      expect(await getAgent(world.db, id)).toMatchObject({ owner: heir, live: true, latches: [] });
    }
  });

  test.each(rounds)('to whom something is being transferred gets nothing that lives (%i)', async () => {
    const [root, heir] = [await world.agent(), await world.person()];
    const attempt = transferAgent(world.db, world.act, root.id, heir, 'race').catch((error: unknown) => error);
    const [, outcome] = await Promise.all([world.offboard(heir), attempt]);
    const agent = await getAgent(world.db, root.id);
    if (outcome instanceof Error) expect(agent).toMatchObject({ owner: root.owner, live: true });
    else expect(agent).toMatchObject({ owner: heir, live: false, latches: [{ reason: 'owner_lost' }] });
  });
});

test.each(rounds)('changes of one agent at once: none is lost (%i)', async () => {
  const { id } = await world.agent({ intents: ['tickets.read'] });
  await Promise.all([
    changeAgent(world.db, world.act, id, { name: 'renamed' }),
    changeAgent(world.db, world.act, id, { description: 'described' }),
    changeAgent(world.db, world.act, id, { intents: ['tickets.read', 'tickets.update'] }),
    changeAgent(world.db, world.act, id, { project: 'apollo' }),
  ]);
  expect(await getAgent(world.db, id)).toMatchObject({
    name: 'renamed',
    description: 'described',
    project: 'apollo',
    intents: ['tickets.read', 'tickets.update'],
  });
});

test.each(rounds)(
  'a sub-agent that is made while its tree is decommissioned ends with it, or is not made (%i)',
  async () => {
    const root = await world.agent();
    await Promise.all([
      decommissionAgent(world.db, world.act, root.id, 'race'),
      world.agent({ parent: root.id }).catch((error: unknown) => expect(error).toMatchObject({ code: 'conflict' })),
    ]);
    const left = await world.sql`select status from agents where path @> array[${root.id}::uuid]`;
    expect(new Set(left.map(({ status }) => status))).toEqual(new Set(['decommissioned']));
  },
);

test('one agent that cannot be recorded as expired keeps none of the others', async () => {
  const inAnHour = new Date(Date.now() + 3_600_000);
  const agents = [];
  for (let n = 0; n < 3; n++) agents.push(await world.agent({ expiresAt: inAnHour }));
  const [marked, ...others] = agents.map(({ id }) => id);
  await world.sql.unsafe(`
    create function refuse_marked() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
    create trigger refuse_marked before insert on audit_entries for each row
      when (new.agent_id = '${marked}') execute function refuse_marked()`);
  try {
    await world.sql`update agents set expires_at = now() - interval '1 s' * (10 - version) where id = any (${agents.map(({ id }) => id)})`;
    await expect(expireAgents(world.db, world.act)).rejects.toThrow(/1 expired/);
    const latched =
      await world.sql`select agent_id from latches where agent_id = any (${agents.map(({ id }) => id)}) order by 1`;
    expect(latched.map((row) => row.agent_id)).toEqual(others.toSorted());
    await world.sql`drop trigger refuse_marked on audit_entries`;
    expect(await expireAgents(world.db, world.act)).toBe(1);
  } finally {
    await world.sql`drop function refuse_marked cascade`;
  }
});

test('an outage is passed on as one, never as a refusal', async () => {
  const { db, close } = connect({ url: 'postgres://nobody@127.0.0.1:1/none', poolSize: 1 });
  try {
    const root = await world.agent();
    const attempts = [suspendAgent(db, world.act, root.id, 'test'), getAgent(db, root.id), expireAgents(db, world.act)];
    for (const { status, ...outcome } of await Promise.allSettled(attempts)) {
      expect(status).toBe('rejected');
      expect('reason' in outcome && isOutage(outcome.reason)).toBe(true);
    }
  } finally {
    await close();
  }
});
