import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { revoke } from '../../src/domain/revocation/revoke.ts';
import { publish, readFeed, sweep } from '../../src/domain/signals/feed.ts';
import { transaction } from '../../src/platform/db/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import {
  type ApiCredentials,
  encodeBasic,
  type FeedNode,
  openFeed,
  registerApi,
  startFeedNode,
  writeReceipt,
} from '../support/feed.ts';

let database: TestDatabase;
let node: FeedNode;
let api: ApiCredentials;

beforeAll(async () => {
  database = await createTestDatabase();
  node = await startFeedNode(database.url);
  api = await registerApi(node.sql);
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await database.drop();
});
beforeEach(async () => {
  await haveRead();
  await node.sql`truncate revocations, subjects, acknowledgements`;
  await node.sql`update feed set swept = seq`;
});

const revokeIds = (...ids: string[]) =>
  transaction(node.db, (tx) =>
    revoke(
      tx,
      ids.map((id) => ({ id })),
    ),
  );
/** A node that finds entries swept which it has not read ends its streams; here it has always read them. */
const haveRead = async () => {
  const { head } = await readFeed(node.db, 0, 0);
  await expect.poll(() => node.feed.position()).toBe(head);
};
const expireAll = () => node.sql`update revocations set expires_at = now() - interval '1 second'`;
const join = (lastEventId?: number) => openFeed(node.url, api.authorization, lastEventId);

test('design §5: a stream begins with a snapshot, then come revocations and heartbeats', async () => {
  const seq = await revokeIds('agent');
  await using feed = await join();
  expect(feed.response.status).toBe(200);
  expect(Object.fromEntries(feed.response.headers)).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  const first = await feed.next();
  expect(first).toMatchObject({ event: 'snapshot', id: String(seq), data: { seq, keys: [], checkpoint: null } });
  expect(first?.data.revocations).toEqual([{ subject: 'agent', epoch: 1 }]);
  expect(Math.abs(Date.parse(String(first?.data.readAt)) - Date.now())).toBeLessThan(5_000);

  await revokeIds('agent');
  const live = await feed.next('revocation');
  expect(live).toEqual({
    event: 'revocation',
    id: String(seq + 1),
    data: { seq: seq + 1, subject: 'agent', epoch: 2, at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) },
  });
  await transaction(node.db, (tx) => publish(tx, [{ kid: 'key-1' }]));
  expect((await feed.next('revocation'))?.data).toMatchObject({ seq: seq + 2, kid: 'key-1' });

  const heartbeat = await feed.next('heartbeat');
  expect(heartbeat).toEqual({
    event: 'heartbeat',
    id: undefined,
    data: { seq: seq + 2, readAt: expect.any(String), checkpoint: null },
  });
});

test('design §5: heartbeats come at least every second and carry the latest checkpoint', async () => {
  await node.sql`insert into checkpoints (number, hash, jws) values (1, '', 'first'), (2, '', 'second')`;
  await using feed = await join();
  expect((await feed.next('snapshot'))?.data.checkpoint).toBe('second');
  await feed.next('heartbeat');
  const arrivals: number[] = [];
  for (let beat = 0; beat < 4; beat++) {
    expect((await feed.next('heartbeat'))?.data.checkpoint).toBe('second');
    arrivals.push(performance.now());
  }
  const gaps = arrivals.slice(1).map((at, index) => at - (arrivals[index] ?? 0));
  expect(Math.max(...gaps)).toBeLessThan(1_250);
  await node.sql`delete from checkpoints`;
});

test('design §5: Last-Event-ID resumes with what was missed, in order, and then goes on', async () => {
  const seq = await revokeIds('a', 'b', 'c');
  await using feed = await join(seq - 2);
  expect((await feed.next())?.data).toMatchObject({ seq: seq - 1, subject: 'b' });
  expect((await feed.next())?.data).toMatchObject({ seq, subject: 'c' });
  expect(await feed.next()).toMatchObject({ event: 'heartbeat', data: { seq } });
  await revokeIds('d');
  expect((await feed.next('revocation', 'snapshot'))?.data).toMatchObject({ seq: seq + 1, subject: 'd' });
});

test('design §5: resuming over more rows than one read takes loses none', async () => {
  const before = node.feed.position();
  const ids = Array.from({ length: 2_500 }, (_, index) => `agent-${index}`);
  const seq = await revokeIds(...ids);
  await using feed = await join(before);
  for (let expected = before + 1; expected <= seq; expected++) {
    expect((await feed.next('revocation', 'snapshot'))?.data.seq).toBe(expected);
  }
});

test('design §5: who is up to date resumes with a heartbeat at once, without a snapshot', async () => {
  const seq = await revokeIds('a');
  await using feed = await join(seq);
  expect(await feed.next()).toMatchObject({ event: 'heartbeat', data: { seq } });
});

test('design §5: a Last-Event-ID that the table does not reach, or never reached, gets a snapshot', async () => {
  const old = await revokeIds('a', 'b');
  await haveRead();
  await expireAll();
  await sweep(node.db);
  const seq = await revokeIds('c');
  for (const id of [old - 1, seq + 1, 99_999_999]) {
    await using feed = await join(id);
    expect(await feed.next(), `${id}`).toMatchObject({
      event: 'snapshot',
      data: { seq, revocations: [{ subject: 'c', epoch: 1 }] },
    });
  }
  await using feed = await join(old);
  expect(await feed.next()).toMatchObject({ event: 'revocation', data: { seq, subject: 'c' } });
});

test('design §5: verifiers that join while others revoke see every number once', async () => {
  const start = node.feed.position();
  let isDone = false;
  const writing = (async () => {
    for (let round = 0; round < 40; round++) await Promise.all([revokeIds(`x${round}`), revokeIds(`y${round}`, 'z')]);
    isDone = true;
  })();
  const verifiers: Promise<void>[] = [];
  while (!isDone) {
    verifiers.push(followTo(start + 120));
    await delay(10);
  }
  await writing;
  expect(verifiers.length).toBeGreaterThan(5);
  await Promise.all(verifiers);

  async function followTo(goal: number): Promise<void> {
    await using feed = await join();
    let seq = Number((await feed.next('snapshot'))?.data.seq);
    while (seq < goal) expect((await feed.next('revocation', 'snapshot'))?.data.seq).toBe(++seq);
  }
});

test('RFC 7617 and RFC 6749 §2.3.1: only the feed credentials of an API open the feed', async () => {
  const other = await registerApi(node.sql);
  const wrong = [
    undefined,
    `Bearer ${api.secret}`,
    'Basic',
    'Basic ***',
    `Basic ${Buffer.from('no colon').toString('base64')}`,
    `Basic ${Buffer.from('%zz:%').toString('base64')}`,
    encodeBasic(api.clientId, `${api.secret}x`),
    encodeBasic(api.clientId, other.secret),
    encodeBasic(api.clientId, '\0'),
    encodeBasic('somebody', api.secret),
  ];
  for (const authorization of wrong) {
    for (const [method, path] of [
      ['GET', ''],
      ['POST', '/ack'],
    ] as const) {
      const response = await fetch(`${node.url}${path}`, {
        method,
        ...(authorization ? { headers: { authorization } } : {}),
      });
      expect(response.status, `${method} ${authorization}`).toBe(401);
      expect(response.headers.get('www-authenticate')).toMatch(/^Basic realm="/);
      expect(response.headers.get('content-type')).toBe('application/problem+json');
      expect(await response.json()).toMatchObject({ status: 401, code: 'unauthenticated' });
    }
  }
  const encoded = [...api.secret].map((char) => `%${char.charCodeAt(0).toString(16)}`).join('');
  const authorization = `basic ${Buffer.from(`${api.clientId}:${encoded}`).toString('base64')}`;
  await using feed = await openFeed(node.url, authorization);
  expect(feed.response.status).toBe(200);
});

test('RFC 9110 §15.5.6: other methods are refused, and a HEAD leaves no stream behind', async () => {
  const headers = { authorization: api.authorization };
  for (const [method, path, allow] of [
    ['HEAD', '', 'GET'],
    ['POST', '', 'GET'],
    ['GET', '/ack', 'POST'],
    ['DELETE', '/ack', 'POST'],
  ] as const) {
    const response = await fetch(`${node.url}${path}`, { method, headers });
    expect([response.status, response.headers.get('allow')], `${method} ${path}`).toEqual([405, allow]);
  }
  await expect.poll(() => node.feed.subscribers()).toBe(0);
});

test('design §5: an acknowledgement is recorded once', async () => {
  const seq = await revokeIds('person');
  await writeReceipt(node.sql, seq);
  const body = { seq, verifier: 'crm-1' };
  expect((await acknowledge(body)).status).toBe(204);
  expect((await acknowledge(body)).status).toBe(204);
  expect(await node.sql`select api_id, verifier, seq from acknowledgements`).toEqual([
    { api_id: api.id, verifier: 'crm-1', seq: String(seq) },
  ]);
});

test('RFC 9457: a wrong acknowledgement is a clear problem and changes nothing', async () => {
  const seq = await revokeIds('agent');
  const wrong = [
    { seq: seq + 1, verifier: 'crm-1' },
    { seq: String(seq), verifier: 'crm-1' },
    { seq: -1, verifier: 'crm-1' },
    { seq, verifier: '' },
    { seq, verifier: 'line\nbreak' },
    { seq, verifier: 'x'.repeat(201) },
    { seq, verifier: 'crm-1', more: 1 },
    { seq },
    [],
    `{"seq": ${seq}, "seq": 1, "verifier": "crm-1"}`,
    `{"seq": ${seq}, "verifier": "\\u0000"}`,
    '{',
    '',
  ];
  for (const body of wrong) {
    const response = await acknowledge(body);
    expect(response.status, JSON.stringify(body)).toBe(400);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(await response.json()).toMatchObject({ code: 'invalid_request' });
  }
  expect((await acknowledge({ seq, verifier: 'crm-1' }, 'text/plain')).status).toBe(415);
  expect((await acknowledge(' '.repeat(10_000_000))).status).toBe(413);
  expect(await node.sql`select from acknowledgements`).toHaveLength(0);
});

test('a verifier that goes away is forgotten', async () => {
  await expect.poll(() => node.feed.subscribers()).toBe(0);
  const feeds = await Promise.all(Array.from({ length: 20 }, () => join()));
  for (const feed of feeds) await feed.next('snapshot');
  expect(node.feed.subscribers()).toBe(20);
  for (const feed of feeds) await feed[Symbol.asyncDispose]();
  await expect.poll(() => node.feed.subscribers()).toBe(0);
});

test('closing ends all streams at once and opens no more', async () => {
  const closing = await startFeedNode(database.url);
  const feed = await openFeed(closing.url, api.authorization);
  await feed.next('snapshot');
  const before = performance.now();
  await closing.feed.close();
  while (await feed.next());
  expect(performance.now() - before).toBeLessThan(1_000);
  const response = await fetch(closing.url, { headers: { authorization: api.authorization } });
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
  await closing[Symbol.asyncDispose]();
});

async function acknowledge(body: unknown, type = 'application/json'): Promise<Response> {
  return await fetch(`${node.url}/ack`, {
    method: 'POST',
    headers: { authorization: api.authorization, 'content-type': type },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}
