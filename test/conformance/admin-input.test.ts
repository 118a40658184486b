import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AdminWorld, adminToken, type Json, openAdminWorld } from '../support/admin.ts';
import { makeJwk } from '../support/agents.ts';

let world: AdminWorld;
let before: Json;

/** How much there is of everything that a call could have made. */
const countRows = async (): Promise<Json> => {
  const [counts] = await world.sql<Json[]>`
    select (select count(*) from directories)::int as directories, (select count(*) from apis)::int as apis,
      (select count(*) from intents)::int as intents, (select count(*) from agents)::int as agents,
      (select count(*) from signing_keys)::int as keys, (select count(*) from audit_entries)::int as audit`;
  return counts ?? {};
};

beforeAll(async () => {
  world = await openAdminWorld();
  const directory = (await world.post('/directories', { name: 'corporate', kind: 'okta' })).body;
  await world.person('ada@example.com', String(directory.id));
  await world.post('/apis', api);
  before = await countRows();
});
afterAll(async () => {
  // Whatever was refused changed nothing, and nothing of it was a fault.
  expect(await countRows()).toEqual(before);
  expect(world.faults).toEqual([]);
  await world.close();
});

const api = { identifier: 'https://crm.example.com', name: 'CRM', environment: 'production' };
const intent = {
  taskIntent: 'tickets.read',
  description: '',
  apis: ['https://crm.example.com'],
  actions: ['read'],
  datatypes: ['ticket'],
  risk: 'read',
};
const agent = { name: 'bot', owner: 'ada@example.com', environment: 'production', credential: { secret: true } };
const directory = { name: 'Okta', kind: 'okta' };
const id = '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';
const privateJwk = { ...makeJwk(), d: 'c2VjcmV0' };
const long = 'a'.repeat(3000);

type Refusal = [call: string, body: unknown, path: string, message: RegExp];

const directories: Refusal[] = [
  ['/directories', {}, 'name', /^is required$/],
  ['/directories', { ...directory, kind: 'ldap' }, 'kind', /okta, entra, .*generic/],
  ['/directories', { ...directory, kind: undefined }, 'kind', /.+/],
  ['/directories', { ...directory, extra: 1 }, 'extra', /not known/],
  ['/directories', { ...directory, name: '' }, 'name', /empty/],
  ['/directories', { ...directory, name: ' ' }, 'name', /empty/],
  ['/directories', { ...directory, name: 'a\nb' }, 'name', /control/],
  ['/directories', { ...directory, name: long }, 'name', /200/],
  ['/directories', { ...directory, name: 7 }, 'name', /string/],
  ['/directories', [directory], '', /object/],
  ['/directories', null, '', /object/],
  ['/directories', 'okta', '', /object/],
  [`/directories/${id}/rotate-token`, { graceSeconds: -1 }, 'graceSeconds', /0/],
  [`/directories/${id}/rotate-token`, { graceSeconds: 1.5 }, 'graceSeconds', /int/],
  [`/directories/${id}/rotate-token`, { graceSeconds: '60' }, 'graceSeconds', /number/],
  [`/directories/${id}/rotate-token`, { graceSeconds: 1e9 }, 'graceSeconds', /604800/],
  [`/directories/${id}/rotate-token`, { grace: 1 }, 'grace', /not known/],
];
const apis: Refusal[] = [
  ['/apis', { ...api, identifier: 'javascript:1' }, 'identifier', /https URL/],
  ['/apis', { ...api, identifier: 'https://u@crm.example.com' }, 'identifier', /user information/],
  ['/apis', { ...api, identifier: 'https://crm.example.com/#' }, 'identifier', /fragment/],
  ['/apis', { ...api, identifier: 'https://crm.example.com\n' }, 'identifier', /printable/],
  ['/apis', { ...api, identifier: undefined }, 'identifier', /required/],
  ['/apis', { ...api, environment: 'Production' }, 'environment', /lower-case/],
  ['/apis', { ...api, environment: 'prod\n' }, 'environment', /lower-case/],
  ['/apis', { ...api, tokenTtlSeconds: 29 }, 'tokenTtlSeconds', /30/],
  ['/apis', { ...api, tokenTtlSeconds: 901 }, 'tokenTtlSeconds', /900/],
  ['/apis', { ...api, tokenTtlSeconds: null }, 'tokenTtlSeconds', /number/],
  ['/apis', { ...api, scopes: ['a b'] }, 'scopes[0]', /scope token/],
  ['/apis', { ...api, scopes: ['a', 'a'] }, 'scopes', /twice/],
  ['/apis', { ...api, scopes: Array.from({ length: 101 }, (_, n) => `s${n}`) }, 'scopes', /100/],
  ['/apis', { ...api, signingAlgorithm: 'none' }, 'signingAlgorithm', /ES256/],
  ['/apis', { ...api, signingAlgorithm: 'HS256' }, 'signingAlgorithm', /ES256/],
  ['/apis', { ...api, agent: 'bot' }, 'agent', /UUID/],
  ['/apis', { ...api, identifier: 'https://a.example.com', agent: id }, 'agent', /no such agent/],
  ['/apis', { ...api, feedCredentials: {} }, 'feedCredentials', /not known/],
];
const intents: Refusal[] = [
  ['/intents', { ...intent, taskIntent: '1x' }, 'taskIntent', /letter first/],
  ['/intents', { ...intent, taskIntent: 'a b' }, 'taskIntent', /letter first/],
  ['/intents', { ...intent, taskIntent: 'a\n' }, 'taskIntent', /letter first/],
  ['/intents', { ...intent, apis: [] }, 'apis', /1/],
  ['/intents', { ...intent, apis: ['https://nowhere.example.com'] }, 'apis', /not registered: https:\/\/nowhere/],
  ['/intents', { ...intent, apis: ['https://crm.example.com', 'https://crm.example.com'] }, 'apis', /twice/],
  ['/intents', { ...intent, apis: 'https://crm.example.com' }, 'apis', /array/],
  ['/intents', { ...intent, actions: [] }, 'actions', /1/],
  ['/intents', { ...intent, actions: ['fly'] }, 'actions[0]', /read, list, search/],
  ['/intents', { ...intent, actions: ['read', 'update'] }, 'actions', /risk read admits only/],
  ['/intents', { ...intent, datatypes: [''] }, 'datatypes[0]', /empty/],
  ['/intents', { ...intent, datatypes: undefined }, 'datatypes', /required/],
  ['/intents', { ...intent, risk: 'none' }, 'risk', /read, write, destructive/],
  ['/intents', { ...intent, description: long }, 'description', /2000/],
];
const agents: Refusal[] = [
  ['/agents', { ...agent, owner: undefined }, 'owner', /person/],
  ['/agents', { ...agent, owner: 'nobody' }, 'owner', /no such person/],
  ['/agents', { ...agent, owner: { userName: 'ada@example.com' } }, 'owner', /directory, userName/],
  ['/agents', { ...agent, owner: 7 }, 'owner', /userName/],
  ['/agents', { ...agent, owner: undefined, parent: id, environment: undefined }, 'parent', /no such agent/],
  ['/agents', { ...agent, parent: 'bot' }, 'parent', /UUID/],
  ['/agents', { ...agent, environment: undefined }, 'environment', /required/],
  ['/agents', { ...agent, credential: undefined }, 'credential', /required/],
  ['/agents', { ...agent, credential: {} }, 'credential', /exactly one: the kinds are .*jwks.*secret/],
  ['/agents', { ...agent, credential: { secret: false } }, 'credential.secret', /true/],
  ['/agents', { ...agent, credential: { secret: true, jwks: { keys: [makeJwk()] } } }, 'credential', /exactly one/],
  [
    '/agents',
    { ...agent, credential: { federated: { issuer: 'https://x', subject: 'y' } } },
    'credential.federated',
    /the kinds are .*jwks.*secret/,
  ],
  ['/agents', { ...agent, credential: { jwks: { keys: [] } } }, 'credential.jwks.keys', /1/],
  ['/agents', { ...agent, credential: { jwks: { keys: [{}] } } }, 'credential.jwks.keys[0].kty', /required/],
  ['/agents', { ...agent, credential: { jwks: { keys: [privateJwk] } } }, 'credential.jwks.keys[0].d', /private key/],
  ['/agents', { ...agent, expiresAt: 'tomorrow' }, 'expiresAt', /RFC 3339/],
  ['/agents', { ...agent, expiresAt: '2030-01-01' }, 'expiresAt', /RFC 3339/],
  ['/agents', { ...agent, expiresAt: '2030-01-01T00:00:00' }, 'expiresAt', /RFC 3339/],
  ['/agents', { ...agent, expiresAt: '2001-01-01T00:00:00Z' }, 'expiresAt', /future/],
  ['/agents', { ...agent, intents: ['unknown'] }, 'intents', /no intent "unknown"/],
  ['/agents', { ...agent, intents: 'tickets.read' }, 'intents', /array/],
  ['/agents', { ...agent, status: 'suspended' }, 'status', /pending or active/],
  ['/agents', { ...agent, Name: 'x' }, 'Name', /not known/],
  [`/agents/${id}/suspend`, {}, 'reason', /required/],
  [`/agents/${id}/activate`, { reason: '  ' }, 'reason', /empty/],
  [`/agents/${id}/decommission`, { reason: 'x', force: true }, 'force', /not known/],
  [`/agents/${id}/transfer`, { reason: 'x' }, 'owner', /userName/],
  ['/audit/verify', { checkpoint: { number: 0, hash: 'x' } }, 'checkpoint.hash', /SHA-256/],
  ['/keys/rotate', { algorithm: 'HS256' }, 'algorithm', /ES256/],
  ['/keys/rotate', { kid: 'x' }, 'kid', /not known/],
];

describe('RFC 9457: what is wrong with a body is said, by member', () => {
  it.each([...directories, ...apis, ...intents, ...agents])('POST %s %j: %s', async (path, body, member, message) => {
    const answer = await world.post(path, body);
    expect(answer.body).toMatchObject({ status: 400, title: 'Bad Request', code: 'invalid_request' });
    const errors = answer.body.errors as { path: string; message: string }[];
    expect(errors).toContainEqual({ path: member, message: expect.stringMatching(message) });
    expect(JSON.stringify(answer.body)).not.toContain(privateJwk.d);
  });

  it('everything that is wrong is told at once', async () => {
    const { body } = await world.post('/apis?x=1', { identifier: 'crm', tokenTtlSeconds: 5, extra: 1 });
    expect((body.errors as Json[]).map(({ path }) => path).sort()).toEqual(
      ['environment', 'extra', 'identifier', 'name', 'tokenTtlSeconds', 'x'].sort(),
    );
  });
});

describe('queries', () => {
  it.each([
    '/agents?limit=0',
    '/agents?limit=501',
    '/agents?limit=-1',
    '/agents?limit=1e2',
    '/agents?limit=%205',
    '/agents?limit=',
    '/agents?limit=5&limit=6',
    '/agents?Limit=5',
    '/agents?cursor=',
    '/agents?status=gone',
    '/agents?environment=A',
    '/agents?intent=a%20b',
    '/agents?name=%00',
    '/agents?owner=%00',
    '/people?active=yes',
    '/people?userName=%00',
    '/people?directory=a%0Ab',
    '/offboardings?person=ada',
    '/audit?since=yesterday',
    '/audit?since=0000-01-01T00:00:00Z',
    '/audit?until=9999-12-31T23:59:59-23:59',
    '/audit?since=0001-01-01T00:00:00%2B23:59',
    '/audit?agent=bot',
    '/audit?jti=%00',
    '/audit?__proto__=1',
    `/agents/${id}?verbose=1`,
    '/keys?limit=5000',
  ])('%s is 400', async (path) => {
    expect((await world.get(path)).body).toMatchObject({ status: 400, errors: [{}] });
  });
});

describe('cursors', () => {
  it.each([
    ['/directories', ['a\0']],
    ['/apis', ['a\0']],
    ['/intents', ['a\0']],
    ['/people', ['2026-99-99 99:99:99+00', id]],
    ['/people', [0.5, id]],
    ['/agents', [1e300, id]],
    ['/audit', ['+200000-01-01T00:00:00.000Z', id, 1]],
    ['/audit', ['0000-01-01T00:00:00.000Z', id, 1]],
    ['/audit', ['2026-99-01T00:00:00.000Z', id, 1]],
    ['/offboardings', [1e300]],
  ])('%s: a forged one is 400: %j', async (path, key) => {
    const cursor = Buffer.from(JSON.stringify(key)).toString('base64url');
    expect((await world.get(`${path}?cursor=${cursor}`)).body).toMatchObject({ status: 400, code: 'invalid_request' });
  });
});

describe('paths', () => {
  it.each(['x', '1', `${id}0`, '%00', '..%2f', "'", `{${id}}`])('an id that cannot exist is 404: %s', async (text) => {
    for (const path of [`/agents/${text}`, `/people/${text}`, `/apis/${text}`, `/offboardings/${text}`]) {
      expect((await world.get(path)).body, path).toMatchObject({ status: 404, code: 'not_found' });
    }
    expect((await world.post(`/agents/${text}/suspend`, { reason: 'x' })).status).toBe(404);
    expect((await world.post(`/keys/${encodeURIComponent(text)}%20/revoke`)).status).toBe(404);
  });

  it.each(['/', '/nothing', '/agents/', `/agents/${id}/nothing`, '/graph', '/approvals', '/policies', '/elevations'])(
    '%s is 404',
    async (path) => {
      expect((await world.get(path)).body).toMatchObject({ status: 404, code: 'not_found' });
    },
  );

  it('RFC 9110 §15.5.6: a method that a path does not have is 405, with those it has', async () => {
    for (const path of new Set(world.calls.map((call) => call.path))) {
      const own = world.calls.filter((call) => call.path === path).map((call) => call.method.toUpperCase());
      for (const method of ['PUT', 'DELETE', 'OPTIONS', 'QUERY'].filter((one) => !own.includes(one))) {
        const response = await world.send(path.replace(/\{\w+\}/, id), {
          method,
          headers: { authorization: `Bearer ${adminToken}` },
        });
        expect(response.status, `${method} ${path}`).toBe(405);
        expect(response.headers.get('allow')).toMatch(/^(GET, HEAD|POST|PUT|PATCH)(, (GET, HEAD|POST|PUT|PATCH))*$/);
      }
    }
    const head = await world.send('/agents', { method: 'HEAD', headers: { authorization: `Bearer ${adminToken}` } });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });
});

describe('bodies', () => {
  const send = async (
    body: string | Uint8Array<ArrayBuffer>,
    type: string | null = 'application/json',
    method = 'POST',
  ) => {
    const response = await world.send(method === 'POST' ? '/directories' : `/apis/${id}`, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, ...(type === null ? {} : { 'content-type': type }) },
      body,
    });
    return { status: response.status, problem: (await response.json()) as Json };
  };
  const good = JSON.stringify(directory);

  it.each([
    '{',
    '',
    good.slice(0, -1),
    `${good}x`,
    `${good}${good}`,
    '{"name":"Okta","name":"Entra","kind":"okta"}',
    '{"name":"Okta","kind":"okta","__proto__":{}}',
    '{"name":"Ok\\u0000ta","kind":"okta"}',
    '{"name":"Ok\\ud800ta","kind":"okta"}',
    `{"name":${'['.repeat(5000)}${']'.repeat(5000)},"kind":"okta"}`,
  ])('%j is 400', async (body) => {
    expect(await send(body)).toMatchObject({ status: 400, problem: { code: 'invalid_request' } });
  });

  it('that are not UTF-8 are 400', async () => {
    expect((await send(new Uint8Array([0x7b, 0xff, 0x7d]))).status).toBe(400);
  });

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/json; charset=utf-16',
    'application/jsonx',
    'application/merge-patch+json',
  ])('of type %s are 415', async (type) => {
    expect(await send(good, type)).toMatchObject({ status: 415, problem: { code: 'unsupported_media_type' } });
  });

  it('application/json is taken with its charset and in any case; a PATCH may be a merge patch', async () => {
    expect((await send('{}', 'Application/JSON; charset="UTF-8"')).status).toBe(400);
    expect((await send('{"name":"x"}', 'application/merge-patch+json', 'PATCH')).status).toBe(404);
  });

  it('of 10 MB are 413, before they are parsed', async () => {
    const body = `{"name":"${'a'.repeat(10_000_000)}","kind":"okta"}`;
    expect(await send(body)).toMatchObject({ status: 413, problem: { code: 'too_large', title: 'Content Too Large' } });
  });
});
