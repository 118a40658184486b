import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type CannedApi, listOf, runCli, startCannedApi } from '../support/cli.ts';

const id = (n: number) => `${n}0000000-0000-4000-8000-000000000000`;
const group = (n: number, members: object) => ({
  id: id(n),
  displayName: 'Security',
  externalId: null,
  directory: { id: id(9), name: 'Okta' },
  memberCount: 2,
  roles: [],
  intents: [],
  deleted: false,
  ...members,
});
const security = group(1, { roles: ['auditor'], intents: ['crm.ticket_read'] });
const known = [
  security,
  group(2, { displayName: 'Twins' }),
  group(3, { displayName: 'Twins' }),
  group(4, { displayName: null, directory: null, deleted: true, intents: ['crm.notes_read'] }),
];

let api: CannedApi;
beforeAll(async () => {
  api = await startCannedApi({});
});
beforeEach(() => {
  api.requests.length = 0;
  api.routes = {
    'GET /api/v1/groups': ({ query }) =>
      listOf(known.filter(({ displayName }) => (displayName ?? '').includes(query.get('q') ?? ''))),
    [`GET /api/v1/groups/${id(1)}`]: () => ({ status: 200, body: security }),
    [`PUT /api/v1/groups/${id(1)}/rights`]: ({ body }) => ({ status: 200, body: { ...security, ...Object(body) } }),
  };
});
afterAll(() => api[Symbol.asyncDispose]());

const writ = (...args: string[]) => runCli(['groups', ...args], { env: { WRIT_URL: api.url } });
const sent = () => api.requests.filter(({ method }) => method === 'PUT').map(({ body }) => body);

test('groups are listed with what they give, deleted ones as such', async () => {
  const { code, stdout } = await writ('list');
  expect(code).toBe(0);
  expect(stdout).toMatch(/Security +2 +auditor +crm\.ticket_read +Okta/);
  expect(stdout).toMatch(/\(deleted\) .*crm\.notes_read/);
});

test('a group is named by its id or name; a name that two have is not guessed', async () => {
  expect((await writ('get', 'Security')).stdout).toContain(id(1));
  const twins = await writ('get', 'Twins');
  expect(twins.code).toBe(2);
  expect(twins.stderr).toContain(id(2));
  expect(twins.stderr).toContain(id(3));
});

test('rights are said whole, and nothing is taken away by a forgotten option', async () => {
  expect((await writ('rights', 'Security')).code).toBe(2);
  expect((await writ('rights', 'Security', '--none', '--role', 'admin')).code).toBe(2);
  expect(sent()).toEqual([]);
  await writ('rights', 'Security', '--role', 'admin,auditor', '--intent', 'crm.ticket_read');
  await writ('rights', id(1), '--none');
  expect(sent()).toEqual([
    { roles: ['admin', 'auditor'], intents: ['crm.ticket_read'] },
    { roles: [], intents: [] },
  ]);
});
