/**
 * The short path and the engine answer alike: the same generated request goes both ways (a parameter that nobody knows,
 * and that RFC 6749 §3.2 has ignored, sends it to the engine), and status, headers and body have to be the same, but for
 * what is new in every token. `WRIT_DIFFERENCES=5000` for more; the seed of a failure is printed and given as
 * `WRIT_SEED`.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  detail,
  encodeForm,
  type Form,
  type KeyedAgent,
  makeAssertion,
  must,
  readIntent,
  type World,
  writeIntent,
} from '../support/world.ts';
import { type Answer, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let secret: { id: string; clientSecret: string };
let subject: string;
let stranger: KeyedAgent;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  const input = { name: 'secretive', owner: world.bob, environment: 'production', credential: { secret: true } };
  secret = must(await writ.admin('POST', '/agents', { ...input, intents: [readIntent] })).body;
  subject = must(await askToken(writ, world.triage, { scope: readIntent })).body.access_token;
  stranger = { id: randomUUID(), privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey };
});
afterAll(() => writ.close());

const seconds = (): number => Math.floor(Date.now() / 1000);
/** By name, so that a failing request prints what it was; made anew for each of the two ways. */
const claims: Record<string, () => Record<string, unknown>> = {
  plain: () => ({}),
  'aud in an array': () => ({ aud: [writ.url] }),
  'aud the token endpoint': () => ({ aud: `${writ.url}/oauth/token` }),
  'aud of two': () => ({ aud: [writ.url, 'https://other.example.com'] }),
  'no aud': () => ({ aud: undefined }),
  expired: () => ({ exp: seconds() - 60 }),
  'expired within the tolerance': () => ({ exp: seconds() - 3 }),
  'too long a life': () => ({ exp: seconds() + 3_600 }),
  'exp as text': () => ({ exp: String(seconds() + 60) }),
  'not yet': () => ({ nbf: seconds() + 120 }),
  'nbf within the tolerance': () => ({ nbf: seconds() + 4 }),
  'iat as text': () => ({ iat: 'now' }),
  'no jti': () => ({ jti: undefined }),
  'a long jti': () => ({ jti: randomUUID().repeat(20) }),
  'another iss': () => ({ iss: 'somebody' }),
  'sub of somebody else': () => ({ iss: world.billing.id, sub: world.billing.id }),
  'an unknown sub': () => ({ iss: stranger.id, sub: stranger.id }),
};
const headers: Record<string, Record<string, unknown>> = {
  plain: {},
  'no typ': { typ: undefined },
  'typ JWT': { typ: 'JWT' },
  'typ at+jwt': { typ: 'at+jwt' },
  'an unknown kid': { kid: 'nobody' },
  critical: { crit: ['b64'] },
  'alg none': { alg: 'none' },
  'alg RS256': { alg: 'RS256' },
};
const asks: Record<string, () => Form> = {
  scope: () => ({ scope: readIntent }),
  'scope of a write': () => ({ scope: writeIntent }),
  'unknown scope': () => ({ scope: 'nothing.known' }),
  'scope of odd characters': () => ({ scope: 'ä"\\' }),
  details: () => ({ authorization_details: detail(readIntent, { actions: ['read'], identifier: 'INC-1' }) }),
  'details beyond': () => ({ authorization_details: detail(readIntent, { actions: ['delete'] }) }),
  'details that are none': () => ({ authorization_details: '{' }),
  nothing: () => ({}),
  'scope and details': () => ({ scope: readIntent, authorization_details: detail(readIntent, { actions: ['list'] }) }),
};
const targets: Record<string, Form> = {
  crm: { resource: crm },
  'with a slash': { resource: `${crm}/` },
  unknown: { resource: 'https://unknown.example.com' },
  none: {},
  twice: { resource: [crm, crm] },
  empty: { resource: '' },
};
const grants: Record<string, () => Form> = {
  'client credentials': () => ({ grant_type: 'client_credentials' }),
  exchange: () => ({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: subject,
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  }),
  'exchange of nothing': () => ({ grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange' }),
  'exchange of garbage': () => ({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: 'garbage',
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  }),
  unknown: () => ({ grant_type: 'password' }),
  none: () => ({}),
};

type Proof = { form: Form; authorization?: string };
const withAssertion = (claim: string, header: string): Proof => ({
  form: {
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: makeAssertion(writ, world.triage, claims[claim]?.(), headers[header]),
  },
});
const basic = (id: string, value: string): Proof => ({
  form: {},
  authorization: `Basic ${Buffer.from(`${id}:${value}`).toString('base64')}`,
});
const secrets: Record<string, () => Proof> = {
  basic: () => basic(secret.id, secret.clientSecret),
  post: () => ({ form: { client_id: secret.id, client_secret: secret.clientSecret } }),
  'wrong basic': () => basic(secret.id, 'wrong'),
  'wrong post': () => ({ form: { client_id: secret.id, client_secret: 'wrong' } }),
  'basic of a keyed agent': () => basic(world.triage.id, secret.clientSecret),
  'basic and post': () => ({ ...basic(secret.id, secret.clientSecret), form: { client_secret: secret.clientSecret } }),
  'another client_id': () => ({ ...basic(secret.id, secret.clientSecret), form: { client_id: world.bob } }),
  'the feed': () => basic(world.api.feedCredentials.clientId, world.api.feedCredentials.clientSecret),
  none: () => ({ form: {} }),
};

/** The plain one often, so that most requests get as far as a decision. */
const oneOf = (table: Record<string, unknown>) => {
  const [first = '', ...others] = Object.keys(table);
  return fc.oneof({ weight: 3, arbitrary: fc.constant(first) }, { weight: 2, arbitrary: fc.constantFrom(...others) });
};
const request = fc.record({
  grant: oneOf(grants),
  target: oneOf(targets),
  ask: oneOf(asks),
  proof: fc.oneof(
    { weight: 3, arbitrary: fc.record({ claim: oneOf(claims), header: oneOf(headers) }) },
    { weight: 2, arbitrary: oneOf(secrets) },
  ),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

async function send({ grant, target, ask, proof }: Request, byEngine: boolean): Promise<Answer> {
  const made = typeof proof === 'string' ? secrets[proof]?.() : withAssertion(proof.claim, proof.header);
  const body = encodeForm({ ...grants[grant]?.(), ...targets[target], ...asks[ask]?.(), ...made?.form });
  if (byEngine) body.append('known_to_nobody', 'x');
  const authorization = made?.authorization;
  const sent = { method: 'POST', body, headers: authorization === undefined ? {} : { authorization } };
  return readAnswer(await fetch(`${writ.url}/oauth/token`, sent));
}

/** What has to be equal. Of a token: everything but what is new in each. */
function essence({ status, headers, body }: Answer): unknown {
  const kept = Object.fromEntries(headers);
  for (const name of ['date', 'x-request-id', 'content-length', 'connection', 'keep-alive', 'transfer-encoding']) {
    delete kept[name];
  }
  if (status !== 200) return { status, kept, body };
  const { header, claims } = decodeToken(body.access_token);
  const { jti, iat, exp, ...others } = claims;
  expect([typeof jti, exp > iat]).toEqual(['string', true]);
  return { status, kept, body: { ...body, access_token: { header, claims: others }, expires_in: 0 } };
}

test('whatever is asked, by whomever: the two ways give the same answer', async () => {
  const statuses = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(request, async (one) => {
      const [short, engine] = [await send(one, false), await send(one, true)];
      statuses.set(short.status, (statuses.get(short.status) ?? 0) + 1);
      expect(essence(short)).toEqual(essence(engine));
    }),
    {
      numRuns: Number(process.env.WRIT_DIFFERENCES ?? 400),
      ...(process.env.WRIT_SEED === undefined ? {} : { seed: Number(process.env.WRIT_SEED) }),
    },
  );
  // Else the generator has lost what it is for.
  for (const status of [200, 400, 401]) expect([status, (statuses.get(status) ?? 0) > 20]).toEqual([status, true]);
}, 120_000);

test('a used assertion is refused alike, whichever way it comes again', async () => {
  const form = {
    grant_type: 'client_credentials',
    resource: crm,
    scope: readIntent,
    ...withAssertion('plain', 'plain').form,
  };
  const post = async (more: Form): Promise<Answer> =>
    readAnswer(await fetch(`${writ.url}/oauth/token`, { method: 'POST', body: encodeForm({ ...form, ...more }) }));
  expect((await post({})).status).toBe(200);
  const [short, engine] = [await post({}), await post({ known_to_nobody: 'x' })];
  expect(short).toMatchObject({ status: 401, body: { error: 'invalid_client' } });
  expect(essence(short)).toEqual(essence(engine));
});

test('what is kept of an agent does not outlive a change: credential, grants, owner, state', async () => {
  const agent = await world.createAgent({ name: 'changing', owner: world.bob, environment: 'production' });
  const ask = () => askToken(writ, agent, { scope: readIntent });
  expect((await ask()).status).toBe(200);
  must(await writ.admin('PATCH', `/agents/${agent.id}`, { intents: [] }));
  expect((await ask()).body.reason).toBe('intent_not_granted');
  must(await writ.admin('PATCH', `/agents/${agent.id}`, { intents: [readIntent] }));
  must(await writ.admin('POST', `/agents/${agent.id}/transfer`, { owner: world.alice, reason: 'moved' }));
  expect(decodeToken((await ask()).body.access_token).claims.human_owner_id).toBe(world.alice);
  must(await writ.admin('POST', `/agents/${agent.id}/suspend`, { reason: 'trial' }));
  expect((await ask()).body.reason).toBe('agent_inactive');
  must(await writ.admin('POST', `/agents/${agent.id}/activate`, { reason: 'trial' }));
  expect((await ask()).status).toBe(200);
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = { keys: [publicKey.export({ format: 'jwk' })] };
  must(await writ.admin('PATCH', `/agents/${agent.id}`, { credential: { jwks } }));
  expect((await ask()).status).toBe(401);
});
