import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type CannedApi, type CliResult, listOf, runCli, startCannedApi } from '../support/cli.ts';

const id = (n: number) => `${n}0000000-0000-4000-8000-000000000000`;
const agent = {
  id: id(1),
  name: 'crm-triage',
  status: 'active',
  live: true,
  latches: [{ reason: 'owner_lost', since: '2026-11-25T12:00:00.000Z' }],
  quarantinedUntil: '2026-11-26T12:00:00.000Z',
};
const offer = {
  id: id(5),
  agent: { id: id(1), name: 'crm-triage' },
  from: { id: id(8), userName: 'maria' },
  state: 'offered',
};

let api: CannedApi;
beforeAll(async () => {
  api = await startCannedApi({});
});
beforeEach(() => {
  api.requests.length = 0;
  api.routes = {
    'GET /api/v1/agents': () => listOf([agent]),
    [`PATCH /api/v1/agents/${id(1)}`]: () => ({ body: agent }),
    'GET /api/v1/handovers': () => listOf([offer]),
  };
});
afterAll(() => api[Symbol.asyncDispose]());

const writ = (args: string[]): Promise<CliResult> => runCli(args, { env: { WRIT_URL: api.url } });
const sent = () => api.requests.at(-1)?.body;

test('an agent in quarantine is shown as one that reads, and until when', async () => {
  expect((await writ(['agents', 'list'])).stdout).toContain('reads until 2026-11-26T12:00:00Z');
});

test('agents change: what is named is sent, and nothing else', async () => {
  await writ(['agents', 'change', 'crm-triage', '--leaver-policy', 'handover', '--deputy', 'joe']);
  expect(sent()).toEqual({ leaverPolicy: 'handover', deputy: 'joe' });
  await writ(['agents', 'change', id(1), '--deputy', 'joe', '--deputy-directory', 'Okta']);
  expect(sent()).toEqual({ deputy: { directory: 'Okta', userName: 'joe' } });
  await writ(['agents', 'change', id(1), '--leaver-policy', 'default', '--no-deputy']);
  expect(sent()).toEqual({ leaverPolicy: null, deputy: null });
  const { code, stderr } = await writ(['agents', 'change', id(1)]);
  expect(code).toBe(2);
  expect(stderr).toContain('--leaver-policy');
  expect((await writ(['agents', 'change', id(1), '--leaver-policy', 'forget'])).code).toBe(2);
});

test('agents create takes a policy and a deputy', async () => {
  api.routes['POST /api/v1/agents'] = () => ({ status: 201, body: agent });
  const place = ['--owner', 'maria', '--environment', 'production', '--secret'];
  await writ(['agents', 'create', '--name', 'a', ...place, '--leaver-policy', 'quarantine', '--deputy', 'joe']);
  expect(sent()).toMatchObject({ leaverPolicy: 'quarantine', deputy: 'joe', credential: { secret: true } });
  await writ(['agents', 'create', '--name', 'a', ...place]);
  expect(Object.keys(Object(sent()))).toEqual(['name', 'intents', 'owner', 'environment', 'credential']);
});

test('environments are listed with spans for people, and set whole', async () => {
  const rules = { name: 'production', leaverPolicy: 'quarantine', quarantineSeconds: 14_400, handoverSeconds: 604_800 };
  api.routes['GET /api/v1/environments'] = () => listOf([rules]);
  api.routes['PUT /api/v1/environments/production'] = () => ({ body: rules });
  expect((await writ(['environments', 'list'])).stdout).toMatch(/production +quarantine +4 h +7 d/);
  const set = ['environments', 'set', 'production', '--leaver-policy', 'quarantine', '--quarantine-seconds', '14400'];
  expect((await writ(set)).code).toBe(0);
  expect(sent()).toEqual({ leaverPolicy: 'quarantine', quarantineSeconds: 14_400 });
  expect((await writ(['environments', 'set', 'production'])).code).toBe(2);
});

test('handovers are listed, and answered by their id or by the agent that is offered', async () => {
  const { stdout } = await writ(['handovers', 'list', '--state', 'offered', '--agent', 'crm-triage']);
  expect(stdout).toMatch(/crm-triage +maria/);
  expect(Object.fromEntries(api.requests.at(-1)?.query ?? [])).toMatchObject({ state: 'offered', agent: id(1) });
  for (const [verb, reference] of [
    ['accept', id(5)],
    ['decline', 'crm-triage'],
  ] as const) {
    api.routes[`POST /api/v1/handovers/${id(5)}/${verb}`] = () => ({ body: offer });
    expect((await writ(['handovers', verb, reference, '--reason', 'OPS-1'])).code).toBe(0);
    expect(sent()).toEqual({ reason: 'OPS-1' });
  }
  api.routes['GET /api/v1/handovers'] = () => listOf([]);
  expect((await writ(['handovers', 'accept', 'crm-triage', '--reason', 'OPS-1'])).code).toBe(4);
});
