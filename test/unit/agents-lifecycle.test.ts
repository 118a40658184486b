import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { changeAgent, createAgent, getAgent, listAgents, listDescendants } from '../../src/domain/agents/agents.ts';
import { findClient } from '../../src/domain/agents/credentials.ts';
import {
  activateAgent,
  decommissionAgent,
  expireAgents,
  suspendAgent,
  transferAgent,
} from '../../src/domain/agents/lifecycle.ts';
import { secretMatches } from '../../src/platform/keys/secret.ts';
import { type AgentWorld, makeJwk, openAgentWorld } from '../support/agents.ts';

let world: AgentWorld;
beforeAll(async () => {
  world = await openAgentWorld();
});
afterAll(() => world.close());

const refused = (code: string, detail = '') => ({ code, detail: expect.stringContaining(detail) });
const inAnHour = () => new Date(Date.now() + 3_600_000);
const versionOf = async (id: string) => (await findClient(world.db, id))?.version;
/** Lets the expiry pass without waiting for it. */
const passExpiry = (id: string) =>
  world.sql`update agents set expires_at = clock_timestamp() - interval '1 second' where id = ${id}`;
describe('creating', () => {
  test('a root agent shows what was given, and its secret once', async () => {
    const ownerId = await world.person();
    const { agent, clientSecret } = await createAgent(world.db, world.act, {
      name: 'triage',
      ownerId: ownerId.toUpperCase(),
      environment: 'production',
      expiresAt: inAnHour(),
      credential: { secret: true },
      intents: ['tickets.update', 'tickets.read'],
    });
    expect(agent).toMatchObject({
      clientId: agent.id,
      owner: ownerId,
      parent: null,
      project: null,
      status: 'active',
      latches: [],
      live: true,
      credential: { secret: true },
      intents: ['tickets.read', 'tickets.update'],
    });
    expect(agent.expiresAt).toBeInstanceOf(Date);
    const client = await findClient(world.db, agent.id);
    expect(client).toMatchObject({ id: agent.id, name: 'triage', environment: 'production', ownerId, version: 1 });
    expect(secretMatches(clientSecret ?? '', client?.secretHash ?? Buffer.alloc(0))).toBe(true);
    const entries = await world.sql`select body from audit_entries where agent_id = ${agent.id}`;
    expect(entries).toHaveLength(1);
    expect(entries[0]?.body).not.toContain(clientSecret);
  });

  test('a sub-agent has the owner and the environment of its parent', async () => {
    const root = await world.agent();
    const child = await world.agent({ parent: root.id, credential: { jwks: { keys: [makeJwk()] } } });
    expect(child).toMatchObject({ owner: root.owner, environment: root.environment, parent: root.id, live: true });
    const grandchild = await world.agent({ parent: child.id });
    const { items } = await listDescendants(world.db, root.id, { limit: 10 });
    expect(items.map(({ id }) => id)).toEqual([child.id, grandchild.id]);
  });

  test.each([
    ['no owner', { ownerId: undefined }, refused('invalid_request', 'owner')],
    ['an owner who does not exist', { ownerId: randomUUID() }, refused('invalid_request', 'owner')],
    ['no environment', { environment: undefined }, refused('invalid_request', 'environment')],
    [
      'a parent that does not exist',
      { ownerId: undefined, parent: randomUUID() },
      refused('invalid_request', 'parent'),
    ],
    ['a parent that is no id', { ownerId: undefined, parent: 'root' }, refused('invalid_request', 'parent')],
    ['an intent of another environment', { intents: ['payments.read'] }, refused('invalid_request', 'payments.read')],
    ['text that cannot be stored', { name: 'a\ud800' }, refused('invalid_request')],
  ])('%s is refused', async (_name, members, expected) => {
    const given = { name: 'a', ownerId: await world.person(), environment: 'production', ...members };
    const attempt = createAgent(world.db, world.act, { credential: { secret: true }, ...given });
    await expect(attempt).rejects.toMatchObject(expected);
  });

  test('nobody who has left gets an agent, and nothing that is dead a sub-agent', async () => {
    const ownerId = await world.person();
    const root = await world.agent({ ownerId });
    await suspendAgent(world.db, world.act, root.id, 'test');
    await expect(world.agent({ parent: root.id })).rejects.toMatchObject(refused('conflict', 'parent'));
    await world.leave(ownerId);
    await expect(world.agent({ ownerId })).rejects.toMatchObject(refused('conflict', 'owner'));
  });

  test('a sub-agent takes neither an owner nor another environment', async () => {
    const { id: parent, owner: ownerId } = await world.agent();
    const given = { name: 'a', parent, credential: { secret: true } } as const;
    const attempt = (more: object) => createAgent(world.db, world.act, { ...given, ...more });
    await expect(attempt({ ownerId })).rejects.toMatchObject(refused('invalid_request', 'owner'));
    await expect(attempt({ environment: 'staging' })).rejects.toMatchObject(refused('invalid_request', 'environment'));
    await expect(attempt({ environment: 'production' })).resolves.toMatchObject({ agent: { parent } });
  });

  test('a tree is at most 16 deep', async () => {
    let parent = (await world.agent()).id;
    for (let depth = 2; depth <= 16; depth++) parent = (await world.agent({ parent })).id;
    await expect(world.agent({ parent })).rejects.toMatchObject(refused('conflict', '16 deep'));
  });
});

describe('changing', () => {
  test('members, null clears, and the same again is no change', async () => {
    const { id } = await world.agent({ project: 'apollo', expiresAt: inAnHour(), intents: ['tickets.read'] });
    const patch = { name: 'renamed', project: null, expiresAt: null, intents: ['tickets.read', 'tickets.update'] };
    const { agent } = await changeAgent(world.db, world.act, id, patch);
    expect(agent).toMatchObject(patch);
    expect(await versionOf(id)).toBe(2);
    await changeAgent(world.db, world.act, id, patch);
    expect(await versionOf(id)).toBe(2);
    expect(await world.epoch(id)).toBe(0);
    expect(await world.kinds(id)).toEqual(['agent.created', 'agent.changed']);
  });

  test.each([
    ['an intent', { intents: [] }],
    ['the credential', { credential: { jwks: { keys: [makeJwk()] } } }],
    ['the secret', { credential: { secret: true as const } }],
  ])('withdrawing or replacing %s ends its tokens', async (_name, patch) => {
    const { id } = await world.agent({ intents: ['tickets.read'] });
    const before = await findClient(world.db, id);
    await changeAgent(world.db, world.act, id, patch);
    expect(await world.epoch(id)).toBe(1);
    expect(await findClient(world.db, id)).not.toEqual(before);
  });

  test('a wrong member changes nothing', async () => {
    const { id } = await world.agent({ intents: ['tickets.read'] });
    const attempt = changeAgent(world.db, world.act, id, { name: 'renamed', intents: ['payments.read'] });
    await expect(attempt).rejects.toMatchObject(refused('invalid_request', 'payments.read'));
    expect(await getAgent(world.db, id)).toMatchObject({ name: 'triage', intents: ['tickets.read'] });
    expect(await versionOf(id)).toBe(1);
  });

  test('moving an expiry that has passed revives nothing until it is activated', async () => {
    const { id } = await world.agent({ expiresAt: inAnHour() });
    await passExpiry(id);
    await expect(activateAgent(world.db, world.act, id, 'go on')).rejects.toMatchObject(
      refused('conflict', 'expiresAt'),
    );
    const { agent } = await changeAgent(world.db, world.act, id, { expiresAt: inAnHour() });
    expect(agent).toMatchObject({ live: false, status: 'active', latches: [{ reason: 'expired' }] });
    expect(agent.latches[0]?.since).toBeInstanceOf(Date);
    expect(await world.epoch(id)).toBe(1);
    expect(await activateAgent(world.db, world.act, id, 'go on')).toMatchObject({ live: true, latches: [] });
    const kinds = ['agent.created', 'agent.expired', 'agent.changed', 'agent.activated'];
    expect(await world.kinds(id)).toEqual(kinds);
  });

  test('an agent that does not exist, or is no more', async () => {
    await expect(changeAgent(world.db, world.act, randomUUID(), {})).rejects.toMatchObject(refused('not_found'));
    await expect(changeAgent(world.db, world.act, 'x', {})).rejects.toMatchObject(refused('not_found'));
    const { id } = await world.agent();
    await decommissionAgent(world.db, world.act, id, 'test');
    await expect(changeAgent(world.db, world.act, id, { name: 'b' })).rejects.toMatchObject(refused('conflict'));
  });
});

describe('acts', () => {
  const acts = { suspend: suspendAgent, activate: activateAgent, decommission: decommissionAgent };
  const reach = async (status: string) => {
    const { id } = await world.agent({ status: status === 'pending' ? 'pending' : 'active' });
    if (status === 'suspended') await suspendAgent(world.db, world.act, id, 'test');
    if (status === 'decommissioned') await decommissionAgent(world.db, world.act, id, 'test');
    return id;
  };

  test.each([
    ['pending', 'suspend', 'suspended', 1],
    ['pending', 'activate', 'active', 0],
    ['pending', 'decommission', 'decommissioned', 1],
    ['active', 'suspend', 'suspended', 1],
    ['active', 'activate', null, 0],
    ['active', 'decommission', 'decommissioned', 1],
    ['suspended', 'suspend', null, 0],
    ['suspended', 'activate', 'active', 0],
    ['suspended', 'decommission', 'decommissioned', 1],
    ['decommissioned', 'suspend', 'conflict', 0],
    ['decommissioned', 'activate', 'conflict', 0],
    ['decommissioned', 'decommission', null, 0],
  ] as const)('%s: %s → %s', async (from, act, to, raised) => {
    const id = await reach(from);
    const [version, epoch, kinds] = [await versionOf(id), await world.epoch(id), await world.kinds(id)];
    const attempt = acts[act](world.db, world.act, id, 'because');
    if (to === 'conflict') await expect(attempt).rejects.toMatchObject(refused('conflict', 'decommissioned'));
    else expect(await attempt).toMatchObject({ status: to ?? from, live: (to ?? from) === 'active' });
    const changed = to !== null && to !== 'conflict';
    expect(await versionOf(id)).toBe((version ?? 0) + (changed ? 1 : 0));
    expect(await world.epoch(id)).toBe(epoch + raised);
    expect((await world.kinds(id)).length).toBe(kinds.length + (changed ? 1 : 0));
  });

  test.each([...Object.keys(acts)] as (keyof typeof acts)[])('%s wants a reason', async (act) => {
    const { id } = await world.agent();
    await expect(acts[act](world.db, world.act, id, ' ')).rejects.toMatchObject(refused('invalid_request', 'reason'));
  });

  test('a suspended parent holds its tree, and a decommissioned one takes it along', async () => {
    const root = await world.agent();
    const child = await world.agent({ parent: root.id });
    await suspendAgent(world.db, world.act, root.id, 'test');
    expect(await getAgent(world.db, child.id)).toMatchObject({ status: 'active', live: false });
    await activateAgent(world.db, world.act, root.id, 'test');
    expect(await getAgent(world.db, child.id)).toMatchObject({ live: true });
    await decommissionAgent(world.db, world.act, root.id, 'test');
    expect(await getAgent(world.db, child.id)).toMatchObject({ status: 'decommissioned', live: false });
  });
});

describe('a leaver', () => {
  test('latches every agent, tells them all each time, and nothing comes back with them', async () => {
    const ownerId = await world.person();
    const root = await world.agent({ ownerId, name: 'a' });
    const child = await world.agent({ parent: root.id, name: 'b' });
    const gone = await world.agent({ ownerId, name: 'c' });
    await decommissionAgent(world.db, world.act, gone.id, 'test');
    const latched = [
      { id: root.id, name: 'a' },
      { id: child.id, name: 'b' },
    ];
    expect(await world.offboard(ownerId)).toEqual(latched);
    expect(await world.offboard(ownerId)).toEqual(latched);
    const attempt = activateAgent(world.db, world.act, root.id, 'test');
    await expect(attempt).rejects.toMatchObject(refused('conflict', 'transfer'));
    await world.comeBack(ownerId);
    expect(await getAgent(world.db, root.id)).toMatchObject({
      status: 'active',
      live: false,
      latches: [{ reason: 'owner_lost' }],
    });
    expect(await activateAgent(world.db, world.act, root.id, 'test')).toMatchObject({ live: true });
    expect(await getAgent(world.db, child.id)).toMatchObject({ live: false });
  });

  test('has their trees transferred, root by root', async () => {
    const [leaver, heir] = [await world.person(), await world.person()];
    const root = await world.agent({ ownerId: leaver });
    const child = await world.agent({ parent: root.id });
    const held = await world.agent({ parent: child.id });
    await suspendAgent(world.db, world.act, held.id, 'test');
    await world.offboard(leaver);
    const attempt = transferAgent(world.db, world.act, child.id, heir, 'test');
    await expect(attempt).rejects.toMatchObject(refused('conflict', root.id));
    const moved = await transferAgent(world.db, world.act, root.id, heir, 'takes over');
    expect(moved).toMatchObject({ owner: heir, live: true, latches: [] });
    expect(await getAgent(world.db, child.id)).toMatchObject({ owner: heir, live: true });
    expect(await getAgent(world.db, held.id)).toMatchObject({ owner: heir, live: false, status: 'suspended' });
    expect(await versionOf(child.id)).toBe(2);
    expect(await world.epoch(root.id)).toBe(1);
    expect((await world.kinds(root.id)).at(-1)).toBe('agent.transferred');
    expect(await transferAgent(world.db, world.act, root.id, heir, 'again')).toMatchObject({ owner: heir });
    expect(await world.epoch(root.id)).toBe(1);
  });

  test('is given nothing, nor is somebody who does not exist', async () => {
    const [leaver, root] = [await world.person(), await world.agent()];
    await world.leave(leaver);
    const attempt = (owner: string) => transferAgent(world.db, world.act, root.id, owner, 'test');
    await expect(attempt(leaver)).rejects.toMatchObject(refused('conflict', 'owner'));
    await expect(attempt(randomUUID())).rejects.toMatchObject(refused('invalid_request', 'owner'));
    await expect(attempt('somebody')).rejects.toMatchObject(refused('invalid_request', 'owner'));
    expect(await getAgent(world.db, root.id)).toMatchObject({ owner: root.owner, live: true });
  });
});

test('the sweeper latches what has expired, once, and leaves the rest', async () => {
  const [due, later, ended] = [
    await world.agent({ expiresAt: inAnHour() }),
    await world.agent({ expiresAt: inAnHour() }),
    await world.agent({ expiresAt: inAnHour() }),
  ];
  await decommissionAgent(world.db, world.act, ended.id, 'test');
  await Promise.all([passExpiry(due.id), passExpiry(ended.id)]);
  expect(await getAgent(world.db, due.id)).toMatchObject({ live: false, latches: [] });
  const rounds = await Promise.all(Array.from({ length: 4 }, () => expireAgents(world.db, world.act)));
  expect(rounds.reduce((sum, count) => sum + count)).toBe(1);
  expect(await getAgent(world.db, due.id)).toMatchObject({ latches: [{ reason: 'expired' }] });
  expect(await getAgent(world.db, later.id)).toMatchObject({ live: true });
  expect(await world.kinds(due.id)).toEqual(['agent.created', 'agent.expired']);
  expect(await world.epoch(due.id)).toBe(1);
});

describe('lists', () => {
  test('pages neither repeat nor skip, whatever the filter', async () => {
    const ownerId = await world.person();
    const made: string[] = [];
    for (let n = 0; n < 7; n++) made.push((await world.agent({ ownerId, name: `n${n % 2}` })).id);
    // Many in one transaction have one instant: the id decides.
    await world.sql`update agents set created_at = '2026-01-01T00:00:00.123456Z' where owner_id = ${ownerId}`;
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await listAgents(world.db, { owner: ownerId }, { limit: 3, ...(cursor !== null && { cursor }) });
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(seen).toEqual(made.toSorted());
    const { items } = await listAgents(world.db, { owner: ownerId, name: 'n1' }, { limit: 10 });
    expect(items).toHaveLength(3);
  });

  test('filters', async () => {
    const root = await world.agent({ intents: ['tickets.read'], environment: 'production' });
    const child = await world.agent({ parent: root.id, status: 'pending' });
    const ids = async (filter: object) =>
      (await listAgents(world.db, { owner: root.owner, ...filter }, { limit: 10 })).items.map(({ id }) => id);
    expect(await ids({})).toEqual([root.id, child.id]);
    expect(await ids({ status: 'pending' })).toEqual([child.id]);
    expect(await ids({ parent: root.id })).toEqual([child.id]);
    expect(await ids({ intent: 'tickets.read' })).toEqual([root.id]);
    expect(await ids({ environment: 'staging' })).toEqual([]);
  });

  test.each(['x', Buffer.from('["1",2]').toString('base64url'), Buffer.from('[1.5,"a"]').toString('base64url')])(
    'the cursor %j is refused',
    async (cursor) => {
      const attempt = async () => listAgents(world.db, {}, { cursor, limit: 3 });
      await expect(attempt()).rejects.toMatchObject(refused('invalid_request', 'cursor'));
    },
  );

  test('a filter that is no id', async () => {
    const attempt = async () => listAgents(world.db, { owner: 'ada' }, { limit: 3 });
    await expect(attempt()).rejects.toMatchObject(refused('invalid_request', 'owner'));
  });
});

test('a client is found by the exact id and nothing else', async () => {
  const { id } = await world.agent({ credential: { jwks: { keys: [makeJwk()] } } });
  const client = await findClient(world.db, id);
  expect(client).toMatchObject({ id, credentialKind: 'jwks', jwks: { keys: [{ kty: 'EC' }] } });
  expect(client).not.toHaveProperty('secretHash');
  for (const other of [id.toUpperCase(), `${id} `, randomUUID(), "' or true", '\0']) {
    expect(await findClient(world.db, other)).toBeNull();
  }
});
