import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  detail,
  readIntent,
  type World,
  writeIntent,
} from '../support/world.ts';
import { startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
});
afterAll(() => writ.close());

test('an agent gets a token for one task at one API, and any JWT library verifies it', async () => {
  const answer = await askToken(writ, world.triage, {
    authorization_details: detail(readIntent, { actions: ['read'], datatypes: ['ticket'], identifier: 'INC-4711' }),
  });
  expect(answer.status).toBe(200);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.body).toMatchObject({ token_type: 'Bearer', expires_in: 300 });

  const keys = createRemoteJWKSet(new URL(`${writ.url}/oauth/jwks`));
  const { payload, protectedHeader } = await jwtVerify(answer.body.access_token, keys, {
    issuer: writ.url,
    audience: crm,
    typ: 'at+jwt',
  });
  expect(protectedHeader.alg).toBe('ES256');
  expect(payload).toMatchObject({
    sub: world.triage.id,
    client_id: world.triage.id,
    human_owner_id: world.alice,
    task_intent: readIntent,
    authorization_details: [
      {
        type: 'agent_intent',
        task_intent: readIntent,
        actions: ['read'],
        locations: [crm],
        datatypes: ['ticket'],
        identifier: 'INC-4711',
      },
    ],
    epochs: { [world.alice]: 0, [world.triage.id]: 0 },
    agent: { name: 'triage', environment: 'production', trust: 2 },
  });
  // A verifier that reads only `scope` must not see more than was granted.
  expect(payload.scope).toBeUndefined();
});

test('a client that knows only scope gets the whole intent', async () => {
  const answer = await askToken(writ, world.triage, { scope: readIntent });
  expect(answer.body).toMatchObject({ scope: readIntent, token_type: 'Bearer' });
  expect(decodeToken(answer.body.access_token).claims.authorization_details[0].actions).toEqual([
    'read',
    'list',
    'search',
  ]);
});

test('a sub-agent depends on its parent too', async () => {
  const answer = await askToken(writ, world.helper, { scope: readIntent });
  expect(decodeToken(answer.body.access_token).claims.epochs).toEqual({
    [world.alice]: 0,
    [world.triage.id]: 0,
    [world.helper.id]: 0,
  });
});

test('promise 4: a write is refused with the reason and where to ask', async () => {
  const answer = await askToken(writ, world.triage, {
    authorization_details: detail(writeIntent, { actions: ['update'] }),
  });
  expect(answer.status).toBe(400);
  expect(answer.body).toMatchObject({ error: 'access_denied', reason: 'approval_required' });
  const page = await fetch(answer.body.error_uri);
  expect(page.status).toBe(200);
  expect(await page.text()).toContain('A human has to approve this write');
});

test('the read actions of a write intent need no approval', async () => {
  const answer = await askToken(writ, world.triage, {
    authorization_details: detail(writeIntent, { actions: ['read'] }),
  });
  expect(answer.status).toBe(200);
});

test('promise 6: each answer stands in the audit log as a decision', async () => {
  const { body } = await askToken(writ, world.triage, { scope: readIntent });
  const { claims } = decodeToken(body.access_token);
  const found = await writ.admin('GET', `/audit?jti=${claims.jti}`);
  expect(found.body.items).toHaveLength(1);
  expect(found.body.items[0]).toMatchObject({
    kind: 'token.issued',
    outcome: 'done',
    agent: world.triage.id,
    person: world.alice,
    decision: {
      principal: world.triage.id,
      resource: crm,
      policy_decision: 'ALLOW',
      context_attribute: { human_owner_id: world.alice, task_intent: readIntent, environment: 'production' },
    },
  });
});

test('an agent that is registered as pending gets its first token once somebody has activated it', async () => {
  const pending = await world.createAgent({
    name: 'next',
    owner: world.bob,
    environment: 'production',
    status: 'pending',
  });
  const early = await askToken(writ, pending, { scope: readIntent });
  expect(early.body).toMatchObject({ error: 'access_denied', reason: 'agent_inactive' });
  const activated = await writ.admin('POST', `/agents/${pending.id}/activate`, { reason: 'reviewed' });
  expect(activated.body).toMatchObject({ status: 'active', live: true });
  expect((await askToken(writ, pending, { scope: readIntent })).status).toBe(200);
});
