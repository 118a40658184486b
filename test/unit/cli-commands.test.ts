import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { exitCodeMeanings } from '../../src/cli/failure.ts';
import { type CannedApi, type CliResult, listOf, makeFolder, problem, runCli, startCannedApi } from '../support/cli.ts';

const id = (n: number) => `${n}0000000-0000-4000-8000-000000000000`;
const agents = [
  { id: id(1), name: 'crm-triage', status: 'active', live: true, latches: [], owner: id(9), environment: 'production' },
  { id: id(2), name: 'twin', status: 'active', live: true, owner: id(9), environment: 'production' },
  { id: id(3), name: 'twin', status: 'suspended', live: false, owner: id(8), environment: 'staging' },
  {
    id: id(4),
    name: 'orphan',
    status: 'active',
    live: false,
    latches: [{ reason: 'owner_lost', since: '2026-11-25T12:00:00.000Z' }],
    environment: 'staging',
  },
  { id: id(5), name: 'crm-triage', status: 'decommissioned', live: false, environment: 'production' },
];

let api: CannedApi;
beforeAll(async () => {
  api = await startCannedApi({});
});
beforeEach(() => {
  api.requests.length = 0;
  api.routes = {
    'GET /api/v1/agents': ({ query }) =>
      query.get('cursor') === null ? listOf(agents.slice(0, 2), 'c2') : listOf(agents.slice(2)),
  };
});
afterAll(() => api[Symbol.asyncDispose]());

const writ = (args: string[], options: Parameters<typeof runCli>[1] = {}): Promise<CliResult> =>
  runCli(args, { ...options, env: { WRIT_URL: api.url, ...options.env } });
const calls = () => api.requests.map((request) => `${request.method} ${request.path}`);

describe('lists', () => {
  test('a table of all pages for people, with the bearer on every page', async () => {
    const { code, stdout, stderr } = await writ(['agents', 'list']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(1 + agents.length);
    expect(lines[0]).toMatch(/^ID +NAME +STATUS +LIVE +OWNER/);
    expect(lines[4]).toMatch(/orphan +active +no \(owner_lost\)/);
    expect(api.requests.map((request) => request.query.get('cursor'))).toEqual([null, 'c2']);
    expect(new Set(api.requests.map((request) => request.headers.authorization))).toEqual(
      new Set(['Bearer test-admin-token']),
    );
  });

  test('one array of all pages for programs', async () => {
    const { code, stdout } = await writ(['agents', 'list', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(agents);
  });

  test('nothing is nothing on stdout, [] for programs', async () => {
    api.routes = { 'GET /api/v1/agents': () => listOf([]) };
    expect(await writ(['agents', 'list'])).toEqual({ code: 0, stdout: '', stderr: 'No agents.\n' });
    expect((await writ(['agents', 'list', '--json'])).stdout).toBe('[]\n');
  });

  test('filters go to the API; a limit stops and says that there is more', async () => {
    api.routes = { 'GET /api/v1/audit': () => listOf([{ number: 1, kind: 'token.issued' }], 'more') };
    const { stderr } = await writ(['audit', 'list', '--kind', 'token.issued', '--agent', id(1), '--limit', '1']);
    expect(Object.fromEntries(api.requests[0]?.query ?? [])).toEqual({
      kind: 'token.issued',
      agent: id(1),
      limit: '1',
    });
    expect(stderr).toContain('there are more');
  });

  test('a list that leads back to the same page ends in an error, not in a loop', async () => {
    api.routes = { 'GET /api/v1/agents': () => listOf([], 'same') };
    expect((await writ(['agents', 'list'])).code).toBe(5);
  });
});

describe('names', () => {
  test('an id is taken as it is, a name is looked up; a decommissioned namesake does not count', async () => {
    api.routes[`GET /api/v1/agents/${id(1)}`] = () => ({ body: agents[0] });
    expect((await writ(['agents', 'get', id(1)])).code).toBe(0);
    expect(calls()).toEqual([`GET /api/v1/agents/${id(1)}`]);
    const { code, stdout } = await writ(['agents', 'get', 'crm-triage', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(agents[0]);
  });

  test('an ambiguous name changes nothing and lists the candidates', async () => {
    const { code, stderr } = await writ(['agents', 'suspend', 'twin', '--reason', 'x']);
    expect(code).toBe(2);
    expect(stderr).toContain('names 2 of them');
    expect(stderr).toContain(id(2));
    expect(stderr).toContain(id(3));
    expect(calls().filter((call) => call.startsWith('POST'))).toEqual([]);
  });

  test('an unknown name is exit code 4', async () => {
    const { code, stderr } = await writ(['agents', 'get', 'nobody']);
    expect(code).toBe(4);
    expect(stderr).toContain('There is no agent "nobody"');
  });

  test('people are found by userName whatever its case', async () => {
    api.routes = {
      'GET /api/v1/people': () => listOf([{ id: id(9), userName: 'Maria@example.com' }]),
      [`GET /api/v1/people/${id(9)}`]: () => ({ body: { id: id(9), userName: 'Maria@example.com', active: true } }),
    };
    expect((await writ(['people', 'get', 'maria@EXAMPLE.com'])).stdout).toContain('active     yes');
  });
});

describe('failures', () => {
  test.each([
    [problem(401, 'unauthenticated', 'no'), 3, 'Set WRIT_ADMIN_TOKEN'],
    [problem(403, 'forbidden', 'read only'), 3, 'may not GET /agents'],
    [problem(404, 'not_found', 'no such agent'), 4, 'no such agent'],
    [problem(409, 'conflict', 'name: taken'), 1, 'Writ refused (conflict): name: taken.'],
    [{ ...problem(429, 'too_many', 'slow down'), headers: { 'retry-after': '7' } }, 1, 'try again in 7 s'],
    [problem(503, 'unavailable', 'the database is gone'), 5, 'the database is gone'],
    [{ status: 502, headers: { 'content-type': 'text/html' }, body: '<h1>Bad gateway</h1>' }, 5, 'HTTP 502'],
    [{ status: 200, body: '<h1>Hello</h1>' }, 5, "is not Writ's administration API"],
    [{ status: 307, headers: { location: 'http://127.0.0.1:1/' } }, 5, 'failed'],
    [
      {
        status: 400,
        body: {
          code: 'invalid_request',
          detail: 'name: is empty (and 1 more)',
          errors: [
            { path: 'name', message: 'is empty' },
            { path: '', message: 'is odd' },
          ],
        },
      },
      1,
      'Writ refused (invalid_request): name: is empty; the body: is odd.',
    ],
  ])('%o', async (answer, exitCode, sentence) => {
    api.routes = { 'GET /api/v1/agents': () => answer };
    const { code, stdout, stderr } = await writ(['agents', 'list']);
    expect({ code, stdout }).toEqual({ code: exitCode, stdout: '' });
    expect(stderr).toContain(sentence);
    expect(stderr).toMatch(/^writ: [^\n]+\n$/);
    expect(stderr).not.toContain('test-admin-token');
  });

  test('nobody listening is exit code 5 and says how to start Writ', async () => {
    const gone = await startCannedApi({});
    await gone[Symbol.asyncDispose]();
    const { code, stderr } = await writ(['agents', 'list', '--url', gone.url]);
    expect(code).toBe(5);
    expect(stderr).toContain('npm start');
  });

  test.each([
    [['agents', 'lst']],
    [['agents']],
    [['agents', 'suspend', 'x']],
    [['agents', 'list', '--url', 'nonsense']],
    [['agents', 'create', '--name', 'a', '--environment', 'e', '--owner', 'o']],
    [['agents', 'create', '--name', 'a', '--owner', 'o', '--secret']],
    [['agents', 'create', '--name', 'a', '--environment', 'e', '--owner', 'o', '--parent', 'p', '--secret']],
    [['directories', 'rotate-token', 'x', '--grace-seconds', '-1']],
    [['offboardings', 'show']],
    [['token', '--client-id', 'x', '--resource', 'https://a.example']],
  ])('%j is wrong usage, and no call', async (args) => {
    const { code, stderr } = await writ(args);
    expect(code).toBe(2);
    expect(stderr).not.toBe('');
    expect(api.requests).toEqual([]);
  });

  test('the exit codes are in the help', async () => {
    const { code, stdout } = await writ(['--help']);
    expect(code).toBe(0);
    for (const [exitCode, meaning] of Object.entries(exitCodeMeanings))
      expect(stdout).toContain(`${exitCode}  ${meaning}`);
  });
});

describe('the administration token', () => {
  test('comes from the data folder when the environment has none, and is named only when asked', async () => {
    using folder = makeFolder();
    writeFileSync(folder.file('admin-token'), 'from-the-file\n');
    const env = { WRIT_ADMIN_TOKEN: '', WRIT_DATA_DIR: folder.path };
    expect((await writ(['agents', 'list'], { env })).stderr).toBe('');
    expect(api.requests[0]?.headers.authorization).toBe('Bearer from-the-file');
    const { stderr } = await writ(['--verbose', 'agents', 'list'], { env });
    expect(stderr).toContain(folder.file('admin-token'));
    expect(stderr).not.toContain('from-the-file');
  });

  test('is missed before any call is made', async () => {
    using folder = makeFolder();
    const { code, stderr } = await writ(['agents', 'list'], { env: { WRIT_ADMIN_TOKEN: '' }, cwd: folder.path });
    expect(code).toBe(3);
    expect(stderr).toContain('set WRIT_ADMIN_TOKEN');
    expect(api.requests).toEqual([]);
  });
});

describe('creating an agent', () => {
  const create = ['agents', 'create', '--name', 'a', '--owner', 'maria', '--environment', 'production'];

  test('--generate-key sends the public key alone; the private one is for its owner', async () => {
    using folder = makeFolder();
    api.routes = { 'POST /api/v1/agents': () => ({ status: 201, body: { id: id(7), status: 'active' } }) };
    const key = folder.file('key.jwk');
    const { code, stdout } = await writ([...create, '--intent', 'a.b,c.d', '--intent', 'e.f', '--generate-key', key]);
    expect(code).toBe(0);
    expect(stdout).toContain(id(7));
    expect(statSync(key).mode & 0o777).toBe(0o600);
    const kept = JSON.parse(readFileSync(key, 'utf8'));
    expect(kept).toMatchObject({ kty: 'EC', crv: 'P-256', alg: 'ES256', d: expect.any(String) });
    const { d, ...publicHalf } = kept;
    expect(api.requests[0]?.body).toEqual({
      name: 'a',
      owner: 'maria',
      environment: 'production',
      intents: ['a.b', 'c.d', 'e.f'],
      credential: { jwks: { keys: [publicHalf] } },
    });
    expect(JSON.stringify(api.requests[0]?.body)).not.toContain(d);

    const again = await writ([...create, '--generate-key', key]);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain('exists already');
    expect(JSON.parse(readFileSync(key, 'utf8'))).toEqual(kept);
    expect(api.requests).toHaveLength(1);
  });

  test('a key whose agent was refused is removed; when nobody knows, it stays', async () => {
    using folder = makeFolder();
    const key = folder.file('key.jwk');
    api.routes = { 'POST /api/v1/agents': () => problem(409, 'conflict', 'owner: two of them') };
    expect((await writ([...create, '--generate-key', key])).code).toBe(1);
    expect(() => statSync(key)).toThrow();
    api.routes = { 'POST /api/v1/agents': () => problem(503, 'unavailable', 'gone') };
    const lost = await writ([...create, '--generate-key', key]);
    expect(lost.code).toBe(5);
    expect(lost.stderr).toContain(`The key stays in ${key}`);
    expect(statSync(key).isFile()).toBe(true);
  });

  test('--jwks refuses a private key', async () => {
    using folder = makeFolder();
    writeFileSync(folder.file('jwks.json'), JSON.stringify({ keys: [{ kty: 'EC', d: 'secret' }] }));
    const { code, stderr } = await writ([...create, '--jwks', folder.file('jwks.json')]);
    expect(code).toBe(2);
    expect(stderr).toContain('holds a private key');
    expect(api.requests).toEqual([]);
  });
});

test('state changes carry their reason to the agent that was named', async () => {
  api.routes[`POST /api/v1/agents/${id(1)}/suspend`] = () => ({ body: { ...agents[0], status: 'suspended' } });
  api.routes[`POST /api/v1/agents/${id(1)}/transfer`] = () => ({ body: agents[0] });
  const { code, stdout } = await writ(['agents', 'suspend', 'crm-triage', '--reason', 'OPS-1', '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout).status).toBe('suspended');
  expect(api.requests.at(-1)?.body).toEqual({ reason: 'OPS-1' });
  await writ(['agents', 'transfer', id(1), '--to', 'joe', '--directory', 'Okta', '--reason', 'moved']);
  expect(api.requests.at(-1)?.body).toEqual({ owner: { directory: 'Okta', userName: 'joe' }, reason: 'moved' });
});
