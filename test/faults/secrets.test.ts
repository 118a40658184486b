/**
 * Promise 10. One Writ is used in every way there is, well and badly, with its database and without; then every log line
 * at the level of most detail, every answer, and every row of every table is searched for every secret that was used:
 * whole, in the encodings it travels in, and by its distinctive end. Only the one answer that hands a secret out has it.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger } from '../../src/platform/http/log.ts';
import { openKeyPair } from '../../src/platform/keys/key-pair.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startProxy } from '../support/database-proxy.ts';
import { assertionType, basic, exchangeGrant } from '../support/oauth.ts';
import { crm, encodeForm, type Form, type KeyedAgent, makeAssertion, readIntent } from '../support/world.ts';
import { adminToken, type Parsed, startWrit, type TestWrit } from '../support/writ.ts';

interface Seen {
  what: string;
  status: number;
  text: string;
}

const kek = randomBytes(32);
const lines: string[] = [];
const answers: Seen[] = [];
/** By what it is. */
const secrets = new Map<string, string>();
let database: TestDatabase;
let proxy: Awaited<ReturnType<typeof startProxy>>;
let writ: TestWrit;
let sql: postgres.Sql;

const keep = (what: string, secret: string): string => {
  expect(secret.length, what).toBeGreaterThan(15);
  secrets.set(`${what} ${secrets.size}`, secret);
  return secret;
};
const keepKey = (what: string, key: KeyObject): void => {
  keep(`${what}, d`, String(key.export({ format: 'jwk' }).d));
  keep(`${what}, PEM`, String(key.export({ format: 'pem', type: 'pkcs8' })).split('\n')[1] ?? '');
};

beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startProxy(database.url);
  sql = postgres(database.url, { max: 1, onnotice: () => {} });
  const log = createLogger('trace', { write: (line) => void lines.push(line) });
  const env = {
    WRIT_KEK: kek.toString('base64'),
    WRIT_METRICS_TOKEN: keep('metrics token', `metrics-${randomUUID()}`),
  };
  writ = await startWrit({ databaseUrl: proxy.url, env, log });
  keep('administration token', adminToken);
  keep('KEK', kek.toString('base64'));
}, 60_000);
afterAll(async () => {
  await writ?.close();
  await sql.end();
  await proxy[Symbol.asyncDispose]();
  await database.drop();
});

async function send(what: string, path: string, init: RequestInit = {}): Promise<{ status: number; body: Parsed }> {
  const response = await fetch(path.startsWith('http') ? path : `${writ.url}${path}`, init);
  const text = await response.text();
  const headers = JSON.stringify([...response.headers]);
  answers.push({ what: `${what}: ${init.method ?? 'GET'} ${path}`, status: response.status, text: headers + text });
  return { status: response.status, body: /[/+]json/.test(headers) ? JSON.parse(text || 'null') : text };
}

const json = (authorization: string, body?: unknown, method = 'POST'): RequestInit => ({
  method,
  headers: { authorization, 'content-type': 'application/json' },
  ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
});
const asAdmin = (method: string, path: string, body?: unknown) =>
  send('admin', `/api/v1${path}`, json(`Bearer ${adminToken}`, body, method));
const post = (what: string, path: string, form: Form, headers: Record<string, string> = {}) =>
  send(what, path, { method: 'POST', headers, body: encodeForm(form) });

/** A client assertion, which is as good as a secret for its time. */
const assertion = (agent: KeyedAgent, changes = {}): Form => ({
  client_assertion_type: assertionType,
  client_assertion: keep('assertion', makeAssertion(writ, agent, changes)),
});
const grant = { grant_type: 'client_credentials', resource: crm, scope: readIntent };
const exchange = (subject: string): Form => ({
  grant_type: exchangeGrant,
  subject_token: subject,
  subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
});

interface Cast {
  scimToken: string;
  agent: KeyedAgent;
  bySecret: { id: string; secret: string };
  api: { clientId: string; clientSecret: string };
  person: string;
}

/** The journeys as they are meant. */
async function useWell(): Promise<Cast> {
  const directory = (await asAdmin('POST', '/directories', { name: 'Okta', kind: 'okta' })).body;
  keep('first SCIM token', directory.scimToken);
  const rotated = (await asAdmin('POST', `/directories/${directory.id}/rotate-token`, { graceSeconds: 60 })).body;
  const scimToken = keep('SCIM token', rotated.scimToken);
  const scim = (method: string, path: string, body?: unknown) =>
    send('scim', `/scim/v2${path}`, json(`Bearer ${scimToken}`, body, method));
  const password = keep('password of a person', `correct-horse-${randomUUID()}`);
  const person = (await scim('POST', '/Users', { userName: 'alice@example.com', password })).body.id;
  await scim('PUT', `/Users/${person}`, { userName: 'alice@example.com', password, displayName: 'Alice' });
  const replace = (value: string) => ({ Operations: [{ op: 'replace', path: 'password', value }] });
  await scim('PATCH', `/Users/${person}`, replace(keep('new password', `battery-staple-${randomUUID()}`)));
  await scim('GET', `/Users/${person}?attributes=password,userName`);

  const api = (await asAdmin('POST', '/apis', { identifier: crm, name: 'CRM', environment: 'production' })).body
    .feedCredentials;
  keep('feed secret', api.clientSecret);
  await asAdmin('POST', '/intents', {
    taskIntent: readIntent,
    description: 'x',
    apis: [crm],
    actions: ['read'],
    datatypes: ['ticket'],
    risk: 'read',
  });
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  keepKey('key of an agent', privateKey);
  const common = { owner: person, environment: 'production', intents: [readIntent] };
  const jwks = { keys: [publicKey.export({ format: 'jwk' })] };
  const agent = {
    id: (await asAdmin('POST', '/agents', { ...common, name: 'keyed', credential: { jwks } })).body.id,
    privateKey,
  };
  const made = (await asAdmin('POST', '/agents', { ...common, name: 'with-secret', credential: { secret: true } }))
    .body;
  const bySecret = { id: made.id, secret: keep('client secret', made.clientSecret) };

  const token = async (form: Form, headers = {}) =>
    keep('access token', (await post('token', '/oauth/token', { ...grant, ...form }, headers)).body.access_token);
  const first = await token(assertion(agent));
  await token({}, basic(bySecret.id, bySecret.secret));
  await token({ client_id: bySecret.id, client_secret: bySecret.secret });
  const second = await token({ ...exchange(first), ...assertion(agent) });
  const asApi = basic(api.clientId, api.clientSecret);
  expect((await post('introspection', '/oauth/introspect', { token: second }, asApi)).body.active).toBe(true);
  expect((await post('revocation', '/oauth/revoke', { token: second, ...assertion(agent) })).status).toBe(200);
  await post('introspection', '/oauth/introspect', { token: second }, asApi);
  await send('acknowledgement', '/revocations/ack', json(asApi.authorization ?? '', { seq: 1, verifier: 'v' }));
  await send('metrics', '/metrics', { headers: { authorization: `Bearer ${env('metrics token')}` } });
  await asAdmin('POST', '/keys/rotate', { algorithm: 'ES256' });
  await asAdmin('PATCH', `/agents/${bySecret.id}`, { description: 'other' });
  return { scimToken, agent, bySecret, api, person };
}

const env = (name: string): string => [...secrets].find(([what]) => what.startsWith(name))?.[1] ?? '';

/** Wrong, malformed, in the wrong place: what people and programs really send. */
async function useBadly({ scimToken, agent, bySecret, api, person }: Cast): Promise<void> {
  const wrong = keep('wrong secret', `writ_client_${randomBytes(32).toString('base64url')}`);
  const stranger = { id: agent.id, privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey };
  const token = keep(
    'access token',
    (await post('token', '/oauth/token', { ...grant, ...assertion(agent) })).body.access_token,
  );
  const used = assertion(agent);
  const both = { client_id: bySecret.id, client_secret: bySecret.secret };
  const attempts: [Form, Record<string, string>?][] = [
    [grant, basic(bySecret.id, wrong)],
    // The fields changed places; the pair in one field; the secret with the body's and the header's method at once.
    [grant, basic(bySecret.secret, bySecret.id)],
    [{ ...grant, client_id: bySecret.secret, client_secret: bySecret.id }],
    [{ ...grant, client_id: `${bySecret.id}:${bySecret.secret}` }],
    [{ ...grant, ...both }, basic(bySecret.id, bySecret.secret)],
    [{ ...grant, client_id: [bySecret.id, bySecret.id], client_secret: [bySecret.secret, bySecret.secret] }],
    [grant, { authorization: `Bearer ${bySecret.secret}` }],
    [grant, { authorization: `Basic ${bySecret.secret}` }],
    [{ ...grant, ...both, scope: 'no such intent' }],
    [{ ...grant, ...both, authorization_details: `[{"type":"agent_intent","secret":"${bySecret.secret}"}]` }],
    [{ ...grant, ...assertion(stranger) }],
    [{ ...grant, ...assertion(agent, { aud: `${writ.url}/oauth/token` }) }],
    [{ ...grant, ...assertion(agent, { exp: 1 }) }],
    [{ ...grant, ...used }],
    [{ ...grant, ...used }],
    [{ ...grant, ...assertion(agent), client_id: randomUUID() }],
    [{ ...grant, client_id: String(assertion(agent).client_assertion) }],
    [{ ...exchange(`${token.slice(0, -4)}AAAA`), ...assertion(agent) }],
    [{ ...exchange(bySecret.secret), ...assertion(agent) }],
    [{ ...exchange(token), actor_token: token, ...assertion(agent) }],
    [{ grant_type: bySecret.secret, ...both }],
  ];
  for (const [form, headers] of attempts) await post('bad token request', '/oauth/token', form, headers ?? {});
  await post('secret in the address', `/oauth/token?client_secret=${bySecret.secret}`, grant);
  for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded; charset=utf-16']) {
    const body = `client_secret=${bySecret.secret}&x=%zz`;
    await send('malformed', '/oauth/token', { method: 'POST', headers: { 'content-type': type }, body });
  }
  await post('introspection', '/oauth/introspect', { token }, basic(api.clientId, wrong));
  await post('introspection', '/oauth/introspect', { token: api.clientSecret }, basic(api.clientId, api.clientSecret));
  await post('revocation', '/oauth/revoke', { token, ...assertion(stranger) });
  await send('feed', '/revocations', { headers: basic(api.clientId, wrong) });
  await send(
    'feed',
    '/revocations/ack',
    json(basic(api.clientId, api.clientSecret).authorization ?? '', `{"x":"${wrong}`),
  );

  await send('scim', '/scim/v2/Users', { headers: { authorization: `Bearer ${wrong}` } });
  await send('scim', `/scim/v2/Users?access_token=${scimToken}`);
  const password = env('password of a person');
  for (const body of [
    `{"userName":"x","password":"${password}"`,
    { userName: 1, password },
    { password },
    { userName: 'b', password: [password] },
  ]) {
    await send('scim', '/scim/v2/Users', json(`Bearer ${scimToken}`, body));
    await send('scim', `/scim/v2/Users/${person}`, json(`Bearer ${scimToken}`, body, 'PUT'));
  }
  await send(
    'scim',
    `/scim/v2/Users?filter=${encodeURIComponent(`password eq "${password}"`)}`,
    json(`Bearer ${scimToken}`, undefined, 'GET'),
  );

  await send('admin', '/api/v1/agents', json(`Bearer ${wrong}`, undefined, 'GET'));
  await send('admin', '/api/v1/agents', json(`Basic ${adminToken}`, undefined, 'GET'));
  await asAdmin('GET', `/agents?access_token=${adminToken}`);
  const jwk = agent.privateKey.export({ format: 'jwk' });
  const credentials = [
    { secret: wrong },
    { jwks: { keys: [jwk] } },
    { jwks: JSON.stringify(jwk) },
    { jwks: { keys: [{ ...jwk, kty: 'RSA' }] } },
  ];
  for (const credential of credentials) {
    await asAdmin('POST', '/agents', { name: 'bad', owner: person, environment: 'production', credential });
    await asAdmin('PATCH', `/agents/${agent.id}`, { credential });
  }
  await asAdmin('POST', '/agents', `{"clientSecret":"${wrong}","clientSecret":"${wrong}"}`);
}

/** Faults that quote what they were given: statements that fail, and no database at all. */
async function useWithFaults({ scimToken, agent, bySecret, api, person }: Cast): Promise<void> {
  const askAll = async (why: string) => {
    await post(why, '/oauth/token', { ...grant, ...assertion(agent) });
    await post(why, '/oauth/token', grant, basic(bySecret.id, bySecret.secret));
    await post(why, '/oauth/token', { ...grant, client_id: bySecret.id, client_secret: bySecret.secret });
    await post(why, '/oauth/introspect', { token: env('access token') }, basic(api.clientId, api.clientSecret));
    await post(why, '/oauth/revoke', { token: env('access token'), ...assertion(agent) });
    const password = env('new password');
    await send(why, '/scim/v2/Users', json(`Bearer ${scimToken}`, { userName: randomUUID(), password }));
    await send(why, `/scim/v2/Users/${person}`, json(`Bearer ${scimToken}`, { userName: 'alice', password }, 'PUT'));
    const made = await asAdmin('POST', '/directories', { name: randomUUID(), kind: 'okta' });
    if (made.status === 201) keep('SCIM token', made.body.scimToken);
    await send(
      why,
      '/revocations/ack',
      json(basic(api.clientId, api.clientSecret).authorization ?? '', { seq: 1, verifier: 'v' }),
    );
  };
  for (const table of [
    'assertions',
    'audit_entries',
    'directories',
    'people',
    'apis',
    'admin_tokens',
    'agents',
    'signing_keys',
  ]) {
    await sql.unsafe(`alter table ${table} rename to ${table}_gone`);
    await askAll(`without ${table}`);
    await sql.unsafe(`alter table ${table}_gone rename to ${table}`);
  }
  await proxy.turn('refuse');
  await askAll('without the database');
  await proxy.turn('pass');
}

/** The secret, how it may be encoded on its way, and what is left of it when its beginning is cut off. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const end = secret.split('.').at(-1) ?? secret;
  const all = [
    secret,
    end.length >= 24 ? end.slice(-24) : end,
    bytes.toString('base64').slice(0, -4),
    bytes.toString('hex'),
  ];
  // Private keys and the KEK as bytes, too.
  if (/^[\w-]{43}$/.test(secret)) all.push(Buffer.from(secret, 'base64url').toString('hex'));
  if (/^[\w+/]{43}=$/.test(secret))
    all.push(Buffer.from(secret, 'base64').toString('hex'), Buffer.from(secret, 'base64').toString('base64url'));
  return all;
}

test('no secret, token, key or assertion stands in the clear in a log, an answer, the audit log or the database', {
  timeout: 120_000,
}, async () => {
  const cast = await useWell();
  await useBadly(cast);
  await useWithFaults(cast);
  // A departure that was asked for with everything gone before; and what is left to seal is sealed.
  await expect.poll(async () => (await fetch(`${writ.url}/readyz`)).status, { timeout: 20_000 }).toBe(200);
  const gone = await send(
    'scim',
    `/scim/v2/Users/${cast.person}`,
    json(`Bearer ${cast.scimToken}`, undefined, 'DELETE'),
  );
  expect(gone.status).toBe(204);
  await post('refused', '/oauth/token', { ...grant, ...assertion(cast.agent) });
  for (const { kid, private_key } of await sql`select kid, private_key from signing_keys`) {
    const { privateKey } = openKeyPair(kek, kid, private_key);
    const { d } = createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' })).export({ format: 'jwk' });
    keep('signing key', String(d));
    keep('signing key, DER', privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'));
  }
  for (const path of [
    '/audit?limit=200',
    '/agents',
    '/people',
    '/apis',
    '/directories',
    '/keys',
    '/offboardings',
    '/audit/export',
  ]) {
    expect((await asAdmin('GET', path)).status, path).toBe(200);
  }

  const stored: [string, string][] = [];
  const tables = await sql<{ name: string }[]>`
    select tablename as name from pg_tables where schemaname not in ('pg_catalog', 'information_schema')`;
  for (const { name } of tables) {
    const rows = await sql.unsafe(`select t::text as row from ${name} t`);
    stored.push(...rows.map(({ row }): [string, string] => [`table ${name}`, row]));
  }
  // The search sees what it is about.
  expect(lines.length).toBeGreaterThan(20);
  expect(stored.length).toBeGreaterThan(100);
  expect(secrets.size).toBeGreaterThan(50);
  expect(answers.map(({ status }) => status)).toEqual(expect.arrayContaining([200, 201, 400, 401, 500, 503]));

  const found = new Set<string>();
  const haystack: [string, string][] = [...lines.map((line): [string, string] => ['log', line]), ...stored];
  for (const [what, secret] of secrets) {
    const forms = formsOf(secret);
    const holds = (text: string) => forms.some((form) => text.includes(form));
    for (const [where, text] of haystack) if (holds(text)) found.add(`${what} in ${where}: ${text.slice(0, 200)}`);
    const shown = answers.filter(({ text }) => holds(text));
    // The one answer that hands it out.
    const others = shown[0] !== undefined && shown[0].status < 300 ? shown.slice(1) : shown;
    for (const { what: where, text } of others) found.add(`${what} in the answer to ${where}: ${text.slice(0, 200)}`);
  }
  expect([...found]).toEqual([]);
});
