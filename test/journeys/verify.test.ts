import type { Server } from 'node:http';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requireIntent } from '../../src/sdk/api/hono.ts';
import { createVerifier, type Verifier } from '../../src/sdk/api/verify.ts';
import {
  askToken,
  createWorld,
  crm,
  detail,
  makeAssertion,
  must,
  postForm,
  readIntent,
  type World,
} from '../support/world.ts';
import { freePort, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let verifier: Verifier;
let server: Server;
let api: string;

beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  verifier = await createVerifier({ issuer: writ.url, audience: crm, credentials: world.api.feedCredentials });
  await verifier.ready();
  const app = new Hono();
  app.get(
    '/tickets/:id',
    requireIntent(verifier, (c) => ({
      intent: readIntent,
      action: 'read',
      datatype: 'ticket',
      identifier: c.req.param('id') ?? '',
    })),
    (c) => c.json({ id: c.req.param('id') }),
  );
  app.delete('/tickets/:id', requireIntent(verifier, { intent: readIntent, action: 'delete' }), (c) =>
    c.body(null, 204),
  );
  const port = await freePort();
  server = serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }) as Server;
  api = `http://127.0.0.1:${port}`;
});
afterAll(async () => {
  server?.close();
  await verifier?.close();
  await writ.close();
});

const call = async (path: string, token?: string, method = 'GET') =>
  readAnswer(
    await fetch(`${api}${path}`, { method, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } }),
  );
const tokenFor = async (identifier?: string): Promise<string> =>
  must(
    await askToken(writ, world.triage, {
      authorization_details: detail(readIntent, { ...(identifier && { identifier }) }),
    }),
  ).body.access_token;

test('the API checks intent, action, data type and identifier, offline', async () => {
  expect((await call('/tickets/INC-1', await tokenFor())).status).toBe(200);
  expect((await call('/tickets/INC-1', await tokenFor('INC-1'))).status).toBe(200);
  const other = await call('/tickets/INC-2', await tokenFor('INC-1'));
  expect(other.status).toBe(403);
  expect(other.headers.get('www-authenticate')).toContain('error="insufficient_scope"');
  expect((await call('/tickets/INC-1', await tokenFor(), 'DELETE')).status).toBe(403);
});

test('RFC 6750 §3: no token gets a challenge without an error, a bad one gets invalid_token', async () => {
  const none = await call('/tickets/INC-1');
  expect(none.status).toBe(401);
  expect(none.headers.get('www-authenticate')).not.toContain('error=');
  const bad = await call('/tickets/INC-1', `${(await tokenFor()).slice(0, -4)}AAAA`);
  expect(bad.status).toBe(401);
  expect(bad.headers.get('www-authenticate')).toContain('error="invalid_token"');
});

test('one token is revoked (RFC 7009): the API refuses that one within a second, and no other', async () => {
  const [dead, alive] = [await tokenFor(), await tokenFor()];
  expect((await call('/tickets/INC-1', dead)).status).toBe(200);
  const revoked = await postForm(`${writ.url}/oauth/revoke`, {
    token: dead,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: makeAssertion(writ, world.triage),
  });
  expect(revoked.status).toBe(200);
  await expect.poll(async () => (await call('/tickets/INC-1', dead)).status, { timeout: 1_000, interval: 5 }).toBe(401);
  expect((await call('/tickets/INC-1', alive)).status).toBe(200);
});

test('a signing key is revoked: what it signed is refused at once, and the next one is trusted as soon as it signs', async () => {
  const token = await tokenFor();
  const { kid } = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString());
  must(await writ.admin('POST', `/keys/${kid}/revoke`, { reason: 'leaked' }));
  await expect
    .poll(async () => (await call('/tickets/INC-1', token)).status, { timeout: 1_000, interval: 5 })
    .toBe(401);
  const next = await tokenFor();
  await expect
    .poll(async () => (await call('/tickets/INC-1', next)).status, { timeout: 2_000, interval: 50 })
    .toBe(200);
});

test('keys rotate without a restart and without a refused token', async () => {
  must(await writ.admin('POST', '/keys/rotate', {}));
  expect((await call('/tickets/INC-1', await tokenFor())).status).toBe(200);
  const { body } = await writ.admin('GET', '/keys');
  expect(body.items.filter((key: { status: string }) => key.status === 'pending')).toHaveLength(3);
});
