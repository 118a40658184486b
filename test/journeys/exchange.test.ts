import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createAgent } from '../../src/sdk/agent/agent.ts';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  detail,
  exchangeToken,
  must,
  readIntent,
  type World,
} from '../support/world.ts';
import { startWrit, type TestWrit } from '../support/writ.ts';

const planner = 'https://planner.example.com';
const lookup = 'incident_remediation.lookup';

let writ: TestWrit;
let world: World;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  must(
    await writ.admin('POST', '/apis', {
      identifier: planner,
      name: 'Planner',
      environment: 'production',
      agent: world.billing.id,
    }),
  );
  must(
    await writ.admin('POST', '/intents', {
      taskIntent: lookup,
      description: 'Look up an incident, by way of the planner',
      apis: [crm, planner],
      actions: ['read', 'list'],
      datatypes: ['ticket', 'customer'],
      risk: 'read',
    }),
  );
  must(await writ.admin('PATCH', `/agents/${world.triage.id}`, { intents: [readIntent, lookup] }));
});
afterAll(() => writ.close());

test('an agent narrows its own token for one step of a task', async () => {
  const wide = must(await askToken(writ, world.triage, { scope: lookup })).body.access_token;
  const narrow = must(
    await exchangeToken(writ, world.triage, wide, {
      authorization_details: detail(lookup, { actions: ['read'], datatypes: ['ticket'], identifier: 'INC-1' }),
    }),
  ).body;
  expect(narrow).toMatchObject({
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer',
  });
  const before = decodeToken(wide).claims;
  const { claims } = decodeToken(narrow.access_token);
  expect(claims).toMatchObject({ sub: world.triage.id, aud: crm, act: { sub: world.triage.id } });
  expect(claims.authorization_details[0]).toMatchObject({
    actions: ['read'],
    datatypes: ['ticket'],
    identifier: 'INC-1',
  });
  expect(claims.exp).toBeLessThanOrEqual(before.exp);
  expect(claims.epochs).toMatchObject({ ...before.epochs, [before.jti]: 0 });
});

test('an agent that is called acts for its caller: sub stays, act names it, authority only shrinks', async () => {
  const forPlanner = must(
    await askToken(writ, world.triage, {
      resource: planner,
      authorization_details: detail(lookup, { locations: [planner, crm] }),
    }),
  ).body.access_token;
  // The planner is Bob's agent `billing`; it exchanges what it received for a token for the CRM.
  const forCrm = must(
    await exchangeToken(writ, world.billing, forPlanner, {
      resource: crm,
      authorization_details: detail(lookup, { actions: ['read'] }),
    }),
  ).body.access_token;
  const { claims } = decodeToken(forCrm);
  expect(claims).toMatchObject({
    sub: world.triage.id,
    client_id: world.billing.id,
    act: { sub: world.billing.id },
    aud: crm,
    human_owner_id: world.bob,
  });
  // It dies with either owner, either agent, and the token it came from.
  expect(Object.keys(claims.epochs)).toEqual(
    expect.arrayContaining([
      world.alice,
      world.bob,
      world.triage.id,
      world.billing.id,
      decodeToken(forPlanner).claims.jti,
    ]),
  );
  const wider = await exchangeToken(writ, world.billing, forPlanner, {
    resource: crm,
    authorization_details: detail(lookup, { actions: ['delete'] }),
  });
  expect(wider.body).toMatchObject({ error: 'invalid_authorization_details', reason: 'exceeds_subject_token' });
});

test('a token that names nobody else is of no use to another agent', async () => {
  const token = must(await askToken(writ, world.triage, { scope: readIntent })).body.access_token;
  const stolen = await exchangeToken(writ, world.billing, token);
  expect(stolen.status).toBe(400);
  expect(stolen.body).toMatchObject({ error: 'invalid_request', reason: 'subject_token_foreign' });
});

test('the SDK of an agent does both in two calls', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const { body } = must(
    await writ.admin('POST', '/agents', {
      name: 'sdk',
      owner: world.alice,
      environment: 'production',
      credential: { jwks: { keys: [publicKey.export({ format: 'jwk' })] } },
      intents: [lookup],
    }),
  );
  const agent = createAgent({ issuer: writ.url, clientId: body.id, key: privateKey });
  const { accessToken } = await agent.token({ resource: crm, intent: lookup });
  const narrow = await agent.exchange({ subjectToken: accessToken, intent: lookup, actions: ['read'], resource: crm });
  expect(decodeToken(narrow.accessToken).claims.authorization_details[0].actions).toEqual(['read']);
});

test('the owner of the caller leaves: what was exchanged is dead too', async () => {
  const forPlanner = must(
    await askToken(writ, world.triage, {
      resource: planner,
      authorization_details: detail(lookup, { locations: [planner, crm] }),
    }),
  ).body.access_token;
  must(await world.scim('DELETE', `/Users/${world.alice}`));
  const late = await exchangeToken(writ, world.billing, forPlanner, { resource: crm });
  expect(late.status).toBe(400);
  expect(late.body).toMatchObject({ error: 'invalid_request', reason: 'subject_token_invalid' });
  const receipts = await writ.admin('GET', `/offboardings?person=${world.alice}`);
  // Counted: the tokens of Alice's agents, and Bob's token that stood on one of them.
  expect(receipts.body.items[0].tokensUnexpired).toBeGreaterThanOrEqual(5);
});
