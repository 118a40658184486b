/**
 * What becomes of a leaver's agents, by policy, through the doors of the product: the directory says that somebody is
 * gone, the administrator has said before what that means, and the agents ask for tokens.
 */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  askToken,
  callScim,
  createWorld,
  decodeToken,
  detail,
  exchangeToken,
  type KeyedAgent,
  must,
  postForm,
  readIntent,
  type World,
  writeIntent,
} from '../support/world.ts';
import { type Answer, type Parsed, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let sql: postgres.Sql;

beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  sql = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
});
afterAll(async () => {
  await sql?.end();
  await writ?.close();
});

const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
const userName = (): string => `${randomUUID()}@example.com`;

const hire = async (more: object = {}, directory = world.directory): Promise<string> =>
  must(await callScim(directory, 'POST', '/Users', { userName: userName(), active: true, ...more })).body.id;

const setActive = (person: string, active: boolean): Promise<Answer> =>
  world.scim('PATCH', `/Users/${person}`, {
    schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
    Operations: [{ op: 'replace', path: 'active', value: active }],
  });

const ways: [string, (person: string) => Promise<Answer>][] = [
  ['PATCH', (person) => setActive(person, false)],
  ['DELETE', (person) => world.scim('DELETE', `/Users/${person}`)],
];

/** Somebody leaves; what their receipt says of each agent, by its id. */
async function leave(person: string, way = ways[0]?.[1]): Promise<Record<string, Parsed>> {
  const gone = await way?.(person);
  expect([200, 204]).toContain(gone?.status);
  const receipt = await writ.admin('GET', `/offboardings/${gone?.headers.get('writ-offboarding')}`);
  return Object.fromEntries(receipt.body.agents.map((agent: Parsed) => [agent.id, agent]));
}

interface Tree {
  owner: string;
  root: KeyedAgent;
  sub: KeyedAgent;
}

async function plant(members: Record<string, unknown>, owner?: string): Promise<Tree> {
  const answerable = owner ?? (await hire());
  const root = await world.createAgent({ name: 'root', owner: answerable, environment: 'production', ...members });
  return { owner: answerable, root, sub: await world.createAgent({ name: 'sub', parent: root.id }) };
}

const agentOf = async ({ id }: { id: string }): Promise<Parsed> => (await writ.admin('GET', `/agents/${id}`)).body;
const ask = (agent: KeyedAgent): Promise<Answer> => askToken(writ, agent, { scope: readIntent });
const tokenOf = async (agent: KeyedAgent): Promise<string> => must(await ask(agent)).body.access_token;
const refusalOf = async (agent: KeyedAgent): Promise<unknown> => (await ask(agent)).body.reason;
const act = (agent: KeyedAgent, verb: string, more: object = {}): Promise<Answer> =>
  writ.admin('POST', `/agents/${agent.id}/${verb}`, { reason: 'test', ...more });

async function isActive(token: string): Promise<boolean> {
  const { clientId, clientSecret } = world.api.feedCredentials;
  const authorization = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
  return must(await postForm(`${writ.url}/oauth/introspect`, { token }, { authorization })).body.active;
}

const eventsOf = async (person: string, kind: string): Promise<Parsed[]> =>
  (await writ.admin('GET', `/audit?kind=${kind}&person=${person}`)).body.items;

describe('stop, the default', () => {
  test('everything is dead until a named act, and the receipt says so', async () => {
    const { owner, root, sub } = await plant({});
    const receipt = await leave(owner);
    expect(receipt[root.id]).toMatchObject({ outcome: 'stopped' });
    expect(receipt[sub.id]).toMatchObject({ outcome: 'stopped', parent: root.id });
    for (const agent of [root, sub]) expect(await refusalOf(agent)).toBe('owner_inactive');
    expect(await agentOf(root)).toMatchObject({
      live: false,
      leaverPolicy: null,
      deputy: null,
      quarantinedUntil: null,
    });
  });
});

describe.each(ways)('quarantine, by %s', (_name, way) => {
  test('the tree gets read tokens and nothing else; what it had before is dead', async () => {
    const { owner, root, sub } = await plant({ leaverPolicy: 'quarantine' });
    const before = await Promise.all([root, sub].map(tokenOf));
    const receipt = await leave(owner, way);
    expect(receipt[root.id]).toMatchObject({ outcome: 'quarantined' });
    expect(receipt[sub.id]).toMatchObject({ outcome: 'quarantined' });
    const { quarantinedUntil, live } = await agentOf(root);
    expect(live).toBe(true);
    expect(Date.parse(receipt[root.id].until)).toBe(Date.parse(quarantinedUntil));
    expect(Math.abs(Date.parse(quarantinedUntil) - Date.now() - 86_400_000)).toBeLessThan(60_000);
    expect(await agentOf(sub)).toMatchObject({ live: true, quarantinedUntil, leaverPolicy: null });

    for (const token of before) expect(await isActive(token)).toBe(false);
    for (const agent of [root, sub]) {
      const token = await tokenOf(agent);
      expect(await isActive(token)).toBe(true);
      const narrower = await exchangeToken(writ, agent, token, { scope: readIntent });
      expect(narrower.status).toBe(200);
      const write = await askToken(writ, agent, {
        authorization_details: detail(writeIntent, { actions: ['update'] }),
      });
      expect(write.status).toBe(400);
    }
    // Nothing grows under somebody who has left.
    const more = await writ.admin('POST', '/agents', { name: 'x', parent: root.id, credential: { secret: true } });
    expect(more.status).toBe(409);
    expect(await eventsOf(owner, 'agent.quarantined')).toMatchObject([{ details: { trees: 1, first: [root.id] } }]);
  });

  test('no token outlives its end, and then the agents are as dead as by `stop`', async () => {
    const { owner, root, sub } = await plant({ leaverPolicy: 'quarantine' });
    await leave(owner, way);
    const [{ ends } = { ends: 0 }] = await sql<{ ends: number }[]>`
      update quarantines set until = clock_timestamp() + interval '2 s' where agent_id = ${root.id}
      returning extract(epoch from until)::float8 as ends`;
    const token = await tokenOf(sub);
    expect(decodeToken(token).claims.exp).toBeLessThanOrEqual(ends);
    await expect.poll(() => refusalOf(root), { timeout: 5_000 }).toBe('owner_inactive');
    expect(await refusalOf(sub)).toBe('owner_inactive');
    expect(await isActive(token)).toBe(false);
    expect(await agentOf(root)).toMatchObject({ live: false, quarantinedUntil: null });
  });
});

describe('quarantine', () => {
  test('what an earlier departure has stopped stays dead: a tree, and a part of a tree', async () => {
    const { owner, root, sub } = await plant({});
    const lower = await world.createAgent({ name: 'lower', parent: sub.id });
    const left = await plant({}, owner);
    await leave(owner);
    await setActive(owner, true);
    expect((await act(root, 'activate')).status).toBe(200);
    const fresh = await world.createAgent({ name: 'fresh', parent: root.id });
    for (const { id } of [root, left.root]) {
      expect((await writ.admin('PATCH', `/agents/${id}`, { leaverPolicy: 'quarantine' })).status).toBe(200);
    }
    const receipt = await leave(owner);
    const outcomes = [root, fresh, sub, lower, left.root, left.sub].map(({ id }) => receipt[id].outcome);
    expect(outcomes).toEqual(['quarantined', 'quarantined', 'stopped', 'stopped', 'stopped', 'stopped']);
    for (const agent of [root, fresh]) expect((await ask(agent)).status).toBe(200);
    for (const agent of [sub, lower, left.root, left.sub]) expect(await refusalOf(agent)).toBe('owner_inactive');
    expect(await agentOf(left.root)).toMatchObject({ live: false, quarantinedUntil: null });
  });

  test('the person returns: nothing changes by that; a second departure does not prolong it', async () => {
    const { owner, root } = await plant({ leaverPolicy: 'quarantine' });
    await leave(owner);
    const { quarantinedUntil } = await agentOf(root);
    await setActive(owner, true);
    expect(await agentOf(root)).toMatchObject({ quarantinedUntil, live: true });
    const more = await writ.admin('POST', '/agents', { name: 'x', parent: root.id, credential: { secret: true } });
    expect(more.status).toBe(409);
    const between = await tokenOf(root);
    const receipt = await leave(owner);
    expect(receipt[root.id]).toMatchObject({ outcome: 'quarantined' });
    expect(Date.parse(receipt[root.id].until)).toBe(Date.parse(quarantinedUntil));
    expect(await agentOf(root)).toMatchObject({ quarantinedUntil });
    expect(await isActive(between)).toBe(false);
    expect(await eventsOf(owner, 'agent.quarantined')).toHaveLength(1);
  });

  test('activating the root ends it, for sub-agents too, whose latches are theirs', async () => {
    const { owner, root, sub } = await plant({ leaverPolicy: 'quarantine' });
    await leave(owner);
    const [token, below] = [await tokenOf(root), await tokenOf(sub)];
    expect((await act(root, 'activate')).status).toBe(409);
    await setActive(owner, true);
    expect((await act(root, 'activate')).body).toMatchObject({ live: true, latches: [], quarantinedUntil: null });
    expect(await refusalOf(sub)).toBe('owner_inactive');
    expect([await isActive(token), await isActive(below)]).toEqual([false, false]);
    expect((await ask(root)).status).toBe(200);
  });

  test('a transfer ends it, and the tree is the new owner’s, whole', async () => {
    const { owner, root, sub } = await plant({ leaverPolicy: 'quarantine' });
    await leave(owner);
    const heir = await hire();
    expect((await act(root, 'transfer', { owner: heir })).body).toMatchObject({ live: true, quarantinedUntil: null });
    expect((await ask(sub)).status).toBe(200);
    // The departure of the heir is one of its own.
    expect((await leave(heir))[root.id]).toMatchObject({ outcome: 'quarantined' });
    expect((await ask(sub)).status).toBe(200);
  });

  test('suspending and decommissioning stop it as ever', async () => {
    const { owner, root, sub } = await plant({ leaverPolicy: 'quarantine' });
    await leave(owner);
    expect((await act(sub, 'suspend')).body).toMatchObject({ live: false });
    expect(await refusalOf(sub)).toBe('agent_inactive');
    expect((await act(root, 'decommission')).body).toMatchObject({ live: false, quarantinedUntil: null });
    expect(await refusalOf(root)).toBe('owner_inactive');
  });
});

const offersOf = async (agent: KeyedAgent): Promise<Parsed[]> =>
  (await writ.admin('GET', `/handovers?agent=${agent.id}`)).body.items;
const answer = (handover: Parsed, verb: 'accept' | 'decline'): Promise<Answer> =>
  writ.admin('POST', `/handovers/${handover.id}/${verb}`, { reason: `they ${verb}` });

describe('handover', () => {
  test('the tree is stopped and offered to the deputy, of whatever directory; once accepted it is theirs', async () => {
    const other = must(await writ.admin('POST', '/directories', { name: randomUUID(), kind: 'entra' })).body;
    const deputy = await hire({}, other);
    const { owner, root, sub } = await plant({ leaverPolicy: 'handover', deputy });
    const receipt = await leave(owner);
    expect(receipt[root.id]).toMatchObject({ outcome: 'offered', to: deputy });
    expect(receipt[sub.id]).toMatchObject({ outcome: 'offered' });
    for (const agent of [root, sub]) expect(await refusalOf(agent)).toBe('owner_inactive');

    const [offer] = (await writ.admin('GET', `/handovers?state=offered&to=${deputy}`)).body.items;
    expect(offer).toMatchObject({
      agent: { id: root.id, name: 'root' },
      from: { id: owner },
      to: { id: deputy },
      decidedAt: null,
    });
    expect(Math.abs(Date.parse(offer.expiresAt) - Date.parse(offer.offeredAt) - 604_800_000)).toBeLessThan(1_000);
    const accepted = await answer(offer, 'accept');
    expect(accepted.body).toMatchObject({ state: 'accepted', decidedBy: 'bootstrap', reason: 'they accept' });
    expect(await agentOf(root)).toMatchObject({ owner: deputy, deputy: null, live: true, leaverPolicy: 'handover' });
    for (const agent of [root, sub]) expect((await ask(agent)).status).toBe(200);
    for (const verb of ['accept', 'decline'] as const) expect((await answer(offer, verb)).status).toBe(409);
    const kinds = (await writ.admin('GET', `/audit?agent=${root.id}`)).body.items.map(({ kind }: Parsed) => kind);
    expect(kinds).toEqual(expect.arrayContaining(['handover.accepted', 'agent.transferred']));
    expect(await eventsOf(owner, 'handover.offered')).toMatchObject([{ details: { trees: 1, first: [root.id] } }]);
  });

  test('declined: it stays stopped, and the offer is over', async () => {
    const { owner, root } = await plant({ leaverPolicy: 'handover', deputy: await hire() });
    await leave(owner);
    const [offer] = await offersOf(root);
    expect((await answer(offer, 'decline')).body).toMatchObject({ state: 'declined', reason: 'they decline' });
    expect((await answer(offer, 'accept')).status).toBe(409);
    expect(await refusalOf(root)).toBe('owner_inactive');
    expect(await agentOf(root)).toMatchObject({ owner, live: false });
  });

  test('without a deputy, or with one who has left by then, it is the manager’s; with nobody it is stopped', async () => {
    const manager = await hire();
    const owner = await hire({ [enterprise]: { manager: { value: manager } } });
    const deputy = await hire();
    const [alone, deputised] = [await plant({ leaverPolicy: 'handover' }, owner), await plant({}, owner)];
    must(await writ.admin('PATCH', `/agents/${deputised.root.id}`, { leaverPolicy: 'handover', deputy }));
    await leave(deputy);
    const receipt = await leave(owner);
    for (const { root } of [alone, deputised]) {
      expect(receipt[root.id]).toMatchObject({ outcome: 'offered', to: manager });
    }
    const orphan = await plant({ leaverPolicy: 'handover' });
    expect((await leave(orphan.owner))[orphan.root.id]).toMatchObject({ outcome: 'stopped' });
    expect(await offersOf(orphan.root)).toEqual([]);
    // A manager who has left too takes nothing over.
    const next = await plant({ leaverPolicy: 'handover' }, await hire({ [enterprise]: { manager: { value: owner } } }));
    expect((await leave(next.owner))[next.root.id]).toMatchObject({ outcome: 'stopped' });
  });

  test('accepted too late, or for somebody who has left meanwhile: refused, and it stays stopped', async () => {
    const deputy = await hire();
    const { owner, root } = await plant({ leaverPolicy: 'handover', deputy });
    await leave(owner);
    const [offer] = await offersOf(root);
    await leave(deputy);
    expect((await answer(offer, 'accept')).body).toMatchObject({ status: 409, code: 'conflict' });
    expect(await offersOf(root)).toMatchObject([{ state: 'offered' }]);
    await setActive(deputy, true);
    await sql`update handovers set expires_at = clock_timestamp() where id = ${offer.id}`;
    for (const verb of ['accept', 'decline'] as const) {
      expect((await answer(offer, verb)).body).toMatchObject({ status: 409, detail: expect.stringMatching(/expired/) });
    }
    expect((await writ.admin('GET', `/handovers/${offer.id}`)).body).toMatchObject({ state: 'expired' });
    const listed = async (state: string) =>
      (await writ.admin('GET', `/handovers?state=${state}&agent=${root.id}`)).body.items.length;
    expect([await listed('expired'), await listed('offered')]).toEqual([1, 0]);
    expect(await refusalOf(root)).toBe('owner_inactive');
  });

  test.each([
    ['transfer', 'alice@example.com'],
    ['activate', undefined],
    ['decommission', undefined],
  ])('%s withdraws the offer', async (verb, heir) => {
    const { owner, root } = await plant({ leaverPolicy: 'handover', deputy: await hire() });
    await leave(owner);
    await setActive(owner, true);
    expect(await offersOf(root)).toMatchObject([{ state: 'offered' }]);
    expect((await act(root, verb, heir === undefined ? {} : { owner: heir })).status).toBe(200);
    const [offer] = await offersOf(root);
    expect(offer).toMatchObject({ state: 'withdrawn', reason: 'test' });
    expect((await answer(offer, 'accept')).status).toBe(409);
  });
});

describe('who says what', () => {
  const create = async (members: object): Promise<Answer> =>
    writ.admin('POST', '/agents', {
      name: 'said',
      environment: 'production',
      credential: { secret: true },
      ...members,
    });

  test('an environment’s rules hold for agents that say nothing, from the next departure on', async () => {
    expect((await writ.admin('GET', '/environments/lab')).body).toEqual({
      name: 'lab',
      leaverPolicy: 'stop',
      quarantineSeconds: 86_400,
      handoverSeconds: 604_800,
    });
    const set = await writ.admin('PUT', '/environments/lab', { leaverPolicy: 'quarantine', quarantineSeconds: 120 });
    expect(set.body).toMatchObject({ leaverPolicy: 'quarantine', quarantineSeconds: 120, handoverSeconds: 604_800 });
    const owner = await hire();
    const [silent, stopped] = [
      (await create({ owner, environment: 'lab' })).body,
      (await create({ owner, environment: 'lab', leaverPolicy: 'stop' })).body,
    ];
    const receipt = await leave(owner);
    expect(receipt[silent.id].outcome).toBe('quarantined');
    expect(Math.abs(Date.parse(receipt[silent.id].until) - Date.now() - 120_000)).toBeLessThan(30_000);
    expect(receipt[stopped.id].outcome).toBe('stopped');
    expect((await writ.admin('PUT', '/environments/lab', { leaverPolicy: 'stop' })).body).toMatchObject({
      quarantineSeconds: 86_400,
    });
    expect((await agentOf(silent)).quarantinedUntil).toBe(new Date(receipt[silent.id].until).toISOString());
    const { items } = (await writ.admin('GET', '/environments')).body;
    expect(items.map(({ name }: Parsed) => name)).toEqual(['lab', 'production']);
    const changes = (await writ.admin('GET', '/audit?kind=environment.changed')).body.items;
    await writ.admin('PUT', '/environments/lab', { leaverPolicy: 'stop' });
    expect((await writ.admin('GET', '/audit?kind=environment.changed')).body.items).toEqual(changes);
  });

  test('a deputy is somebody who is there, and not the owner', async () => {
    const [owner, deputy, gone] = [await hire(), await hire(), await hire()];
    await leave(gone);
    const agent = (await create({ owner, leaverPolicy: 'handover', deputy })).body;
    expect(agent).toMatchObject({ leaverPolicy: 'handover', deputy });
    const change = (members: object) => writ.admin('PATCH', `/agents/${agent.id}`, members);
    expect((await change({ deputy: owner })).body).toMatchObject({ status: 400, errors: [{ path: 'deputy' }] });
    expect((await change({ deputy: gone })).status).toBe(409);
    expect((await change({ deputy: 'nobody@example.com' })).body).toMatchObject({
      status: 400,
      errors: [{ path: 'deputy' }],
    });
    expect((await create({ owner, deputy: owner })).status).toBe(400);
    expect((await create({ owner, deputy: gone })).status).toBe(409);
    expect((await change({ deputy: null, leaverPolicy: null })).body).toMatchObject({
      deputy: null,
      leaverPolicy: null,
    });
    expect(
      (await change({ deputy: { directory: world.directory.id, userName: 'bob@example.com' } })).body,
    ).toMatchObject({
      deputy: world.bob,
    });
    expect((await change({ leaverPolicy: 'forget' })).status).toBe(400);
  });

  test('a tree has the policy and the deputy of its root: on a sub-agent they are refused', async () => {
    const { root, sub } = await plant({});
    const below = { parent: root.id, environment: undefined };
    expect((await create({ ...below, leaverPolicy: 'quarantine' })).body).toMatchObject({ status: 400 });
    expect((await create({ ...below, deputy: world.bob })).body).toMatchObject({ status: 400 });
    for (const members of [{ leaverPolicy: 'stop' }, { deputy: world.bob }]) {
      expect((await writ.admin('PATCH', `/agents/${sub.id}`, members)).status).toBe(400);
    }
  });
});

test('the audit log of all this verifies', async () => {
  expect((await writ.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
