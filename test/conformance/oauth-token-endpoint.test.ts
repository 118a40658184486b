import fc from 'fast-check';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asApi, basic, createSecretAgent, send, sendForm, withAssertion } from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  crm,
  encodeForm,
  makeAssertion,
  postForm,
  readIntent,
  type World,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let secret: { id: string; secret: string };
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  secret = await createSecretAgent(writ, world);
});
afterAll(() => writ.close());

const grant = `grant_type=client_credentials&resource=${encodeURIComponent(crm)}&scope=${readIntent}`;
const post = (form: string, headers: Record<string, string> = {}) => sendForm(writ, form, headers);
const postBySecret = (form: string) => post(form, basic(secret.id, secret.secret));

function expectError(answer: Answer, status: number, error: string): void {
  expect([answer.status, answer.body.error]).toEqual([status, error]);
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  // RFC 6749 §5.2: printable ASCII without `"` and `\`.
  expect(answer.body.error_description).toMatch(/^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/);
}

describe('RFC 6749 §2.3: client authentication', () => {
  test('§2.3.1: Basic with id and secret form-urlencoded, and both in the body', async () => {
    expect((await postBySecret(grant)).status).toBe(200);
    const encoded = [...`${secret.id}`].map((c) => (c === '-' ? '%2D' : c)).join('');
    const header = Buffer.from(`${encoded}:${secret.secret.replaceAll('_', '%5f')}`).toString('base64');
    expect((await post(grant, { authorization: `basic ${header}` })).status).toBe(200);
    const form = { client_id: secret.id, client_secret: secret.secret };
    expect((await post(`${grant}&${new URLSearchParams(form)}`)).status).toBe(200);
  });

  test('a wrong secret and an unknown client are the same answer: who exists is not told', async () => {
    const unknown = '00000000-0000-4000-8000-000000000000';
    const wrong = await post(grant, basic(secret.id, 'wrong'));
    const nobody = await post(grant, basic(unknown, 'wrong'));
    const keyed = await post(grant, basic(world.triage.id, 'wrong'));
    const forged = await post(
      `${grant}&${encodeForm(withAssertion(makeAssertion(writ, { ...world.triage, id: unknown })))}`,
    );
    for (const answer of [wrong, nobody, keyed, forged]) {
      expectError(answer, 401, 'invalid_client');
      expect(answer.body).toEqual(wrong.body);
    }
    expect(wrong.headers.get('www-authenticate')).toMatch(/^Basic realm="/);
    expect(nobody.headers.get('www-authenticate')).toBe(wrong.headers.get('www-authenticate'));
    expect(forged.headers.get('www-authenticate')).toBeNull();
  });

  test('§5.2: no authentication, another scheme and an unreadable header are invalid_client', async () => {
    expectError(await post(grant), 401, 'invalid_client');
    expectError(await post(`${grant}&client_id=${secret.id}`), 401, 'invalid_client');
    expectError(await post(`${grant}&client_id=${secret.id}&client_secret=&client_assertion=`), 401, 'invalid_client');
    for (const authorization of [
      'Bearer abc',
      'Basic',
      'Basic !!!',
      `Basic ${Buffer.from('no-colon').toString('base64')}`,
      `Basic ${Buffer.from('%zz:%zz').toString('base64')}`,
      `Basic ${Buffer.from('%00:%00').toString('base64')}`,
      `Basic ${Buffer.from(`${secret.id}:`).toString('base64')}`,
      `Basic ${Buffer.from([0xff, 0xfe, 0x3a, 0xff]).toString('base64')}`,
      'Digest username="x"',
    ]) {
      const answer = await post(grant, { authorization });
      expectError(answer, 401, 'invalid_client');
      expect(answer.headers.get('www-authenticate')).toMatch(/^Basic realm="/);
    }
  });

  test('§2.3: two methods at once are a malformed request', async () => {
    const inBody = `client_id=${secret.id}&client_secret=${secret.secret}`;
    const assertion = encodeForm(withAssertion(makeAssertion(writ, world.triage)));
    expectError(await postBySecret(`${grant}&${inBody}`), 400, 'invalid_request');
    expectError(await postBySecret(`${grant}&${assertion}`), 400, 'invalid_request');
    expectError(await post(`${grant}&${inBody}&${assertion}`), 400, 'invalid_request');
    expectError(await postBySecret(`${grant}&client_id=${world.triage.id}`), 400, 'invalid_request');
  });

  test('feed credentials of an API get no token', async () => {
    expectError(await post(grant, asApi(world.api)), 400, 'unauthorized_client');
    const exchange = 'grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=x&subject_token_type=y';
    expectError(await post(exchange, asApi(world.api)), 400, 'unauthorized_client');
  });

  test('a failed authentication is recorded, with the check that failed, which the caller is not told', async () => {
    const answer = await post(grant, basic(secret.id, 'wrong'));
    const { body } = await writ.admin('GET', `/audit?kind=client.refused&agent=${secret.id}&limit=1`);
    expect(JSON.stringify(body.items)).toContain('invalid secret provided');
    expect(JSON.stringify(answer.body)).not.toContain('secret');
  });

  test('a key that is taken away while a request waits no longer gets it a token', async () => {
    const agent = await world.createAgent({ owner: world.bob, environment: 'production' });
    const sql = postgres(writ.databaseUrl, { max: 1 });
    const waiting = async (count: number) => {
      for (;;) {
        const [row] = await sql`select count(*)::int as n from pg_locks where locktype = 'advisory' and not granted
          and database = (select oid from pg_database where datname = current_database())`;
        if (row?.n >= count) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    try {
      await sql`select pg_advisory_lock(owner_lock_key(${world.bob}))`;
      const change = writ.admin('PATCH', `/agents/${agent.id}`, { credential: { secret: true } });
      await waiting(1);
      const asked = askToken(writ, agent, { scope: readIntent });
      await waiting(2);
      await sql`select pg_advisory_unlock(owner_lock_key(${world.bob}))`;
      expect((await change).status).toBe(200);
      expectError(await asked, 401, 'invalid_client');
    } finally {
      await sql.end();
    }
  });
});

describe('RFC 6749 §3.2: the request', () => {
  test('§5.1: a token is not to be stored', async () => {
    const answer = await postBySecret(grant);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    expect(answer.body).toMatchObject({ token_type: 'Bearer', expires_in: 300, scope: readIntent });
    expect(answer.body.refresh_token).toBeUndefined();
  });

  test('§3.2: a parameter without a value is one that was not sent, an unknown one is ignored', async () => {
    expect((await postBySecret(`${grant}&authorization_details=&audience=&foo=1&foo=2&client_assertion=`)).status).toBe(
      200,
    );
    expectError(await postBySecret('grant_type=&resource=x'), 400, 'invalid_request');
    expectError(await postBySecret(''), 400, 'invalid_request');
    const none = await postBySecret('grant_type=client_credentials&resource=');
    expect(none.body).toMatchObject({ error: 'invalid_target', reason: 'resource_required' });
  });

  test('§3.2: a parameter that is sent twice is refused, whatever it says', async () => {
    const details = encodeURIComponent(JSON.stringify([{ type: 'agent_intent', task_intent: readIntent }]));
    for (const extra of [
      'grant_type=client_credentials',
      `scope=${readIntent}`,
      'scope=',
      `authorization_details=${details}&authorization_details=${details}`,
      `client_id=${secret.id}&client_id=${secret.id}`,
      'client_assertion=a&client_assertion=b',
    ]) {
      expectError(await postBySecret(`${grant}&${extra}`), 400, 'invalid_request');
    }
  });

  test('§3.2: POST only', async () => {
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const answer = await send(`${writ.url}/oauth/token?${grant}`, {
        method,
        headers: basic(secret.id, secret.secret),
      });
      expect([method, answer.status]).toEqual([method, 405]);
      expect(answer.headers.get('allow')).toBe('POST');
    }
    // What stands in the address is not part of the request.
    const query = await send(`${writ.url}/oauth/token?${grant}`, {
      method: 'POST',
      headers: basic(secret.id, secret.secret),
    });
    expectError(query, 400, 'invalid_request');
  });

  test('appendix B: only a form in UTF-8', async () => {
    for (const type of [
      'application/json',
      'text/plain',
      'multipart/form-data; boundary=x',
      'application/x-www-form-urlencoded-not',
      'application/x-www-form-urlencoded; charset=utf-16le',
      'application/x-www-form-urlencoded; charset=iso-2022-jp',
    ]) {
      const answer = await post(grant, { ...basic(secret.id, secret.secret), 'content-type': type });
      expectError(answer, 400, 'invalid_request');
    }
    for (const type of ['application/x-www-form-urlencoded;charset=UTF-8', 'Application/X-WWW-Form-Urlencoded']) {
      expect((await post(grant, { ...basic(secret.id, secret.secret), 'content-type': type })).status).toBe(200);
    }
    for (const bytes of ['scope=%00', 'scope=%ff', 'scope=%', 'scope=%zz', 'a=b%00', '%00=1']) {
      expectError(await postBySecret(`${grant}&${bytes}`), 400, 'invalid_request');
    }
    for (const raw of [Buffer.from([0x61, 0x3d, 0xff]), Buffer.from([0x61, 0x3d, 0x00])]) {
      const headers = { 'content-type': 'application/x-www-form-urlencoded', ...basic(secret.id, secret.secret) };
      const answer = await send(`${writ.url}/oauth/token`, { method: 'POST', headers, body: raw });
      expectError(answer, 400, 'invalid_request');
    }
  });

  test('a body of 10 MB is refused, announced or in chunks, and the next request is answered', async () => {
    const body = Buffer.alloc(10 * 1024 * 1024, 'a');
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const inChunks = () =>
      new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(body);
          controller.close();
        },
      });
    for (const sent of [body, inChunks()]) {
      const answer = await send(`${writ.url}/oauth/token`, { method: 'POST', headers, body: sent, duplex: 'half' });
      expectError(answer, 413, 'invalid_request');
    }
    expect((await postBySecret(grant)).status).toBe(200);
  });
});

test('no form whatever gets a 5xx', async () => {
  const names = [
    'grant_type',
    'scope',
    'resource',
    'audience',
    'authorization_details',
    'subject_token',
    'subject_token_type',
    'actor_token',
    'actor_token_type',
    'requested_token_type',
    'client_id',
    'client_assertion',
    'client_assertion_type',
    'client_secret',
    '__proto__',
    'toString',
  ];
  const values = [
    'client_credentials',
    'urn:ietf:params:oauth:grant-type:token-exchange',
    readIntent,
    crm,
    'urn:ietf:params:oauth:token-type:access_token',
    '[]',
    '[{"type":"agent_intent"}]',
    'a.b.c',
    secret.id,
  ];
  const value = fc.oneof(fc.constantFrom(...values), fc.string({ unit: 'binary' }), fc.json());
  const pair = fc.tuple(
    fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, { weight: 1, arbitrary: fc.string() }),
    value,
  );
  const withGrant = fc.option(fc.constantFrom('client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange'));
  await fc.assert(
    fc.asyncProperty(fc.array(pair, { maxLength: 8 }), withGrant, fc.boolean(), async (pairs, type, authenticated) => {
      const form = new URLSearchParams(pairs.map(([name, text]): [string, string] => [name, text.toWellFormed()]));
      if (type !== null) form.set('grant_type', type);
      const answer = await post(form.toString(), authenticated ? basic(secret.id, secret.secret) : {});
      expect(answer.status).toBeLessThan(500);
      expect(answer.status === 200 || typeof answer.body.error === 'string').toBe(true);
    }),
    { numRuns: 250 },
  );
});

test('introspection and revocation take no form to a 5xx either', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), fc.constantFrom('introspect', 'revoke'), async (token, path) => {
      const form = { token: token.toWellFormed(), token_type_hint: token.toWellFormed() };
      const answer = await postForm(`${writ.url}/oauth/${path}`, form, basic(secret.id, secret.secret));
      expect(answer.status).toBeLessThan(500);
    }),
    { numRuns: 60 },
  );
});
