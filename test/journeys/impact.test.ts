import fc from 'fast-check';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeFolder, runCli } from '../support/cli.ts';
import {
  askToken,
  createWorld,
  crm,
  exchangeToken,
  must,
  readIntent,
  type World,
  writeIntent,
} from '../support/world.ts';
import { adminToken, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let sql: postgres.Sql;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  sql = postgres(writ.databaseUrl, { max: 3, onnotice: () => {} });
});
afterAll(async () => {
  await sql.end();
  await writ.close();
});

const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];
const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
let hired = 0;
async function hire(members: Record<string, unknown> = {}): Promise<string> {
  hired += 1;
  return must(await world.scim('POST', '/Users', { schemas, userName: `person-${hired}@example.com`, ...members })).body
    .id;
}
const rehearse = async (person: string) => must(await writ.admin('GET', `/people/${person}/impact`)).body;

async function leave(person: string) {
  const gone = must(await world.scim('DELETE', `/Users/${person}`));
  return must(await writ.admin('GET', `/offboardings/${gone.headers.get('writ-offboarding')}`)).body;
}

interface Plan {
  parent: number;
  policy: 'stop' | 'quarantine' | 'handover' | null;
  hasDeputy: boolean;
  intents: string[];
  tokens: number;
  becomes: 'active' | 'suspended' | 'decommissioned' | 'expired';
}
const plan: fc.Arbitrary<Plan> = fc.record({
  parent: fc.integer({ min: -3, max: 5 }),
  policy: fc.constantFrom('stop', 'quarantine', 'handover', null),
  hasDeputy: fc.boolean(),
  intents: fc.subarray([readIntent, writeIntent]),
  tokens: fc.integer({ min: 0, max: 2 }),
  becomes: fc.oneof(
    { weight: 6, arbitrary: fc.constant('active' as const) },
    { weight: 1, arbitrary: fc.constantFrom('suspended', 'decommissioned', 'expired') },
  ),
});

async function grow(owner: string, deputy: string, plans: Plan[]): Promise<void> {
  const grown: { id: string; becomes: Plan['becomes'] }[] = [];
  for (const [at, { parent, policy, hasDeputy, intents, tokens, becomes }] of plans.entries()) {
    const above = parent >= 0 ? grown[parent % Math.max(1, at)] : undefined;
    const place =
      above === undefined
        ? { owner, environment: 'production', leaverPolicy: policy, ...(hasDeputy ? { deputy } : {}) }
        : { parent: above.id };
    const agent = await world.createAgent({ name: `agent ${at}`, intents, ...place });
    if (intents.includes(readIntent)) {
      for (let token = 0; token < tokens; token++) must(await askToken(writ, agent, { scope: readIntent }));
    }
    grown.push({ id: agent.id, becomes });
  }
  for (const { id, becomes } of grown) {
    if (becomes === 'suspended' || becomes === 'decommissioned') {
      await writ.admin('POST', `/agents/${id}/${becomes === 'suspended' ? 'suspend' : 'decommission'}`, {
        reason: 'test',
      });
    }
    if (becomes === 'expired') await sql`update agents set expires_at = now() - interval '1 second' where id = ${id}`;
  }
}

const comparable = ({
  id,
  name,
  parent,
  outcome,
  intents,
  tokensUnexpired,
  live,
  wasLive,
}: Record<string, unknown>) => ({
  id,
  name,
  parent,
  outcome,
  intents,
  tokensUnexpired,
  live: live ?? wasLive,
});

test('for any trees, what the rehearsal lists is what the receipt of the departure lists', async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(fc.array(plan, { maxLength: 7 }), async (plans) => {
      const [owner, deputy] = [await hire(), await hire()];
      await grow(owner, deputy, plans);
      const live = new Map(
        must(await writ.admin('GET', `/agents?owner=${owner}&limit=100`)).body.items.map(
          (agent: { id: string; live: boolean }) => [agent.id, agent.live],
        ),
      );
      const impact = await rehearse(owner);
      const receipt = await leave(owner);
      expect(impact.agents.map(comparable)).toEqual(receipt.agents.map(comparable));
      expect(impact.totals).toEqual({
        agents: receipt.agents.length,
        live: receipt.agents.filter((agent: { wasLive: boolean }) => agent.wasLive).length,
        tokensUnexpired: receipt.tokensUnexpired,
      });
      for (const agent of impact.agents) expect(agent.live, agent.name).toBe(live.get(agent.id));
      for (const agent of receipt.agents) {
        const children = receipt.agents.filter(({ parent }: { parent: string | null }) => parent === agent.id);
        expect(agent.children).toBe(children.length);
        seen.add(`${agent.outcome} ${agent.wasLive}`);
      }
    }),
    { numRuns: 25 },
  );
  expect([...seen].sort()).toEqual(expect.arrayContaining(['offered true', 'quarantined true', 'stopped true']));
}, 120_000);

/** Rows of every table but those that nodes write on their own, and what stands in the two global rows. */
async function photograph() {
  const unasked = ['audit_chain', 'audit_sealed', 'checkpoints', 'scim_requests'];
  const tables = await sql<{ name: string }[]>`
    select table_name as name from information_schema.tables
    where table_schema = 'public' and table_name <> all (${unasked}) order by 1`;
  const counts: Record<string, unknown> = {};
  for (const { name } of tables) counts[name] = (await sql`select count(*)::int as n from ${sql(name)}`)[0]?.n;
  return { counts, feed: await sql`select * from feed`, nodes: await sql`select * from audit_nodes order by node` };
}

test('a rehearsal changes nothing: no row, no number of the log or the feed, no notification; tokens go on', async () => {
  const heard: string[] = [];
  const channels = ['writ_feed', 'writ_keys', 'writ_catalogue'];
  for (const channel of channels) await sql.listen(channel, () => heard.push(channel));
  must(await askToken(writ, world.triage, { scope: readIntent }));
  const before = await photograph();
  for (let round = 0; round < 5; round++) {
    const { agents } = await rehearse(world.alice);
    expect(agents.map(({ name, live }: { name: string; live: boolean }) => [name, live])).toEqual([
      ['helper', true],
      ['triage', true],
    ]);
  }
  expect(await photograph()).toEqual(before);
  expect(heard).toEqual([]);
  expect((await askToken(writ, world.triage, { scope: readIntent })).status).toBe(200);
  expect(must(await writ.admin('GET', `/agents/${world.triage.id}`)).body).toMatchObject({ live: true, latches: [] });
});

test('a rehearsal that hangs holds nobody up: the same agents get tokens, the log and the feed go on; it ends with 503', async () => {
  const stuck = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
  const other = await world.createAgent({ name: 'other', owner: world.bob, environment: 'production' });
  try {
    await stuck.begin(async (tx) => {
      await tx`lock table offboardings in share mode`;
      const startedAt = performance.now();
      let ended = false;
      const rehearsal = writ.admin('GET', `/people/${world.alice}/impact`).finally(() => {
        ended = true;
      });
      await sql`select pg_sleep(0.3)`;
      const holds = await sql`select from pg_locks where locktype = 'relation' and not granted`;
      expect(holds.length, 'the rehearsal is under way').toBeGreaterThan(0);
      expect((await askToken(writ, world.triage, { scope: readIntent })).status).toBe(200);
      expect((await writ.admin('POST', `/agents/${other.id}/suspend`, { reason: 'test' })).status).toBe(200);
      expect(ended, 'the rehearsal has ended').toBe(false);
      const answer = await rehearsal;
      expect(answer.status).toBe(503);
      expect(answer.headers.get('retry-after')).not.toBeNull();
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    });
  } finally {
    await stuck.end();
  }
  expect((await rehearse(world.alice)).totals.agents).toBe(2);
});

test('rehearsals beside the departure: it is answered, happens once, and those after it say that the person has left', async () => {
  const person = await hire();
  for (const name of ['a', 'b', 'c']) await world.createAgent({ name, owner: person, environment: 'production' });
  const rehearsals = Array.from({ length: 12 }, () => writ.admin('GET', `/people/${person}/impact`));
  const departure = world.scim('DELETE', `/Users/${person}`);
  const more = Array.from({ length: 12 }, () => writ.admin('GET', `/people/${person}/impact`));
  expect((await departure).status).toBe(204);
  for (const answer of await Promise.all([...rehearsals, ...more])) {
    expect(answer.status).toBe(200);
    const { person: who, agents } = answer.body;
    expect(agents.map(({ live }: { live: boolean }) => live)).toEqual([who.active, who.active, who.active]);
  }
  expect((await rehearse(person)).person.active).toBe(false);
  expect(must(await writ.admin('GET', `/offboardings?person=${person}`)).body.items).toHaveLength(1);
});

test('of somebody who has left: what stands, and what goes on reading', async () => {
  const [person, deputy] = [await hire(), await hire()];
  const place = { owner: person, environment: 'production' };
  await world.createAgent({ name: 'reads on', leaverPolicy: 'quarantine', ...place });
  await world.createAgent({ name: 'is offered', leaverPolicy: 'handover', deputy, ...place });
  await world.createAgent({ name: 'stops', ...place });
  const before = await rehearse(person);
  const receipt = await leave(person);
  const impact = await rehearse(person);
  expect(impact.person).toMatchObject({ id: person, active: false });
  expect(impact.agents.map(({ name, outcome, live }: Record<string, unknown>) => [name, outcome, live])).toEqual([
    ['is offered', 'offered', false],
    ['reads on', 'quarantined', true],
    ['stops', 'stopped', false],
  ]);
  expect(impact.totals).toEqual({ agents: 3, live: 1, tokensUnexpired: 0 });
  expect(impact.intents).toEqual(before.intents);
  expect(before.agents.map(comparable)).toEqual(receipt.agents.map(comparable));
  expect((await writ.admin('GET', '/people/00000000-0000-4000-8000-000000000000/impact')).status).toBe(404);
});

describe('what depends on somebody, and who could take over', () => {
  const desk = 'https://desk.example.com';
  let boss: string;
  let carol: string;
  let tree: { id: string };

  beforeAll(async () => {
    boss = await hire({ displayName: 'Boss' });
    const reportsTo = { [enterprise]: { manager: { value: boss } } };
    const full = { schemas: [...schemas, enterprise], ...reportsTo };
    carol = await hire({ ...full, displayName: 'Carol' });
    const [deputy, peer, idle, mate, gone] = [
      await hire({ displayName: 'Deputy' }),
      await hire({ ...full, displayName: 'Peer' }),
      await hire({ ...full, displayName: 'Peer without agents' }),
      await hire({ displayName: 'Mate' }),
      await hire({ ...full, displayName: 'Peer who left' }),
    ];
    for (const owner of [peer, mate, gone])
      await world.createAgent({ name: 'theirs', owner, environment: 'production' });
    const members = [carol, mate, peer, idle].map((value) => ({ value }));
    const group = ['urn:ietf:params:scim:schemas:core:2.0:Group'];
    must(await world.scim('POST', '/Groups', { schemas: group, displayName: 'Team', members }));
    const leaves = { Operations: [{ op: 'replace', value: { active: false } }] };
    must(
      await world.scim('PATCH', `/Users/${gone}`, {
        schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
        ...leaves,
      }),
    );
    tree = await world.createAgent({ name: 'tree', owner: carol, environment: 'production', deputy });
  });

  test('the deputy, the manager, then live colleagues who answer for agents already', async () => {
    const { couldTakeOver } = await rehearse(carol);
    expect(couldTakeOver.map(({ displayName, why }: Record<string, unknown>) => [displayName, why])).toEqual([
      ['Deputy', 'deputy'],
      ['Boss', 'manager'],
      ['Peer', 'same_manager'],
      ['Mate', 'same_group'],
    ]);
  });

  test('APIs that the agents got tokens for, others’ tokens that stand on them, and APIs that they answer', async () => {
    const caller = await world.createAgent({ name: 'caller', owner: carol, environment: 'production' });
    must(
      await writ.admin('POST', '/apis', {
        identifier: desk,
        name: 'Desk',
        environment: 'production',
        agent: world.billing.id,
      }),
    );
    must(
      await writ.admin('POST', '/intents', {
        taskIntent: 'desk.read',
        description: 'Read at the desk',
        apis: [desk, crm],
        actions: ['read'],
        datatypes: ['ticket'],
        risk: 'read',
      }),
    );
    for (const { id } of [caller, world.billing]) {
      must(await writ.admin('PATCH', `/agents/${id}`, { intents: [readIntent, 'desk.read'] }));
    }
    const details = JSON.stringify([{ type: 'agent_intent', task_intent: 'desk.read', locations: [desk, crm] }]);
    must(await askToken(writ, caller, { scope: readIntent }));
    const { access_token: token } = must(
      await askToken(writ, caller, { resource: desk, authorization_details: details }),
    ).body;
    must(await exchangeToken(writ, world.billing, token, { resource: crm }));
    const atCrm = must(
      await writ.admin('POST', '/apis', {
        identifier: 'https://tree.example.com',
        name: 'Tree',
        environment: 'production',
        agent: tree.id,
      }),
    ).body;

    const impact = await rehearse(carol);
    expect(impact.apis).toEqual([
      { identifier: crm, agents: 1, tokensUnexpired: 1 },
      { identifier: desk, agents: 1, tokensUnexpired: 1 },
    ]);
    expect(impact.dependents).toEqual([
      {
        type: 'agent',
        id: world.billing.id,
        name: 'billing',
        owner: { id: world.bob, userName: 'bob@example.com' },
        tokensUnexpired: 1,
      },
      { type: 'api', id: atCrm.id, identifier: 'https://tree.example.com', answeredBy: { id: tree.id, name: 'tree' } },
    ]);
    // The two of the caller, and the one that stands on it.
    expect(impact.totals.tokensUnexpired).toBe(3);
    expect(impact.intents).toEqual(
      expect.arrayContaining([
        { taskIntent: readIntent, risk: 'read', agents: 2 },
        { taskIntent: 'desk.read', risk: 'read', agents: 1 },
        { taskIntent: writeIntent, risk: 'write', agents: 1 },
      ]),
    );
    const [used] = impact.agents.filter(({ name }: { name: string }) => name === 'caller');
    expect(Date.now() - Date.parse(used.lastUsedAt)).toBeLessThan(60_000);
  });

  test('`writ people impact` prints a page, and JSON for programs', async () => {
    using folder = makeFolder();
    const env = { WRIT_URL: writ.url, WRIT_ADMIN_TOKEN: adminToken };
    const page = await runCli(['people', 'impact', 'alice@example.com'], { env, cwd: folder.path });
    expect(page).toMatchObject({ code: 0, stderr: '' });
    expect(page.stdout).toContain('If alice@example.com left now');
    expect(page.stdout).toMatch(/\n {2}triage {2}stopped {2}production.*\n {2}└─ helper {2}stopped/);
    expect(page.stdout).toContain('Who could take over');
    const json = await runCli(['people', 'impact', world.alice, '--json'], { env, cwd: folder.path });
    expect(JSON.parse(json.stdout)).toMatchObject({ person: { id: world.alice }, totals: { agents: 2 } });
  });
});
