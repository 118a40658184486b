import { createLocalJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createVerifier, type Verifier } from '../../src/sdk/api/verify.ts';
import { askToken, createWorld, crm, readIntent, type World } from '../support/world.ts';
import { readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let verifier: Verifier;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  verifier = await createVerifier({
    issuer: writ.url,
    audience: crm,
    credentials: world.api.feedCredentials,
    verifierId: 'crm-1',
  });
  await verifier.ready();
});
afterAll(async () => {
  await verifier?.close();
  await writ.close();
});

const tokenOf = async (agent: World['triage']): Promise<string> =>
  (await askToken(writ, agent, { scope: readIntent })).body.access_token;

/** Resolves with the code once the verifier refuses. */
async function refusalOf(token: string, withinMs: number): Promise<string> {
  const until = performance.now() + withinMs;
  while (performance.now() < until) {
    try {
      await verifier.verify(token, { intent: readIntent, action: 'read' });
    } catch (error) {
      return (error as { code: string }).code;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return 'still accepted';
}

/** The request with which Okta says that a person is gone (path-less, boolean). */
const oktaDeactivation = {
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: [{ op: 'replace', value: { active: false } }],
};

test('the owner leaves: every agent and sub-agent is dead everywhere, others go on, and a receipt proves it', async () => {
  const [token, subToken, otherToken] = await Promise.all([
    tokenOf(world.triage),
    tokenOf(world.helper),
    tokenOf(world.billing),
  ]);
  for (const one of [token, subToken, otherToken]) {
    await expect(verifier.verify(one, { intent: readIntent, action: 'read' })).resolves.toBeDefined();
  }

  const gone = await world.scim('PATCH', `/Users/${world.alice}`, oktaDeactivation);
  expect(gone.status).toBe(200);
  expect(gone.body.active).toBe(false);

  // Promise 2: no request that begins after the answer gets a token.
  for (const agent of [world.triage, world.helper]) {
    const refused = await askToken(writ, agent, { scope: readIntent });
    expect(refused.status).toBe(400);
    expect(refused.body).toMatchObject({ error: 'access_denied', reason: 'owner_inactive' });
  }
  // Promise 3: a connected verifier refuses within a second.
  expect(await refusalOf(token, 1_000)).toBe('token_revoked');
  expect(await refusalOf(subToken, 1_000)).toBe('token_revoked');
  await expect(verifier.verify(otherToken, { intent: readIntent, action: 'read' })).resolves.toBeDefined();
  expect((await askToken(writ, world.billing, { scope: readIntent })).status).toBe(200);

  const agents = await writ.admin('GET', `/agents?owner=${world.alice}`);
  for (const agent of agents.body.items) {
    expect(agent).toMatchObject({ status: 'active', live: false, latches: [{ reason: 'owner_lost' }] });
  }

  const list = await writ.admin('GET', `/offboardings?person=${world.alice}`);
  expect(list.body.items).toHaveLength(1);
  const receipt = await waitForAcknowledgement(list.body.items[0].id);
  expect(receipt).toMatchObject({
    person: { id: world.alice, userName: 'alice@example.com' },
    request: { directory: expect.anything(), method: 'PATCH', requestId: expect.any(String) },
    tokensUnexpired: 2,
    acknowledgements: [{ verifier: 'crm-1', seq: expect.any(Number), at: expect.any(String) }],
  });
  expect(namesIn(receipt)).toEqual(['helper', 'triage']);
  expect(Date.parse(receipt.requestedAt)).toBeLessThanOrEqual(Date.parse(receipt.committedAt));
  expect(Date.parse(receipt.committedAt)).toBeLessThanOrEqual(Date.parse(receipt.answeredAt));

  const keys = createLocalJWKSet((await readAnswer(await fetch(`${writ.url}/oauth/jwks`))).body);
  const { payload } = await jwtVerify(receipt.jws, keys, { issuer: writ.url, typ: 'writ-receipt+jwt' });
  expect(payload).toMatchObject({ id: receipt.id, person: receipt.person, agents: receipt.agents });
});

const namesIn = (receipt: { agents: { name: string }[] }): string[] => receipt.agents.map(({ name }) => name);

test('receipts name the agents in the order of their names, nobody’s as well, and carry numbers of the feed', async () => {
  const names = ['f', 'e', 'd', 'c', 'b', 'a'];
  const leaver = async (agents: string[]): Promise<{ agents: { name: string }[]; seq: number }> => {
    const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];
    const { body } = await world.scim('POST', '/Users', { schemas, userName: `${agents.length}@example.com` });
    for (const name of agents) await world.createAgent({ name, owner: body.id, environment: 'production' });
    const gone = await world.scim('DELETE', `/Users/${body.id}`);
    return (await writ.admin('GET', `/offboardings/${gone.headers.get('writ-offboarding')}`)).body;
  };
  const [some, none] = [await leaver(names), await leaver([])];
  expect(namesIn(some)).toEqual(names.toSorted());
  expect(none.agents).toEqual([]);
  expect(some.seq).toBeGreaterThan(0);
  expect(none.seq).toBe(some.seq + 1);
});

async function waitForAcknowledgement(id: string) {
  for (let attempt = 0; attempt < 100; attempt++) {
    const { body } = await writ.admin('GET', `/offboardings/${id}`);
    if (body.acknowledgements.length > 0 && body.answeredAt !== null) return body;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('no verifier acknowledged');
}

test('the IdP repeats itself: the same receipt, and nothing happens twice', async () => {
  const again = await world.scim('PATCH', `/Users/${world.alice}`, oktaDeactivation);
  expect(again.status).toBe(200);
  expect((await writ.admin('GET', `/offboardings?person=${world.alice}`)).body.items).toHaveLength(1);
});

test('the person returns: no agent comes back by itself, an administrator brings it back by name', async () => {
  const back = { ...oktaDeactivation, Operations: [{ op: 'replace', value: { active: true } }] };
  expect((await world.scim('PATCH', `/Users/${world.alice}`, back)).body.active).toBe(true);
  expect((await askToken(writ, world.triage, { scope: readIntent })).body.reason).toBe('owner_inactive');

  const activated = await writ.admin('POST', `/agents/${world.triage.id}/activate`, { reason: 'Alice is back' });
  expect(activated.body).toMatchObject({ live: true, latches: [] });
  expect((await askToken(writ, world.triage, { scope: readIntent })).status).toBe(200);
});

test('a leaver by DELETE: the agents are transferred to somebody else and work again', async () => {
  expect((await world.scim('DELETE', `/Users/${world.bob}`)).status).toBe(204);
  expect((await askToken(writ, world.billing, { scope: readIntent })).body.reason).toBe('owner_inactive');
  const moved = await writ.admin('POST', `/agents/${world.billing.id}/transfer`, {
    owner: 'alice@example.com',
    reason: 'Bob has left',
  });
  expect(moved.body).toMatchObject({ owner: world.alice, live: true });
  expect((await askToken(writ, world.billing, { scope: readIntent })).status).toBe(200);
});

test('the audit log of all this verifies', async () => {
  const verified = await writ.admin('POST', '/audit/verify', {});
  expect(verified.body).toMatchObject({ ok: true });
  expect(verified.body.entries).toBeGreaterThan(10);
});
