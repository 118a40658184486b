/**
 * Departures, and answers to what they have offered, at the same instant: one outcome each, and never an agent that
 * lives, or may do more than read, under somebody who has left.
 */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  askToken,
  createWorld,
  decodeToken,
  type KeyedAgent,
  must,
  postForm,
  readIntent,
  type World,
} from '../support/world.ts';
import { type Answer, type Parsed, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
/** A second node of the same Writ. */
let other: TestWrit;
let world: World;
let sql: postgres.Sql;

beforeAll(async () => {
  writ = await startWrit();
  other = await startWrit({ databaseUrl: writ.databaseUrl, issuer: writ.url });
  world = await createWorld(writ);
  sql = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
});
afterAll(async () => {
  await sql?.end();
  await other?.close();
  await writ?.close();
});

/** Of all agents there are, whatever a race has left of them. */
afterEach(async () => {
  const astray = await sql`
    select a.id from agents a join people p on p.id = a.owner_id
    join lateral standing(array[a.id]) s on true
    where not p.live and s.dead is null and not s.read_only`;
  expect(astray).toHaveLength(0);
  const undecided = await sql`
    select h.id from handovers h join agents a on a.id = h.agent_id where h.state = 'offered' and h.from_id <> a.owner_id`;
  expect(undecided).toHaveLength(0);
});

const rounds = Array.from({ length: 8 }, (_, round) => round);

const hire = async (): Promise<string> =>
  must(await world.scim('POST', '/Users', { userName: `${randomUUID()}@example.com`, active: true })).body.id;
const leave = (person: string): Promise<Answer> => world.scim('DELETE', `/Users/${person}`);
const setActive = (person: string, active: boolean): Promise<Answer> =>
  world.scim('PATCH', `/Users/${person}`, {
    schemas: [],
    Operations: [{ op: 'replace', path: 'active', value: active }],
  });
const act = (node: TestWrit, path: string, more: object = {}): Promise<Answer> =>
  node.admin('POST', path, { reason: 'race', ...more });
const agentOf = async (id: string): Promise<Parsed> => (await writ.admin('GET', `/agents/${id}`)).body;
const offersOf = async (id: string): Promise<Parsed[]> =>
  (await writ.admin('GET', `/handovers?agent=${id}`)).body.items;
const plant = (owner: string, members: object): Promise<KeyedAgent> =>
  world.createAgent({ name: 'root', owner, environment: 'production', ...members });
const codes = (answers: Answer[]): number[] => answers.map(({ status }) => status).toSorted((a, b) => a - b);

interface Offered {
  owner: string;
  deputy: string;
  root: KeyedAgent;
  sub: KeyedAgent;
  offer: string;
}

async function offer(): Promise<Offered> {
  const [owner, deputy] = [await hire(), await hire()];
  const root = await plant(owner, { leaverPolicy: 'handover', deputy });
  const sub = await world.createAgent({ name: 'sub', parent: root.id });
  await leave(owner);
  const [open] = await offersOf(root.id);
  return { owner, deputy, root, sub, offer: open.id };
}

describe('an offer', () => {
  test.each(rounds)('accepted and declined at once, at two nodes: one of the two (%i)', async () => {
    const { owner, deputy, root, offer: id } = await offer();
    const answers = await Promise.all([
      act(writ, `/handovers/${id}/accept`),
      act(other, `/handovers/${id}/decline`),
      act(other, `/handovers/${id}/accept`),
      act(writ, `/handovers/${id}/decline`),
    ]);
    expect(codes(answers)).toEqual([200, 409, 409, 409]);
    const said = answers.find(({ status }) => status === 200)?.body.state;
    expect(await offersOf(root.id)).toMatchObject([{ state: said }]);
    const accepted = said === 'accepted';
    expect(await agentOf(root.id)).toMatchObject({ owner: accepted ? deputy : owner, live: accepted });
    const kinds = await sql`select kind from audit_entries where agent_id = ${root.id} and kind like 'handover.%'`;
    expect(kinds.map(({ kind }) => kind)).toEqual([`handover.${said}`]);
  });

  test.each(rounds)('accepted while the tree is transferred: accepted before it, or withdrawn by it (%i)', async () => {
    const { root, sub, offer: id } = await offer();
    const heir = await hire();
    const [accepted, transferred] = await Promise.all([
      act(other, `/handovers/${id}/accept`),
      act(writ, `/agents/${root.id}/transfer`, { owner: heir }),
    ]);
    expect(transferred.status).toBe(200);
    expect([200, 409]).toContain(accepted.status);
    const state = accepted.status === 200 ? 'accepted' : 'withdrawn';
    expect(await offersOf(root.id)).toMatchObject([{ state }]);
    for (const { id } of [root, sub]) expect(await agentOf(id)).toMatchObject({ owner: heir, live: true });
  });

  test.each(rounds)('accepted while the deputy leaves: whoever has the tree, it is dead (%i)', async () => {
    const { owner, deputy, root, sub, offer: id } = await offer();
    const [accepted, gone] = await Promise.all([act(other, `/handovers/${id}/accept`), leave(deputy)]);
    expect(gone.status).toBe(204);
    expect([200, 409]).toContain(accepted.status);
    const heir = accepted.status === 200 ? deputy : owner;
    for (const { id } of [root, sub]) expect(await agentOf(id)).toMatchObject({ owner: heir, live: false });
    expect((await askToken(writ, root, { scope: readIntent })).body.reason).toBe('owner_inactive');
  });

  test.each(rounds)('accepted while the agent is decommissioned: it ends for good (%i)', async () => {
    const { root, sub, offer: id } = await offer();
    const [accepted] = await Promise.all([
      act(other, `/handovers/${id}/accept`),
      act(writ, `/agents/${root.id}/decommission`),
    ]);
    for (const { id } of [root, sub])
      expect(await agentOf(id)).toMatchObject({ status: 'decommissioned', live: false });
    expect(await offersOf(root.id)).toMatchObject([{ state: accepted.status === 200 ? 'accepted' : 'withdrawn' }]);
  });
});

describe('a departure', () => {
  test.each(rounds)('said twice at once is one: one quarantine, one offer (%i)', async () => {
    const [owner, deputy] = [await hire(), await hire()];
    const [reading, offered] = [
      await plant(owner, { leaverPolicy: 'quarantine' }),
      await plant(owner, { leaverPolicy: 'handover', deputy }),
    ];
    await Promise.all([setActive(owner, false), leave(owner), setActive(owner, false)]);
    expect(await offersOf(offered.id)).toMatchObject([{ state: 'offered' }]);
    expect(await agentOf(reading.id)).toMatchObject({ live: true, quarantinedUntil: expect.any(String) });
    const [{ events } = { events: 0 }] = await sql<{ events: number }[]>`
      select count(*)::int as events from audit_entries where person_id = ${owner} and kind = 'agent.quarantined'`;
    expect(events).toBe(1);
  });

  test.each(rounds)('of the owner and of the deputy at once: stopped, whoever was first (%i)', async () => {
    const [owner, deputy] = [await hire(), await hire()];
    const root = await plant(owner, { leaverPolicy: 'handover', deputy });
    await Promise.all([leave(owner), leave(deputy)]);
    expect(await agentOf(root.id)).toMatchObject({ owner, live: false });
    for (const { id } of await offersOf(root.id)) expect((await act(writ, `/handovers/${id}/accept`)).status).toBe(409);
  });

  test.each(rounds)('while the policy changes: the one before or the one after, whole (%i)', async () => {
    const owner = await hire();
    const root = await plant(owner, { leaverPolicy: 'quarantine' });
    const [changed, gone] = await Promise.all([
      other.admin('PATCH', `/agents/${root.id}`, { leaverPolicy: 'stop' }),
      leave(owner),
    ]);
    expect(changed.status).toBe(200);
    const receipt = (await writ.admin('GET', `/offboardings/${gone.headers.get('writ-offboarding')}`)).body;
    const { live, quarantinedUntil } = await agentOf(root.id);
    expect([live, quarantinedUntil !== null]).toEqual(
      receipt.agents[0].outcome === 'quarantined' ? [true, true] : [false, false],
    );
  });

  test.each(rounds)('while its agents ask: what they hold after it ends with the quarantine (%i)', async () => {
    const owner = await hire();
    const root = await plant(owner, { leaverPolicy: 'quarantine' });
    await sql`insert into environments (name, leaver_policy, quarantine_seconds) values ('production', 'stop', 60)
      on conflict (name) do update set quarantine_seconds = 60`;
    const asked = Array.from({ length: 6 }, (_, n) =>
      askToken(writ, root, { scope: readIntent }).then((a) => ({ n, a })),
    );
    const [, ...answers] = await Promise.all([leave(owner), ...asked]);
    const { quarantinedUntil } = await agentOf(root.id);
    const { clientId, clientSecret } = world.api.feedCredentials;
    const authorization = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
    for (const { a } of answers) {
      expect(a.status).toBe(200);
      const token: string = a.body.access_token;
      const { active } = (await postForm(`${writ.url}/oauth/introspect`, { token }, { authorization })).body;
      const isBounded = decodeToken(token).claims.exp <= Date.parse(quarantinedUntil) / 1000;
      expect(active).toBe(isBounded);
    }
  });

  test.each(rounds)(
    'again, while the tree is activated: it works for its owner, or as it did before (%i)',
    async () => {
      const owner = await hire();
      const root = await plant(owner, { leaverPolicy: 'quarantine' });
      await setActive(owner, false);
      const { quarantinedUntil } = await agentOf(root.id);
      await setActive(owner, true);
      const [activated] = await Promise.all([act(other, `/agents/${root.id}/activate`), setActive(owner, false)]);
      expect([200, 409]).toContain(activated.status);
      const after = await agentOf(root.id);
      // Activated, it was a tree of its own when its owner left: a quarantine from then on. Otherwise the one that was.
      expect(after.live).toBe(true);
      if (activated.status === 409) expect(after.quarantinedUntil).toBe(quarantinedUntil);
      else expect(Date.parse(after.quarantinedUntil)).not.toBe(Date.parse(quarantinedUntil));
    },
  );
});
