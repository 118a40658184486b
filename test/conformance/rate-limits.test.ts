/** RFC 6585 §4 and draft-ietf-httpapi-ratelimit-headers-10, at every edge in its own form of errors. */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asApi, basic, createSecretAgent, introspectAs } from '../support/oauth.ts';
import { askToken, createWorld, crm, must, postForm, type World } from '../support/world.ts';
import { type Answer, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

const askBySecret = (writ: TestWrit, agent: { id: string; secret: string }): Promise<Answer> =>
  postForm(
    `${writ.url}/oauth/token`,
    { grant_type: 'client_credentials', resource: crm, scope: 'incident_remediation.ticket_read' },
    basic(agent.id, agent.secret),
  );

function expectLimited(answer: Answer, policy: string): void {
  expect(answer.status).toBe(429);
  expect(answer.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
  expect(answer.headers.get('ratelimit-policy')).toMatch(new RegExp(`^"${policy}";q=\\d+;w=\\d+$`));
  expect(answer.headers.get('ratelimit')).toMatch(new RegExp(`^"${policy}";r=0;t=\\d+$`));
  expect(answer.headers.get('www-authenticate')).toBeNull();
}

/** Until it answers 429, at most `count` times. Rates in these tests are so low that speed does not matter. */
async function exhaust(count: number, act: () => Promise<Answer>): Promise<{ before: Answer[]; limited: Answer }> {
  const before: Answer[] = [];
  for (let n = 0; n < count; n++) {
    const answer = await act();
    if (answer.status === 429) return { before, limited: answer };
    before.push(answer);
  }
  throw new Error(`not limited after ${count}`);
}

describe('one client, one directory', () => {
  let writ: TestWrit;
  let world: World;
  beforeAll(async () => {
    writ = await startWrit({ env: { WRIT_RATE_CLIENT: '1', WRIT_RATE_DIRECTORY: '1' } });
    world = await createWorld(writ);
  });
  afterAll(() => writ.close());

  test('a client that asks too often gets 429 with the fields, others do not, and it recovers', async () => {
    const agent = await createSecretAgent(writ, world);
    const other = await createSecretAgent(writ, world);
    const first = must(await askBySecret(writ, agent));
    expect(first.headers.get('ratelimit-policy')).toBe('"client";q=20;w=20');
    expect(first.headers.get('ratelimit')).toMatch(/^"client";r=1\d;t=\d+$/);
    const { limited } = await exhaust(200, () => askBySecret(writ, agent));
    expectLimited(limited, 'client');
    expect(limited.body).toMatchObject({ error: 'temporarily_unavailable' });
    expect((await askBySecret(writ, other)).status).toBe(200);
    await expect
      .poll(async () => (await askBySecret(writ, agent)).status, { timeout: 20_000, interval: 500 })
      .toBe(200);
  });

  test('a stranger who claims the id of a client uses nothing up, by whatever door', async () => {
    const agent = await createSecretAgent(writ, world);
    for (let n = 0; n < 30; n++) {
      expect((await askBySecret(writ, { ...agent, secret: 'wrong' })).status).toBe(401);
      expect((await postForm(`${writ.url}/oauth/token`, { grant_type: 'x', client_id: agent.id })).status).toBe(401);
    }
    expect((await askBySecret(writ, agent)).headers.get('ratelimit')).toMatch(/^"client";r=19;/);
  });

  test('an id that is written otherwise is the same client', async () => {
    const agent = await createSecretAgent(writ, world);
    const spelled = {
      authorization: `Basic ${Buffer.from(`%${agent.id.charCodeAt(0).toString(16)}${agent.id.slice(1)}:${agent.secret}`).toString('base64')}`,
    };
    const { limited } = await exhaust(200, () =>
      postForm(`${writ.url}/oauth/token`, { grant_type: 'client_credentials', resource: crm }, spelled),
    );
    expectLimited(limited, 'client');
    expectLimited(await askBySecret(writ, agent), 'client');
  });

  test('with a key, at introspection and at revocation it is the same bucket', async () => {
    const agent = await world.createAgent({ owner: world.bob, environment: 'production' });
    const { before } = await exhaust(200, () => askToken(writ, agent));
    expect(before.length).toBeGreaterThanOrEqual(20);
    const { limited } = await exhaust(200, () => introspectAs(writ, asApi(world.api), 'x'));
    expectLimited(limited, 'client');
    expectLimited(await postForm(`${writ.url}/oauth/revoke`, { token: 'x' }, asApi(world.api)), 'client');
  });

  test('a directory that asks too often gets SCIM’s 429, and somebody’s departure is still taken, however it is said', async () => {
    const { body: directory } = must(await writ.admin('POST', '/directories', { name: randomUUID(), kind: 'okta' }));
    const call = async (method: string, path: string, body?: unknown): Promise<Answer> =>
      readAnswer(
        await fetch(`${directory.scimUrl}${path}`, {
          method,
          headers: { authorization: `Bearer ${directory.scimToken}`, 'content-type': 'application/scim+json' },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      );
    const make = async () => must(await call('POST', '/Users', { userName: `${randomUUID()}@example.com` })).body;
    const people = [await make(), await make(), await make()];
    expect((await call('GET', '/Users?count=0')).headers.get('ratelimit-policy')).toBe(
      '"client";q=20;w=20'.replace('client', 'directory'),
    );
    const { limited } = await exhaust(200, () => call('GET', '/Users?count=0'));
    expectLimited(limited, 'directory');
    expect(limited.headers.get('content-type')).toMatch(/^application\/scim\+json/);
    expect(limited.body).toMatchObject({ schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'], status: '429' });

    const [first, second, third] = people;
    const leave = { Operations: [{ op: 'Replace', path: 'active', value: 'False' }] };
    const answers = [
      await call('PATCH', `/Users/${first.id}`, leave),
      await call('PUT', `/Users/${second.id}`, { userName: second.userName, active: false }),
      await call('DELETE', `/Users/${third.id}`),
    ];
    for (const answer of answers) {
      expect(answer.status).toBeLessThan(300);
      expect(answer.headers.get('writ-offboarding')).toBeTruthy();
    }
    await exhaust(200, () => call('POST', '/Users', { userName: `${randomUUID()}@example.com` }));
    // A search says nothing of anybody, whatever stands in it.
    const search = await exhaust(400, () => call('POST', '/Users/.search', { active: false }));
    expectLimited(search.limited, 'directory');
  });

  test('a directory may have a rate of its own, and removal from the group that it requires is never refused for it', async () => {
    const { body: directory } = must(await writ.admin('POST', '/directories', { name: randomUUID(), kind: 'generic' }));
    const call = async (method: string, path: string, body?: unknown): Promise<Answer> =>
      readAnswer(
        await fetch(`${directory.scimUrl}${path}`, {
          method,
          headers: { authorization: `Bearer ${directory.scimToken}`, 'content-type': 'application/scim+json' },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      );
    const people = [1, 2, 3].map(async () => must(await call('POST', '/Users', { userName: randomUUID() })).body.id);
    const members = (await Promise.all(people)).map((value) => ({ value }));
    const group = must(await call('POST', '/Groups', { displayName: 'Owners', members })).body.id;
    const settings = { requiredGroup: group, requestsPerMinute: 3 };
    must(await writ.admin('PATCH', `/directories/${directory.id}`, settings));
    const { before, limited } = await exhaust(10, () => call('GET', '/Users?count=0'));
    expect(before).toHaveLength(3);
    expect(limited.headers.get('ratelimit-policy')).toBe('"directory";q=3;w=60');
    expectLimited(limited, 'directory');
    const [first, second, third] = members;
    const remove = { Operations: [{ op: 'Remove', path: 'members', value: [first] }] };
    const answers = [
      await call('PATCH', `/Groups/${group}`, remove),
      await call('PUT', `/Groups/${group}`, { displayName: 'Owners', members: [third] }),
      await call('DELETE', `/Groups/${group}`),
    ];
    for (const answer of answers) {
      expect(answer.status).toBeLessThan(300);
      expect(answer.headers.get('writ-offboarding')).toBeTruthy();
    }
    const addition = { Operations: [{ op: 'add', path: 'members', value: [second] }] };
    expect((await call('PATCH', `/Groups/${group}`, addition)).status).toBe(429);
    must(await writ.admin('PATCH', `/directories/${directory.id}`, { requestsPerMinute: 100_000 }));
    await Promise.all(Array.from({ length: 60 }, async () => must(await call('GET', '/Users?count=0'))));
  });
});

describe('callers without a good credential', () => {
  let writ: TestWrit;
  let world: World;
  let sql: postgres.Sql;
  beforeAll(async () => {
    writ = await startWrit({ env: { WRIT_RATE_FAILURES: '1' } });
    world = await createWorld(writ);
    sql = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
  });
  afterAll(async () => {
    await sql.end();
    await writ.close();
  });

  const send = async (path: string, headers: Record<string, string>): Promise<Answer> =>
    readAnswer(await fetch(`${writ.url}${path}`, { headers }));
  const refusals = async (): Promise<number> => {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int as count from audit_entries where kind in ('client.refused', 'token.refused', 'scim.refused', 'admin.refused')`;
    return row?.count ?? 0;
  };

  test('are refused with 429 past the limit, at every edge and without a record; a good credential never is', async () => {
    const agent = await createSecretAgent(writ, world);
    const wrong = { authorization: `Bearer ${'x'.repeat(40)}` };
    const recordedBefore = await refusals();
    const { before, limited } = await exhaust(300, () => askBySecret(writ, { ...agent, secret: 'wrong' }));
    expect(before.every(({ status }) => status === 401)).toBe(true);
    expect(before.length).toBeGreaterThanOrEqual(40);
    expectLimited(limited, 'failures');
    expect(limited.body).toEqual({ error: 'temporarily_unavailable', error_description: expect.any(String) });
    expect(limited.headers.get('cache-control')).toBe('no-store');

    const scim = (await exhaust(20, () => send('/scim/v2/Users', wrong))).limited;
    expectLimited(scim, 'failures');
    expect(scim.body).toMatchObject({ status: '429' });
    const admin = (await exhaust(20, () => send('/api/v1/agents', wrong))).limited;
    expectLimited(admin, 'failures');
    expect(admin.body).toMatchObject({ type: 'about:blank', status: 429, code: 'rate_limited' });
    const feed = (await exhaust(20, () => send('/revocations', basic('nobody', 'nothing')))).limited;
    expectLimited(feed, 'failures');
    expect(feed.body).toMatchObject({ status: 429, code: 'rate_limited' });
    await exhaust(20, () => send('/scim/v2/Users', {}));
    await exhaust(20, () => send('/api/v1/agents', {}));
    await exhaust(20, () => postForm(`${writ.url}/oauth/introspect`, { token: 'x' }));

    // Whoever proves who they are is not the flood, though it comes from the same address.
    must(await askBySecret(writ, agent));
    must(await askToken(writ, world.triage, { scope: 'incident_remediation.ticket_read' }));
    must(await writ.admin('GET', '/agents'));
    must(await world.scim('GET', '/Users?count=0'));
    must(await introspectAs(writ, asApi(world.api), 'x'));

    // The bucket's 40, and what the second it takes to refill gave on the way: never one for each attempt.
    const recorded = await refusals();
    await Promise.all(Array.from({ length: 60 }, () => askBySecret(writ, { ...agent, secret: 'wrong' })));
    const more = (await refusals()) - recorded;
    expect(recorded - recordedBefore).toBeGreaterThanOrEqual(40);
    expect(more).toBeLessThan(30);
  });
});

test('by default sixteen parallel requests of one client, and hundreds in a row, are not limited', async () => {
  await using writ = await startWrit();
  const world = await createWorld(writ);
  const agent = await createSecretAgent(writ, world);
  const statuses = new Set<number>();
  const keepAsking = async () => {
    for (let n = 0; n < 25; n++) statuses.add((await askBySecret(writ, agent)).status);
  };
  await Promise.all(Array.from({ length: 16 }, keepAsking));
  expect([...statuses]).toEqual([200]);
});
