import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authenticateApi } from '../../src/domain/intents/apis.ts';
import { authenticateDirectory } from '../../src/domain/people/directories.ts';
import { type AdminWorld, type Json, openAdminWorld } from '../support/admin.ts';
import { makeJwk } from '../support/agents.ts';

let world: AdminWorld;
let directory: string;
let ada: string;
let grace: string;

beforeAll(async () => {
  world = await openAdminWorld();
  directory = String((await world.post('/directories', { name: 'corporate', kind: 'okta' })).body.id);
  ada = await world.person('ada@example.com', directory);
  grace = await world.person('grace@example.com', directory);
});
afterAll(async () => world.close());

const crm = { identifier: 'https://crm.example.com', name: 'CRM', environment: 'production' };
const ticketUpdate = {
  taskIntent: 'incident_remediation.ticket_update',
  description: 'Update a ticket.',
  apis: ['https://crm.example.com'],
  actions: ['read', 'update'],
  datatypes: ['ticket'],
  risk: 'write',
};
const bot = { name: 'bot', description: 'Tickets.', owner: 'ada@example.com', environment: 'production' };
const nobody = '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';

describe('directories', () => {
  it('are made with the SCIM address and a token that is shown once and works', async () => {
    const made = await world.post('/directories', { name: 'Entra', kind: 'entra' });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ name: 'Entra', kind: 'entra', scimUrl: 'https://writ.example.com/scim/v2' });
    expect(made.headers.get('location')).toBe(`https://writ.example.com/api/v1/directories/${made.body.id}`);
    expect(await authenticateDirectory(world.deps.db, String(made.body.scimToken))).toEqual({
      id: made.body.id,
      name: 'Entra',
      kind: 'entra',
      agentsEnvironment: null,
      requiredGroupId: null,
      requestsPerMinute: null,
    });
    const { scimToken: _, scimTokenExpiresAt: _end, ...rest } = made.body;
    expect((await world.get(`/directories/${made.body.id}`)).body).toEqual(rest);
    expect((await world.get('/directories')).body.items).toContainEqual(rest);
    expect((await world.post('/directories', { name: 'Entra', kind: 'okta' })).body).toMatchObject({
      status: 409,
      code: 'conflict',
    });
  });

  it('rotate their token: with grace both work, without it the older ones are dead at once', async () => {
    const { id, scimToken: first } = (await world.post('/directories', { name: 'Rotating', kind: 'generic' })).body;
    const works = async (token: unknown) => (await authenticateDirectory(world.deps.db, String(token))) !== null;
    const second = (await world.post(`/directories/${id}/rotate-token`, { graceSeconds: 60 })).body.scimToken;
    expect([await works(first), await works(second)]).toEqual([true, true]);
    const third = (await world.post(`/directories/${id}/rotate-token`)).body.scimToken;
    expect([await works(first), await works(second), await works(third)]).toEqual([false, false, true]);
    await world.post(`/directories/${id}/rotate-token`, { graceSeconds: 1 });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    expect(await works(third)).toBe(false);
    expect((await world.post(`/directories/${nobody}/rotate-token`)).status).toBe(404);
  });

  it('a rotation never lengthens the life of a token that was already ending', async () => {
    const { id, scimToken } = (await world.post('/directories', { name: 'Ending', kind: 'generic' })).body;
    await world.post(`/directories/${id}/rotate-token`, { graceSeconds: 1 });
    await world.post(`/directories/${id}/rotate-token`, { graceSeconds: 3600 });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    expect(await authenticateDirectory(world.deps.db, String(scimToken))).toBeNull();
  });
});

describe('APIs and intents', () => {
  it('an API is made with feed credentials that are shown once and work', async () => {
    const { status, body } = await world.post('/apis', crm);
    expect(status).toBe(201);
    expect(body).toMatchObject({ ...crm, tokenTtlSeconds: 300, scopes: [], signingAlgorithm: 'ES256', agent: null });
    const { clientId, clientSecret } = body.feedCredentials as Record<string, string>;
    const known = { id: body.id, identifier: crm.identifier };
    expect(await authenticateApi(world.deps.db, String(clientId), String(clientSecret))).toEqual(known);
    expect(await authenticateApi(world.deps.db, String(clientId), `${clientSecret}x`)).toBeNull();
    expect(await authenticateApi(world.deps.db, nobody, String(clientSecret))).toBeNull();
    expect(await authenticateApi(world.deps.db, 'crm', String(clientSecret))).toBeNull();
    expect((await world.get(`/apis/${body.id}`)).body.feedCredentials).toEqual({ clientId });
    expect(JSON.stringify((await world.get('/audit?kind=api.created')).body)).not.toContain(clientSecret);
  });

  it('an identifier is registered once, in either spelling of a bare origin, also by two at a time', async () => {
    expect((await world.post('/apis', crm)).status).toBe(409);
    expect((await world.post('/apis', { ...crm, identifier: `${crm.identifier}/` })).status).toBe(409);
    const both = await Promise.all(
      ['https://new.example.com', 'https://new.example.com/'].map((identifier) =>
        world.post('/apis', { ...crm, identifier }),
      ),
    );
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  });

  it('an API changes its name, the life of its tokens and the agent that answers there', async () => {
    const made = await world.post('/apis', { ...crm, identifier: 'https://erp.example.com/v1', tokenTtlSeconds: 900 });
    const agent = (await world.post('/agents', { ...bot, credential: { secret: true } })).body.id;
    const path = `/apis/${made.body.id}`;
    expect((await world.patch(path, { name: 'ERP', tokenTtlSeconds: 60, agent })).body).toMatchObject({
      identifier: 'https://erp.example.com/v1',
      name: 'ERP',
      tokenTtlSeconds: 60,
      agent,
    });
    expect((await world.patch(path, { agent: null })).body).toMatchObject({ name: 'ERP', agent: null });
    expect((await world.patch(path, {})).body).toMatchObject({ name: 'ERP' });
    expect((await world.patch(path, { agent: nobody })).body).toMatchObject({
      status: 400,
      detail: 'agent: no such agent',
    });
    expect((await world.patch(`/apis/${nobody}`, { name: 'x' })).status).toBe(404);
  });

  it('an intent names registered APIs, by either spelling of a bare origin, and refuses others by name', async () => {
    const { status, body } = await world.post('/intents', { ...ticketUpdate, apis: ['https://crm.example.com/'] });
    expect(status).toBe(201);
    expect(body).toMatchObject(ticketUpdate);
    expect((await world.get(`/intents/${body.id}`)).body).toEqual(body);
    expect((await world.get('/intents')).body.items).toEqual([body]);
    expect((await world.post('/intents', ticketUpdate)).status).toBe(409);
    const unknown = await world.post('/intents', {
      ...ticketUpdate,
      taskIntent: 'x',
      apis: ['https://crm.example.com', 'https://nowhere.example.com', 'javascript:1'],
    });
    expect(unknown.body).toMatchObject({
      status: 400,
      detail: 'apis: not registered: https://nowhere.example.com, javascript:1',
    });
  });
});

describe('agents', () => {
  const create = async (more: Json = {}) =>
    (await world.post('/agents', { ...bot, credential: { secret: true }, ...more })).body;

  it('are made for an owner given by userName, by id, or by directory and userName', async () => {
    const jwks = { keys: [makeJwk()] };
    const { status, body, headers } = await world.post('/agents', {
      ...bot,
      owner: 'ADA@example.com',
      project: 'incidents',
      expiresAt: '2999-01-01T00:00:00+01:00',
      credential: { jwks },
      intents: [ticketUpdate.taskIntent],
    });
    expect(status).toBe(201);
    expect(body).toMatchObject({
      clientId: body.id,
      owner: ada,
      status: 'active',
      live: true,
      latches: [],
      parent: null,
      project: 'incidents',
      expiresAt: '2998-12-31T23:00:00.000Z',
      credential: { jwks },
      intents: [ticketUpdate.taskIntent],
    });
    expect(body).not.toHaveProperty('clientSecret');
    expect(headers.get('location')).toBe(`https://writ.example.com/api/v1/agents/${body.id}`);
    expect((await world.get(`/agents/${body.id}`)).body).toEqual(body);
    expect(await create({ owner: ada.toUpperCase() })).toMatchObject({ owner: ada, clientSecret: expect.any(String) });
    expect(await create({ owner: { directory: 'corporate', userName: 'ada@example.com' } })).toMatchObject({
      owner: ada,
    });
    expect(await create({ owner: { directory, userName: 'ada@example.com' } })).toMatchObject({ owner: ada });
  });

  it('a userName of two directories is a conflict until the directory is given; an unknown owner is refused', async () => {
    const other = String((await world.post('/directories', { name: 'other', kind: 'okta' })).body.id);
    const twin = await world.person('twin@example.com', other);
    await world.person('twin@example.com', directory);
    expect(await create({ owner: 'twin@example.com' })).toMatchObject({ status: 409, code: 'conflict' });
    expect(await create({ owner: { directory: 'other', userName: 'twin@example.com' } })).toMatchObject({
      owner: twin,
    });
    expect(await create({ owner: 'nobody@example.com' })).toMatchObject({ status: 400 });
    expect(await create({ owner: nobody })).toMatchObject({ status: 400 });
  });

  it('a sub-agent is made with parent and without owner, and is among the descendants', async () => {
    const parent = await create({ name: 'parent' });
    const { owner: _, environment: __, ...rest } = bot;
    const child = (await world.post('/agents', { ...rest, parent: parent.id, credential: { secret: true } })).body;
    expect(child).toMatchObject({ owner: ada, environment: 'production', parent: parent.id });
    const { body } = await world.get(`/agents/${parent.id}/descendants`);
    expect((body.items as Json[]).map(({ id }) => id)).toEqual([child.id]);
    expect((await world.get(`/agents/${nobody}/descendants`)).status).toBe(404);
    expect(await create({ parent: parent.id })).toMatchObject({ status: 400 });
  });

  it('suspend, activate, transfer and decommission, each with its reason on record', async () => {
    const { id } = await create({ name: 'lived' });
    const act = async (verb: string, more: Json = {}) =>
      (await world.post(`/agents/${id}/${verb}`, { reason: `because ${verb}`, ...more })).body;
    expect(await act('suspend')).toMatchObject({ status: 'suspended', live: false });
    expect(await act('activate')).toMatchObject({ status: 'active', live: true });
    expect(await act('transfer', { owner: 'grace@example.com' })).toMatchObject({ owner: grace, live: true });
    expect(await act('decommission')).toMatchObject({ status: 'decommissioned', live: false });
    expect(await act('activate')).toMatchObject({ status: 409, code: 'conflict' });
    const { body } = await world.get(`/audit?agent=${id}`);
    expect((body.items as Json[]).map(({ kind, reason }) => [kind, reason])).toEqual([
      ['agent.decommissioned', 'because decommission'],
      ['agent.transferred', 'because transfer'],
      ['agent.activated', 'because activate'],
      ['agent.suspended', 'because suspend'],
      ['agent.created', undefined],
    ]);
    expect(body.items).toMatchObject([
      { by: { type: 'administrator', id: 'bootstrap' }, from: '203.0.113.7' },
      {},
      {},
      {},
      {},
    ]);
  });

  it('change what may change, and only that', async () => {
    const { id } = await create({ name: 'before' });
    const path = `/agents/${id}`;
    const changed = await world.patch(path, { name: 'after', project: 'p', intents: [ticketUpdate.taskIntent] });
    expect(changed.body).toMatchObject({ name: 'after', project: 'p', description: 'Tickets.' });
    expect((await world.patch(path, { project: null })).body).toMatchObject({ name: 'after', project: null });
    expect((await world.patch(path, { credential: { secret: true } })).body.clientSecret).toMatch(/^writ_client_/);
    for (const member of ['owner', 'environment', 'parent', 'status', 'id']) {
      expect((await world.patch(path, { [member]: 'x' })).body).toMatchObject({
        status: 400,
        errors: [{ path: member, message: 'is not known here' }],
      });
    }
  });

  it('are found by owner, status, environment, intent and name', async () => {
    const { id } = await create({ name: 'needle', owner: grace, intents: [ticketUpdate.taskIntent] });
    const idsOf = async (query: string) =>
      ((await world.get(`/agents?${query}`)).body.items as Json[]).map((item) => item.id);
    expect(await idsOf('name=needle')).toEqual([id]);
    expect(await idsOf(`owner=${grace}&status=active`)).toEqual([id]);
    expect(await idsOf('owner=grace%40example.com&status=active')).toEqual([id]);
    expect(await idsOf(`intent=${ticketUpdate.taskIntent}&owner=${grace}&environment=production`)).toEqual([id]);
    expect(await idsOf('environment=staging')).toEqual([]);
    // Somebody who mistypes an owner is told so, and does not read that they have no agents.
    expect((await world.get('/agents?owner=nobody%40example.com')).body).toMatchObject({ status: 400 });
  });
});

describe('people', () => {
  it('are read by id, and found by userName, directory and state', async () => {
    const { body } = await world.get(`/people/${ada}`);
    expect(body).toMatchObject({
      id: ada,
      userName: 'ada@example.com',
      directory: { id: directory, name: 'corporate' },
    });
    expect((await world.get('/people?userName=Ada%40example.com')).body.items).toEqual([body]);
    expect((await world.get(`/people?directory=${directory}&active=false`)).body.items).toEqual([]);
    expect((await world.get('/people?directory=corporate&active=true&limit=1')).body.items).toHaveLength(1);
    expect((await world.get(`/people/${nobody}`)).body).toMatchObject({ status: 404, code: 'not_found' });
  });
});

describe('offboardings', () => {
  it('are receipts with a signature, found by person, newest first', async () => {
    const other = '1f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';
    await world.sql`
      insert into offboardings (id, person_id, directory_id, user_name, method, request_id, agents, tokens_unexpired,
        requested_at, committed_at, seq)
      values (${nobody}, ${ada}, ${directory}, 'ada@example.com', 'PATCH', 'r-1', '[]', 0, now(), now(), 7),
        (${other}, ${grace}, ${directory}, 'grace@example.com', 'PUT', 'r-2', '[]', 0, now(), now(), 8),
        (${ada}, ${grace}, ${directory}, 'grace@example.com', 'PUT', 'r-3', '[]', 0, now(), now(), 9)`;
    const { body } = await world.get(`/offboardings?person=${ada}`);
    expect(body).toMatchObject({ items: [{ id: nobody, person: { id: ada } }], nextCursor: null });
    const receipt = (await world.get(`/offboardings/${nobody}`)).body;
    expect(receipt).toMatchObject({ id: nobody, seq: 7, jws: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/) });
    expect((await world.get('/offboardings')).body.items).toMatchObject([{ seq: 9 }, { seq: 8 }, { seq: 7 }]);
    expect((await world.get(`/offboardings/${grace}`)).status).toBe(404);
  });
});

describe('audit and keys', () => {
  it('the log is searched by kind and time, and verified whole', async () => {
    const found = (await world.get('/audit?kind=directory.created&limit=2')).body;
    expect(found.items).toHaveLength(2);
    expect((await world.get('/audit?since=2999-01-01T00:00:00Z')).body.items).toEqual([]);
    expect((await world.get('/audit?until=1999-01-01T00:00:00Z')).body.items).toEqual([]);
    expect((await world.post('/audit/verify')).body).toMatchObject({ ok: true, entries: expect.any(Number) });
    const checkpoint = { number: 9_000, hash: 'n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg' };
    expect((await world.post('/audit/verify', { checkpoint })).body).toMatchObject({ ok: false });
  });

  it('keys are listed in pages, rotated, and revoked for good', async () => {
    const before = (await world.get('/keys')).body.items as Json[];
    const fresh = (await world.post('/keys/rotate')).body.items as Json[];
    expect(fresh.map(({ algorithm }) => algorithm).sort()).toEqual(['ES256', 'Ed25519', 'RS256']);
    expect((await world.post('/keys/rotate', { algorithm: 'RS256' })).body.items).toMatchObject([
      { algorithm: 'RS256' },
    ]);
    const first = (await world.get('/keys?limit=4')).body;
    const second = (await world.get(`/keys?limit=4&cursor=${first.nextCursor}`)).body;
    expect([...(first.items as Json[]), ...(second.items as Json[])]).toHaveLength(before.length + 4);
    expect(second.nextCursor).toBeNull();
    const { kid } = before.find(({ algorithm, status }) => algorithm === 'ES256' && status === 'signing') ?? {};
    const revoked = (await world.post(`/keys/${kid}/revoke`, { reason: 'lost' })).body;
    expect((await world.get('/audit?kind=key.revoked')).body.items).toMatchObject([{ reason: 'lost' }]);
    expect(revoked).toMatchObject({ kid, replacement: expect.any(String) });
    expect((await world.post(`/keys/${kid}/revoke`)).body).toMatchObject({ kid, replacement: null });
    expect((await world.post('/keys/unknown/revoke')).body).toMatchObject({ status: 404, code: 'not_found' });
    expect(world.deps.keyring.publicJwks().some((key) => key.kid === kid)).toBe(false);
  });
});

describe('lists', () => {
  it('are cut into pages by cursor, each item once, in every list', async () => {
    for (const path of [
      '/directories',
      '/apis',
      '/intents',
      '/agents',
      '/people',
      '/offboardings',
      '/environments',
      '/handovers',
      '/keys',
      '/audit',
    ]) {
      const whole = (await world.get(`${path}?limit=500`)).body.items as Json[];
      const seen: Json[] = [];
      let cursor = '';
      do {
        const { body } = await world.get(`${path}?limit=2${cursor}`);
        seen.push(...(body.items as Json[]));
        cursor = body.nextCursor === null ? '' : `&cursor=${body.nextCursor}`;
      } while (cursor !== '');
      expect(seen, path).toEqual(whole);
    }
  });

  it('a cursor that is not of the list is 400', async () => {
    const own = (await world.get('/directories?limit=1')).body.nextCursor;
    const forged = Buffer.from(JSON.stringify(['2026-01-01T00:00:00.000Z', "' or 1=1"])).toString('base64url');
    for (const path of ['/agents', '/environments', '/handovers', '/people', '/keys', '/audit', '/offboardings']) {
      for (const cursor of ['x', 'W10', own, forged]) {
        expect((await world.get(`${path}?cursor=${cursor}`)).status, `${path} ${cursor}`).toBe(400);
      }
    }
  });
});
