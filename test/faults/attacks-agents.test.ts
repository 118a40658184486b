/** What a directory may try with agents that somebody else has stopped, or that are no longer its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { openScimAgents, patch, replace } from '../support/scim-agents.ts';
import { must } from '../support/world.ts';

const opened = await openScimAgents();
const { writ, world, sql, corporate, carol, person, makeAgent, ask } = opened;
afterAll(() => opened[Symbol.asyncDispose]());

const admin = async (path: string, more: object = {}) =>
  must(await writ.admin('POST', path, { reason: 'test', ...more })).body;
const setActive = async (who: string, active: boolean) =>
  must(await corporate.call('PATCH', `/Users/${who}`, replace('active', active)));
const reasonOf = async (agent: Parameters<typeof ask>[0]) => (await ask(agent)).body.reason;

it('undoing a later departure does not revive what an earlier, confirmed one has stopped', async () => {
  const bound = (massDeparturePercent: number | null) =>
    writ.admin('PATCH', `/directories/${corporate.id}`, { massDeparturePercent });
  must(await bound(1));
  const crowd = await Promise.all(Array.from({ length: 5 }, () => person()));
  const leaver = await person();
  const agents = [
    await makeAgent({ owner: leaver, leaverPolicy: 'stop' }),
    await makeAgent({ owner: leaver, leaverPolicy: 'quarantine' }),
  ] as const;
  for (const who of crowd) await setActive(who, false);
  await setActive(leaver, false);
  await admin(`/directories/${corporate.id}/confirm-departures`);
  await setActive(leaver, true);
  const later = (await setActive(leaver, false)).headers.get('writ-offboarding');
  await setActive(leaver, true);
  await admin(`/offboardings/${later}/undo`);
  await sql`update quarantines set until = clock_timestamp() where agent_id = ${agents[1].id}`;
  for (const agent of agents) expect(await reasonOf(agent)).toBe('owner_inactive');
  must(await bound(null));
});

it('an agent that an administrator keeps pending is not the directory’s to activate, whatever it said before', async () => {
  const agent = await makeAgent({ status: 'pending' });
  must(await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', false)));
  expect(await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', true))).toMatchObject({ status: 400 });
  expect(await reasonOf(agent)).toBe('agent_inactive');
});

it('naming other owners, and the first again, starts nothing that stopped with its owner, and withdraws no offer', async () => {
  const [owner, other] = [await person(), await person()];
  const stopped = await makeAgent({ owner });
  const offered = await makeAgent({ owner, leaverPolicy: 'handover', deputy: world.alice });
  await setActive(owner, false);
  await setActive(owner, true);
  for (const agent of [stopped, offered]) {
    for (const value of [other, owner]) {
      await corporate.call(
        'PATCH',
        `/Agents/${agent.id}`,
        patch({ op: 'replace', path: 'owners', value: [{ value }] }),
      );
    }
    expect(await reasonOf(agent)).toBe('owner_inactive');
  }
  const { items } = must(await writ.admin('GET', `/handovers?agent=${offered.id}`)).body;
  expect(items).toMatchObject([{ state: 'offered' }]);
});

it.each(['DELETE', 'owners', 'active'])(
  '%s while the agent passes to another directory: it is unknown by then',
  async (how) => {
    const [owner, other] = [await person(), await person()];
    const agent = await makeAgent({ owner });
    const released = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    const holding = sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(owner_lock_key(${owner}::text))`;
      held.resolve();
      await released.promise;
    });
    await held.promise;
    const transferred = admin(`/agents/${agent.id}/transfer`, { owner: carol });
    await sleep(300);
    const path = `/Agents/${agent.id}`;
    const tried =
      how === 'DELETE'
        ? corporate.call('DELETE', path)
        : corporate.call(
            'PATCH',
            path,
            how === 'active' ? replace('active', false) : replace('owners', [{ value: other }]),
          );
    await sleep(300);
    released.resolve();
    await holding;
    await transferred;
    expect((await tried).status).toBe(404);
    const now = must(await writ.admin('GET', `/agents/${agent.id}`)).body;
    expect(now).toMatchObject({ owner: carol, status: 'active', live: true });
  },
);

it('what is refused has not happened: a sub-agent below one that is stopped', async () => {
  const root = await makeAgent();
  const child = await world.createAgent({ name: 'below', parent: root.id, environment: 'production' });
  must(await corporate.call('PATCH', `/Agents/${child.id}`, replace('active', false)));
  await admin(`/agents/${root.id}/suspend`);
  expect((await corporate.call('PATCH', `/Agents/${child.id}`, replace('active', true))).status).toBe(400);
  await admin(`/agents/${root.id}/activate`);
  expect(await reasonOf(child)).toBe('agent_inactive');
});
