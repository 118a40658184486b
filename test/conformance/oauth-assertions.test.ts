import { createHmac, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Algorithm,
  assertionClaims,
  createAgentWith,
  introspectBy,
  revokeBy,
  signAs,
  withAssertion,
} from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  type KeyedAgent,
  makeAssertion,
  must,
  postForm,
  readIntent,
  type World,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
});
afterAll(() => writ.close());

const seconds = () => Math.floor(Date.now() / 1000);
const ask = (assertion: string, form = {}): Promise<Answer> =>
  askToken(writ, world.triage, { scope: readIntent, ...withAssertion(assertion), ...form });
/** By the agent's own key, changed. */
const askWith = (changes: object, header: object = {}): Promise<Answer> =>
  ask(signAs('ES256', world.triage.privateKey, assertionClaims(writ, world.triage.id, changes), header));

function expectRefused(answer: Answer): void {
  expect([answer.status, answer.body.error]).toEqual([401, 'invalid_client']);
  // Which check failed is for the log.
  expect(answer.body.error_description).toBe('client authentication failed');
  expect(answer.body.error_uri).toBe(`${writ.url}/oauth/errors/invalid_client`);
  expect(answer.headers.get('cache-control')).toBe('no-store');
}

test('what a client assertion needs stands on a page, and which check failed in the audit log', async () => {
  const refused = await askWith({ aud: `${writ.url}/oauth/token` });
  expectRefused(refused);
  const page = await fetch(refused.body.error_uri);
  expect([page.status, await page.text()]).toEqual([
    200,
    expect.stringContaining('aud is the issuer and nothing else'),
  ]);
  const { body } = must(await writ.admin('GET', `/audit?kind=client.refused&agent=${world.triage.id}&limit=1`));
  expect(body.items[0].details.detail).toBe('the audience of a client assertion is the issuer alone');
});

describe('RFC 7523 §3, RFC 7518: keys and algorithms', () => {
  test.each<Algorithm>(['ES256', 'Ed25519', 'EdDSA', 'RS256', 'PS256'])('%s authenticates', async (algorithm) => {
    const agent = await createAgentWith(writ, world, algorithm);
    const make = (id = agent.id) => assertionClaims(writ, id);
    for (const header of [
      { kid: 'first' },
      {},
      { typ: 'JWT' },
      { typ: undefined },
      { typ: 'application/client-authentication+jwt' },
    ]) {
      const answer = await ask(signAs(algorithm, agent.privateKey, make(), header));
      expect([header, answer.status]).toEqual([header, 200]);
    }
    expectRefused(await ask(signAs(algorithm, agent.privateKey, make(), { kid: 'second' })));
    // The same bytes under another algorithm's name.
    for (const alg of ['ES256', 'Ed25519', 'RS256', 'PS256', 'RS512', 'ES384'].filter((name) => name !== algorithm)) {
      if (algorithm === 'EdDSA' && alg === 'Ed25519') continue;
      if (algorithm === 'Ed25519' && alg === 'EdDSA') continue;
      expectRefused(await ask(signAs(algorithm, agent.privateKey, make(), { alg })));
    }
  });

  test('RFC 8725 §3.1: no algorithm, and a public key taken for a shared secret', async () => {
    const agent = await createAgentWith(writ, world, 'RS256');
    const [header, claims] = [{ typ: 'JWT' }, assertionClaims(writ, agent.id)].map((part) =>
      Buffer.from(JSON.stringify(part)).toString('base64url'),
    );
    for (const alg of ['none', 'None', 'NONE', '']) {
      const unsigned = Buffer.from(JSON.stringify({ alg })).toString('base64url');
      expectRefused(await ask(`${unsigned}.${claims}.`));
    }
    expectRefused(await ask(`${header}.${claims}.AAAA`));
    for (const secret of [
      agent.publicKey.export({ type: 'spki', format: 'pem' }),
      agent.publicKey.export({ type: 'spki', format: 'der' }),
      JSON.stringify(agent.publicKey.export({ format: 'jwk' })),
    ]) {
      const input = `${Buffer.from('{"alg":"HS256"}').toString('base64url')}.${claims}`;
      expectRefused(await ask(`${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`));
    }
  });

  test('RFC 8725 §3.10: a key or an address in the header is not believed', async () => {
    const stranger = await createAgentWith(writ, world, 'ES256');
    const jwk = stranger.publicKey.export({ format: 'jwk' });
    for (const header of [
      { jwk },
      { jku: `${writ.url}/oauth/jwks` },
      { x5u: 'https://evil.example' },
      { kid: '../../first' },
    ]) {
      expectRefused(await ask(signAs('ES256', stranger.privateKey, assertionClaims(writ, world.triage.id), header)));
    }
    expectRefused(await askWith({}, { crit: ['exp'] }));
    expectRefused(await askWith({}, { crit: ['b64'], b64: false }));
  });
});

describe('RFC 10070 §3: the audience is the issuer alone', () => {
  test('as a string or as the only member of a list', async () => {
    expect((await askWith({ aud: writ.url })).status).toBe(200);
    expect((await askWith({ aud: [writ.url] })).status).toBe(200);
  });

  test('anything else is refused, also beside the issuer', async () => {
    for (const aud of [
      `${writ.url}/oauth/token`,
      `${writ.url}/oauth/introspect`,
      `${writ.url}/`,
      writ.url.toUpperCase(),
      writ.url.replace('localhost', '127.0.0.1'),
      [writ.url, 'https://other.example'],
      [writ.url, writ.url],
      [[writ.url]],
      [],
      '',
      {},
      null,
      1,
      undefined,
    ]) {
      expectRefused(await askWith({ aud }));
    }
    for (const path of ['introspect', 'revoke']) {
      const assertion = makeAssertion(writ, world.triage, { aud: `${writ.url}/oauth/${path}` });
      expectRefused(await postForm(`${writ.url}/oauth/${path}`, { token: 'x', ...withAssertion(assertion) }));
    }
  });
});

describe('RFC 7523 §3: claims', () => {
  test('a life that has not begun, is over, has no end or an end too far', async () => {
    const now = seconds();
    for (const changes of [
      { exp: undefined },
      { exp: now - 60 },
      { exp: now + 600 },
      { exp: now + 3600 },
      { exp: String(now + 60) },
      { exp: 1e300 },
      { exp: null },
      { nbf: now + 120 },
      { nbf: 'soon' },
      { iat: 'now' },
    ]) {
      expectRefused(await askWith(changes));
    }
    for (const changes of [{ exp: now + 300 }, { nbf: now }, { iat: undefined }, { exp: now + 60.5 }]) {
      expect((await askWith(changes)).status).toBe(200);
    }
  });

  test('issuer and subject are the client, and one is not taken for the other', async () => {
    const { triage, billing } = world;
    for (const changes of [
      { iss: billing.id },
      { sub: billing.id },
      { iss: undefined },
      { sub: undefined },
      { iss: 1 },
      { sub: [triage.id] },
      { sub: { id: triage.id } },
      { sub: triage.id.toUpperCase() },
      { iss: [triage.id] },
      { jti: undefined },
      { jti: 7 },
      { jti: '' },
      { jti: 'x'.repeat(513) },
    ]) {
      expectRefused(await askWith(changes));
    }
    expectRefused(await ask(makeAssertion(writ, { ...triage, id: billing.id })));
    // RFC 7521 §4.2: `client_id` beside an assertion has to name the same client.
    expect((await ask(makeAssertion(writ, triage), { client_id: triage.id })).status).toBe(200);
    expectRefused(await ask(makeAssertion(writ, triage), { client_id: billing.id }));
  });

  test('another kind of JWT is not a client assertion', async () => {
    for (const typ of ['at+jwt', 'application/at+jwt', 'dpop+jwt', 'secevent+jwt', 1, { toString: 1 }, ['JWT'], '']) {
      expectRefused(await askWith({}, { typ }));
    }
    const { access_token: token } = must(await askToken(writ, world.triage, { scope: readIntent })).body;
    expectRefused(await ask(token));
  });

  test('RFC 7521 §4.2.1: what is no JWT at all is failed authentication too', async () => {
    const good = makeAssertion(writ, world.triage);
    const [header, claims] = good.split('.');
    for (const text of [
      'garbage',
      '..',
      'a.b.c',
      `${header}.${claims}`,
      `${good}.x`,
      `${good} `,
      `${header}.${claims}.`,
      `${good.slice(0, -2)}AA`,
      `${header}.${Buffer.from('null').toString('base64url')}.AAAA`,
      `${header}.${Buffer.from('[]').toString('base64url')}.AAAA`,
      `${Buffer.from('1').toString('base64url')}.${claims}.AAAA`,
      `${header}.${Buffer.from('{"sub":').toString('base64url')}.AAAA`,
      'a'.repeat(40_000),
      `${header}.${'e'.repeat(40_000)}.AAAA`,
    ]) {
      expectRefused(await ask(text));
    }
    for (const type of ['urn:ietf:params:oauth:client-assertion-type:saml2-bearer', 'x']) {
      const answer = await ask(good, { client_assertion_type: type });
      expect([answer.status, answer.body.error]).toEqual([400, 'invalid_request']);
    }
    expect((await ask(good, { client_assertion_type: '' })).body.error).toBe('invalid_request');
  });

  test('a huge or deep assertion of the right agent is answered, not suffered', async () => {
    for (const changes of [{ wide: 'x'.repeat(30_000) }, { list: Array.from({ length: 5_000 }, () => 1) }]) {
      expect((await askWith(changes)).status).toBe(200);
    }
    const flat = JSON.stringify(assertionClaims(writ, world.triage.id));
    const alter = (text: string) => ask(signAs('ES256', world.triage.privateKey, text));
    for (const depth of [100, 2_000, 8_000]) {
      expectRefused(await alter(`${flat.slice(0, -1)},"deep":${'['.repeat(depth)}${']'.repeat(depth)}}`));
    }
    // Two readers must not see two subjects.
    expectRefused(await alter(`{"sub":"${world.billing.id}",${flat.slice(1)}`));
    expectRefused(await alter(`${flat.slice(0, -1)},"aud":"${writ.url}"}`));
    expect((await askWith({ wide: 'x'.repeat(60_000) })).status).toBe(413);
  });
});

describe('RFC 7523 §3: single use', () => {
  test('one after the other', async () => {
    const assertion = makeAssertion(writ, world.triage);
    expect((await ask(assertion)).status).toBe(200);
    expectRefused(await ask(assertion));
    expectRefused(await postForm(`${writ.url}/oauth/introspect`, { token: 'x', ...withAssertion(assertion) }));
    expectRefused(await postForm(`${writ.url}/oauth/revoke`, { token: 'x', ...withAssertion(assertion) }));
  });

  test('the same jti in another assertion is the same use', async () => {
    const jti = randomUUID();
    expect((await askWith({ jti })).status).toBe(200);
    expectRefused(await askWith({ jti, exp: seconds() + 200 }));
  });

  test('twenty at once: exactly one', async () => {
    const assertion = makeAssertion(writ, world.triage);
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(assertion)));
    const good = answers.filter((answer) => answer.status === 200);
    expect(good).toHaveLength(1);
    for (const answer of answers) if (answer !== good[0]) expectRefused(answer);
  });

  test('at all three endpoints at once: exactly one', async () => {
    const { access_token: token } = must(await askToken(writ, world.triage, { scope: readIntent })).body;
    const assertion = makeAssertion(writ, world.triage);
    const form = { token, ...withAssertion(assertion) };
    const answers = await Promise.all([
      ...Array.from({ length: 4 }, () => ask(assertion)),
      ...Array.from({ length: 4 }, () => postForm(`${writ.url}/oauth/introspect`, form)),
      ...Array.from({ length: 4 }, () => postForm(`${writ.url}/oauth/revoke`, form)),
    ]);
    expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1);
  });

  test('on two nodes at once: exactly one', async () => {
    await using node = await startWrit({ databaseUrl: writ.databaseUrl, issuer: writ.url });
    const assertion = makeAssertion(writ, world.triage);
    const form = { scope: readIntent, ...withAssertion(assertion) };
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, index) => askToken(index % 2 === 0 ? writ : node, world.triage, form)),
    );
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, ...Array.from({ length: 11 }, () => 401)]);
  });

  test('an assertion is used up by a request that is refused', async () => {
    for (const form of [{ scope: 'nothing' }, { grant_type: 'unknown' }, { scope: [readIntent, readIntent] }]) {
      const assertion = makeAssertion(writ, world.triage);
      expect((await ask(assertion, form)).status).toBe(400);
      expectRefused(await ask(assertion));
    }
  });

  test('but not by one whose signature is wrong: nobody can use up what is not theirs', async () => {
    const jti = randomUUID();
    const forger: KeyedAgent = { ...world.billing, id: world.triage.id };
    expectRefused(await ask(makeAssertion(writ, forger, { jti })));
    expect((await askWith({ jti })).status).toBe(200);
  });

  test('the same jti of another agent is another assertion', async () => {
    const jti = randomUUID();
    expect((await askWith({ jti })).status).toBe(200);
    expect((await ask(makeAssertion(writ, world.billing, { jti }))).status).toBe(200);
  });

  test('introspection and revocation use one up as well', async () => {
    expect((await introspectBy(writ, world.triage, 'x')).status).toBe(200);
    expect((await revokeBy(writ, world.triage, 'x')).status).toBe(200);
    for (const path of ['introspect', 'revoke']) {
      const form = { token: 'x', ...withAssertion(makeAssertion(writ, world.triage)) };
      expect((await postForm(`${writ.url}/oauth/${path}`, form)).status).toBe(200);
      expectRefused(await postForm(`${writ.url}/oauth/${path}`, form));
    }
  });
});
