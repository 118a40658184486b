import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CannedApi, type CliResult, listOf, problem, runCli, startCannedApi } from '../support/cli.ts';

const id = (n: number) => `${n}0000000-0000-4000-8000-000000000000`;
const okta = { id: id(1), name: 'Okta', kind: 'okta' };
const owners = { id: id(2), displayName: 'Agent owners', directory: { id: id(1), name: 'Okta' } };
const receipt = { id: id(3), person: { id: id(4), userName: 'ada@example.com' }, agents: [], acknowledgements: [] };

let api: CannedApi;
beforeAll(async () => {
  api = await startCannedApi({});
});
beforeEach(() => {
  api.requests.length = 0;
  api.routes = {
    'GET /api/v1/directories': () => listOf([okta, { ...okta, id: id(5), name: 'Entra' }]),
    'GET /api/v1/groups': () => listOf([owners, { ...owners, id: id(6), displayName: 'Agent owners (old)' }]),
    [`PATCH /api/v1/directories/${id(1)}`]: ({ body }) => ({ body: { ...okta, ...(body as object), departed: 3 } }),
  };
});
afterAll(() => api[Symbol.asyncDispose]());

const writ = (...args: string[]): Promise<CliResult> => runCli(args, { env: { WRIT_URL: api.url } });
const last = () => api.requests.at(-1);

describe('writ directories set', () => {
  test('sends what is given and nothing else, for a directory by its name', async () => {
    const { code, stdout } = await writ(
      ...['directories', 'set', 'Okta', '--mass-departure-percent', '10', '--requests-per-minute', 'none'],
      ...['--scim-agents', 'yes', '--kind', 'entra'],
    );
    expect({ code, body: last()?.body }).toEqual({
      code: 0,
      body: { massDeparturePercent: 10, requestsPerMinute: null, scimAgents: true, kind: 'entra' },
    });
    expect(stdout).toMatch(/departed/i);
  });

  test('finds a required group by its name within the directory, and takes none for none', async () => {
    await writ('directories', 'set', 'Okta', '--required-group', 'Agent owners', '--confirm');
    expect(api.requests.at(-2)?.query.get('directory')).toBe(id(1));
    expect(last()?.body).toEqual({ requiredGroup: id(2), confirm: true });
    await writ('directories', 'set', id(1), '--required-group', 'none');
    expect(last()?.body).toEqual({ requiredGroup: null });
    expect((await writ('directories', 'set', 'Okta', '--required-group', 'Nobody')).code).toBe(4);
  });

  test('a refusal says how many would leave', async () => {
    const detail = 'requiredGroup: 2 people are not in this group and leave by it; send confirm: true if that is meant';
    api.routes[`PATCH /api/v1/directories/${id(1)}`] = () => problem(409, 'conflict', detail);
    const { code, stderr } = await writ('directories', 'set', 'Okta', '--required-group', id(2));
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('2 people') });
  });

  test.each([
    ['--mass-departure-percent', '0'],
    ['--scim-agents', 'maybe'],
    ['--requests-per-minute', 'some'],
  ])('%s %s is a usage error', async (option, value) => {
    expect((await writ('directories', 'set', 'Okta', option, value)).code).toBe(2);
  });
});

describe('creation and rotation', () => {
  test('take settings and the life of the token', async () => {
    api.routes['POST /api/v1/directories'] = () => ({ body: okta });
    await writ(
      'directories',
      'create',
      '--name',
      'Okta',
      '--token-ttl-seconds',
      '86400',
      '--silence-after-seconds',
      '60',
    );
    const settings = { tokenTtlSeconds: 86_400, silenceAfterSeconds: 60 };
    expect(last()?.body).toEqual({ name: 'Okta', kind: 'generic', ...settings });
    api.routes[`POST /api/v1/directories/${id(1)}/rotate-token`] = () => ({ body: { scimToken: 'x' } });
    await writ('directories', 'rotate-token', 'Okta', '--token-ttl-seconds', '86400');
    expect(last()?.body).toEqual({ tokenTtlSeconds: 86_400 });
  });
});

describe('a mass departure', () => {
  test.each(['confirm-departures', 'undo-departures'])('writ directories %s wants a reason', async (verb) => {
    api.routes[`POST /api/v1/directories/${id(1)}/${verb}`] = () => ({ body: { confirmed: 7 } });
    expect((await writ('directories', verb, 'Okta')).code).toBe(2);
    expect((await writ('directories', verb, 'Okta', '--reason', 'Ticket 1')).code).toBe(0);
    expect(last()).toMatchObject({ path: `/api/v1/directories/${id(1)}/${verb}`, body: { reason: 'Ticket 1' } });
  });

  test.each(['confirm', 'undo'])('writ offboardings %s shows the receipt', async (verb) => {
    api.routes[`POST /api/v1/offboardings/${id(3)}/${verb}`] = () => ({ body: receipt });
    const { code, stdout } = await writ('offboardings', verb, id(3), '--reason', 'Ticket 1');
    expect(code).toBe(0);
    expect(stdout).toContain('ada@example.com');
    expect(last()?.body).toEqual({ reason: 'Ticket 1' });
  });

  test('the list is filtered by what waits', async () => {
    api.routes['GET /api/v1/offboardings'] = () => listOf([{ ...receipt, confirmation: 'needed' }]);
    const { stdout } = await writ('offboardings', 'list', '--confirmation', 'needed', '--directory', 'Okta');
    expect(Object.fromEntries(last()?.query ?? [])).toMatchObject({ confirmation: 'needed', directory: 'Okta' });
    expect(stdout).toContain('needed');
    expect((await writ('offboardings', 'list', '--confirmation', 'maybe')).code).toBe(2);
  });
});
