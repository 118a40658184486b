/** Promise 1 at the token endpoint: whoever is not alive is told so, finally, whatever else the request says. */
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { basic } from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  crm,
  detail,
  exchangeToken,
  type Form,
  type KeyedAgent,
  must,
  postForm,
  readIntent,
  type World,
  writeIntent,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let sql: postgres.Sql;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  sql = postgres(writ.databaseUrl, { max: 1 });
});
afterAll(async () => {
  await sql.end();
  await writ.close();
});

const nonsense: Form[] = [
  {},
  { scope: readIntent },
  { scope: 'nothing' },
  { scope: '"\\é' },
  { scope: writeIntent },
  { authorization_details: 'garbage' },
  { authorization_details: '[]' },
  { authorization_details: '['.repeat(5_000) },
  { authorization_details: detail('nothing') },
  { authorization_details: detail(writeIntent, { actions: ['update'] }) },
  { resource: 'https://unknown.example.com' },
  { resource: '' },
  { resource: [crm, 'https://other.example.com'] },
];

function expectFinal(answer: Answer, reason: string): void {
  expect([answer.status, answer.body.error, answer.body.reason]).toEqual([400, 'access_denied', reason]);
  expect(answer.body.error_uri).toBe(`${writ.url}/oauth/errors/${reason}`);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.body.access_token).toBeUndefined();
}

async function expectDead(agent: KeyedAgent, reason: string, token?: string): Promise<void> {
  for (const form of nonsense) expectFinal(await askToken(writ, agent, form), reason);
  expectFinal(await exchangeToken(writ, agent, token ?? 'garbage'), reason);
  const page = await fetch(`${writ.url}/oauth/errors/${reason}`);
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=UTF-8']);
}

const create = (members: Record<string, unknown> = {}): Promise<KeyedAgent> =>
  world.createAgent({ owner: world.alice, environment: 'production', ...members });
const tokenOf = async (agent: KeyedAgent): Promise<string> =>
  must(await askToken(writ, agent, { scope: readIntent })).body.access_token;
const act = async (agent: KeyedAgent, verb: string): Promise<void> => {
  must(await writ.admin('POST', `/agents/${agent.id}/${verb}`, { reason: 'test' }));
};

describe('RFC 6749 §5.2: agent_inactive', () => {
  test('suspended', async () => {
    const agent = await create();
    const token = await tokenOf(agent);
    await act(agent, 'suspend');
    await expectDead(agent, 'agent_inactive', token);
    await act(agent, 'activate');
    expect((await askToken(writ, agent, { scope: readIntent })).status).toBe(200);
  });

  test('decommissioned', async () => {
    const agent = await create();
    await act(agent, 'decommission');
    await expectDead(agent, 'agent_inactive');
  });

  test('pending', async () => {
    const agent = await create();
    await sql`update agents set status = 'pending', version = version + 1 where id = ${agent.id}`;
    await expectDead(agent, 'agent_inactive');
  });

  test('expired, from the instant on: nothing has to run first', async () => {
    const agent = await create({ expiresAt: new Date(Date.now() + 1_500).toISOString() });
    expect((await askToken(writ, agent, { scope: readIntent })).body.expires_in).toBeLessThanOrEqual(2);
    await new Promise((resolve) => setTimeout(resolve, 1_600));
    await expectDead(agent, 'agent_inactive');
  });

  test('an ancestor is suspended, or gone', async () => {
    const root = await create();
    const child = await create({ owner: undefined, parent: root.id });
    const grandchild = await create({ owner: undefined, parent: child.id });
    await act(root, 'suspend');
    await expectDead(grandchild, 'agent_inactive');
    await act(root, 'activate');
    expect((await askToken(writ, grandchild, { scope: readIntent })).status).toBe(200);
    await act(child, 'decommission');
    await expectDead(grandchild, 'agent_inactive');
    expect((await askToken(writ, root, { scope: readIntent })).status).toBe(200);
  });
});

describe('RFC 6749 §5.2: owner_inactive', () => {
  const deactivate = (active: boolean) =>
    world.scim('PATCH', `/Users/${world.bob}`, {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
      Operations: [{ op: 'replace', path: 'active', value: active }],
    });

  test('the owner has left: the agent and all below it, for good, with whatever credential', async () => {
    const child = await create({ owner: undefined, parent: world.billing.id });
    const token = await tokenOf(child);
    const secret = must(
      await writ.admin('POST', '/agents', {
        name: 'secret',
        owner: world.bob,
        environment: 'production',
        credential: { secret: true },
        intents: [readIntent],
      }),
    ).body;
    must(await deactivate(false));
    await expectDead(world.billing, 'owner_inactive');
    await expectDead(child, 'owner_inactive', token);
    const form = { grant_type: 'client_credentials', resource: crm, scope: readIntent };
    const answer = await postForm(`${writ.url}/oauth/token`, form, basic(secret.id, secret.clientSecret));
    expectFinal(answer, 'owner_inactive');
    // A wrong secret learns nothing of it.
    const wrong = await postForm(`${writ.url}/oauth/token`, form, basic(secret.id, 'wrong'));
    expect([wrong.status, wrong.body.reason]).toEqual([401, undefined]);

    // The person returns; their agents do not, until somebody says so.
    must(await deactivate(true));
    await expectDead(world.billing, 'owner_inactive');
    await act(world.billing, 'activate');
    expect((await askToken(writ, world.billing, { scope: readIntent })).status).toBe(200);
  });

  test('each refusal is a decision in the log', async () => {
    const agent = await create();
    await act(agent, 'suspend');
    expectFinal(await askToken(writ, agent, { scope: readIntent }), 'agent_inactive');
    const { body } = await writ.admin('GET', `/audit?agent=${agent.id}&kind=token.refused`);
    expect(body.items[0]).toMatchObject({
      kind: 'token.refused',
      outcome: 'refused',
      reason: 'agent_inactive',
      agent: agent.id,
      person: world.alice,
      decision: { policy_decision: 'DENY', reason: ['owner-and-agent-live'] },
    });
  });
});
