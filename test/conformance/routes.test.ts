/**
 * Every mounted route, with no credential, a wrong one, and somebody else's. The table is compared with the router of
 * the running server, so that a route that nobody thought about here fails the test.
 */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { table } from '../support/route-guards.ts';
import {
  askToken,
  createWorld,
  encodeForm,
  type Form,
  makeAssertion,
  must,
  readIntent,
  type World,
} from '../support/world.ts';
import { type Answer, adminToken, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let sql: postgres.Sql;
/** What the routes could do harm to, if they let anybody in. */
const targets: Record<string, string> = {};
/** `Authorization` headers, each right somewhere. */
let credentials: Record<'administrator' | 'directory' | 'otherDirectory' | 'api' | 'otherApi' | 'agent', string>;
let token: string;

const basic = (id: string, secret: string): string => `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;

beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  sql = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
  const group = must(await world.scim('POST', '/Groups', { displayName: 'Engineering' })).body;
  const carol = must(await world.scim('POST', '/Users', { userName: 'carol@example.com' })).body;
  await world.createAgent({
    name: 'offered',
    owner: carol.id,
    environment: 'production',
    leaverPolicy: 'handover',
    deputy: world.bob,
  });
  const left = must(await world.scim('DELETE', `/Users/${carol.id}`));
  const other = must(await writ.admin('POST', '/directories', { name: 'Another', kind: 'entra' })).body;
  await sql`update directories set scim_agents = true`;
  const otherApi = must(
    await writ.admin('POST', '/apis', { identifier: 'https://other.example.com', name: 'Other', environment: 'test' }),
  ).body;
  const agent = must(
    await writ.admin('POST', '/agents', {
      name: 'with-secret',
      owner: world.bob,
      environment: 'production',
      credential: { secret: true },
    }),
  ).body;
  token = must(await askToken(writ, world.triage, { scope: readIntent })).body.access_token;
  const own = world.api.feedCredentials;
  credentials = {
    administrator: `Bearer ${adminToken}`,
    directory: `Bearer ${world.directory.scimToken}`,
    otherDirectory: `Bearer ${other.scimToken}`,
    api: basic(own.clientId, own.clientSecret),
    otherApi: basic(otherApi.feedCredentials.clientId, otherApi.feedCredentials.clientSecret),
    agent: basic(agent.clientId, agent.clientSecret),
  };
  Object.assign(targets, {
    Users: world.alice,
    Groups: group.id,
    Agents: world.triage.id,
    directories: world.directory.id,
    people: world.alice,
    groups: group.id,
    offboardings: left.headers.get('writ-offboarding'),
    apis: world.api.id,
    intents: must(await writ.admin('GET', '/intents')).body.items[0].id,
    agents: world.triage.id,
    keys: must(await writ.admin('GET', '/keys')).body.items[0].kid,
    environments: 'production',
    handovers: must(await writ.admin('GET', '/handovers')).body.items[0].id,
    errors: 'owner_inactive',
    ResourceTypes: 'User',
    Schemas: 'urn:ietf:params:scim:schemas:core:2.0:User',
  });
});
afterAll(async () => {
  await sql?.end();
  await writ?.close();
});

/** Bodies that would be obeyed. */
const bodies: Record<string, unknown> = {
  'PUT /scim/v2/Users/:id': { userName: 'alice@example.com', active: false },
  'PATCH /scim/v2/Users/:id': { schemas: [], Operations: [{ op: 'replace', value: { active: false } }] },
  'PUT /scim/v2/Groups/:id': { displayName: 'Nobody' },
  'PATCH /scim/v2/Groups/:id': { schemas: [], Operations: [{ op: 'replace', value: { displayName: 'Nobody' } }] },
  'PUT /scim/v2/Agents/:id': { agentUserName: 'mine', active: false },
  'PATCH /scim/v2/Agents/:id': { schemas: [], Operations: [{ op: 'replace', value: { active: false } }] },
  'POST /api/v1/directories': { name: 'Mine', kind: 'generic' },
  'POST /api/v1/apis': { identifier: 'https://mine.example.com', name: 'Mine', environment: 'test' },
  'PATCH /api/v1/apis/:id': { name: 'Mine' },
  'PATCH /api/v1/agents/:id': { name: 'mine' },
  'POST /api/v1/agents/:id/suspend': { reason: 'because' },
  'POST /api/v1/agents/:id/activate': { reason: 'because' },
  'POST /api/v1/agents/:id/decommission': { reason: 'because' },
  'POST /api/v1/agents/:id/transfer': { owner: 'bob@example.com', reason: 'because' },
  'PUT /api/v1/groups/:id/rights': { roles: ['admin'], intents: [] },
  'PUT /api/v1/environments/:name': { leaverPolicy: 'quarantine' },
  'POST /api/v1/handovers/:id/accept': { reason: 'because' },
  'POST /api/v1/handovers/:id/decline': { reason: 'because' },
  'POST /api/v1/keys/:kid/revoke': { reason: 'because' },
  'POST /revocations/ack': { seq: 0, verifier: 'crm-1' },
};

/** Calls the route, with what is really there in place of its parameters. `ALL` stands for a method of no other route. */
async function fire(route: string, authorization: string | undefined): Promise<Answer> {
  const [method = '', pattern = ''] = route.split(' ');
  const path = pattern
    .replace(/\/([^/]+)\/:(\w+)/, (_, kind: string) => `/${kind}/${targets[kind] ?? randomUUID()}`)
    .replace('*', 'nothing-here');
  const sent = method === 'ALL' ? (pattern.endsWith('authorize') ? 'GET' : 'OPTIONS') : method;
  const body =
    sent === 'GET' || sent === 'OPTIONS' || sent === 'DELETE' ? undefined : JSON.stringify(bodies[route] ?? {});
  const controller = new AbortController();
  const response = await fetch(`${writ.url}${path}`, {
    method: sent,
    headers: {
      ...(authorization === undefined ? {} : { authorization }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    signal: controller.signal,
    ...(body === undefined ? {} : { body }),
  });
  if (!/event-stream/.test(response.headers.get('content-type') ?? '')) return await readAnswer(response);
  controller.abort();
  return { status: response.status, headers: response.headers, body: null };
}

async function expectRefused(route: string, names: (keyof typeof credentials)[]): Promise<void> {
  const wrong = [undefined, 'Bearer wrong', 'Bearer ', basic(randomUUID(), 'wrong'), 'Basic !', 'Negotiate abc'];
  for (const authorization of [...wrong, ...names.map((name) => credentials[name])]) {
    const answer = await fire(route, authorization);
    const isChallenged = answer.headers.has('www-authenticate');
    expect({ authorization, status: answer.status, isChallenged }).toEqual({
      authorization,
      status: 401,
      isChallenged: true,
    });
  }
}

/** Everything that is kept, but for the record of what was tried. */
async function countRows(): Promise<unknown> {
  const tables = [
    'directories',
    'directory_tokens',
    'people',
    'groups',
    'apis',
    'intents',
    'agents',
    'latches',
    'subjects',
    'environments',
    'quarantines',
    'handovers',
  ];
  const others = ['revocations', 'acknowledgements', 'offboardings', 'signing_keys', 'admin_tokens'];
  const rows = await sql.unsafe(
    [...tables, ...others]
      // When an IdP was heard of last is noted after the answer, sometime.
      .map(
        (name) => `select '${name}' as name, md5(string_agg(t::text, '' order by t::text)) from (
        select to_jsonb(t) - 'last_contact_at' as t from ${name} t) t`,
      )
      .join(' union all '),
  );
  return [...rows];
}

test('the table has every route, and no others', () => {
  const mounted = new Set(writ.routes.map(({ method, path }) => `${method} ${path}`));
  expect(Object.keys(table).sort()).toEqual([...mounted].sort());
});

test('what is asked for is there, for those whose it is', async () => {
  for (const [route, guard] of Object.entries(table).filter(([route]) => /^GET .*:/.test(route))) {
    const isAdministrative = guard === 'administrator';
    const authorization = isAdministrative ? credentials.administrator : credentials.directory;
    expect([route, (await fire(route, authorization)).status]).toEqual([route, 200]);
  }
});

describe.each(Object.entries(table))('%s', (route, guard) => {
  if (guard === 'administrator') {
    test('wants an administrator', async () => {
      const before = await countRows();
      await expectRefused(route, ['directory', 'otherDirectory', 'api', 'agent']);
      expect(await countRows()).toEqual(before);
    });
  } else if (guard === 'api') {
    test('wants the feed credentials of an API', async () => {
      const before = await countRows();
      await expectRefused(route, ['administrator', 'directory', 'agent']);
      expect(await countRows()).toEqual(before);
    });
  } else if ('directory' in guard) {
    test('wants a directory, and shows it only what is its own', async () => {
      const before = await countRows();
      await expectRefused(route, ['administrator', 'api', 'agent']);
      const answer = await fire(route, credentials.otherDirectory);
      expect(answer.status).toBe(guard.directory);
      expect(JSON.stringify(answer.body)).not.toMatch(/alice|Engineering/);
      expect(await countRows()).toEqual(before);
    });
  } else if ('anyone' in guard) {
    test('answers anyone alike', async () => {
      for (const authorization of [undefined, 'Bearer wrong', credentials.agent, credentials.otherDirectory]) {
        expect((await fire(route, authorization)).status).toBe(guard.anyone);
      }
    });
  } else {
    test('wants a client, and lets it look at nothing of another', async () => {
      const before = await countRows();
      await expectClient(`${writ.url}${route.split(' ')[1]}`, guard.client);
      expect(await countRows()).toEqual(before);
    });
  }
});

async function expectClient(url: string, ofAnother: number): Promise<void> {
  const form: Form = url.endsWith('/token')
    ? { grant_type: 'client_credentials', resource: 'https://crm.example.com', scope: readIntent }
    : { token };
  const send = async (more: Form, headers: Record<string, string> = {}): Promise<Answer> =>
    readAnswer(await fetch(url, { method: 'POST', headers, body: encodeForm({ ...form, ...more }) }));
  const assertion = (changes: object, agent = world.triage): Form => ({
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: makeAssertion(writ, agent, { ...changes }),
  });
  const none = await send({});
  expect([400, 401]).toContain(none.status);
  expect(['invalid_request', 'invalid_client']).toContain(none.body.error);
  const wrong: Answer[] = [
    await send({}, { authorization: basic(randomUUID(), 'wrong') }),
    await send({}, { authorization: basic(world.api.feedCredentials.clientId, 'wrong') }),
    await send({ client_id: world.triage.id }),
    // Another agent's key, and another server's assertion.
    await send(assertion({}, { id: world.triage.id, privateKey: world.billing.privateKey })),
    await send(assertion({ aud: 'https://another.example.com' })),
  ];
  for (const answer of wrong) expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client']);
  // Right, but for something else.
  for (const authorization of [credentials.administrator, credentials.directory]) {
    const answer = await send({}, { authorization });
    expect([400, 401]).toContain(answer.status);
    expect(answer.body).not.toHaveProperty('active');
    expect(answer.body).not.toHaveProperty('access_token');
  }
  for (const authorization of [credentials.otherApi, ...(url.endsWith('/token') ? [] : [credentials.agent])]) {
    const answer = await send({}, { authorization });
    expect(answer.status).toBe(ofAnother);
    if (ofAnother === 200) expect(answer.body).toEqual({ active: false });
    else expect(answer.body).toMatchObject({ error: expect.any(String) });
  }
}
