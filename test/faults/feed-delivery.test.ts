import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { revoke } from '../../src/domain/revocation/revoke.ts';
import { transaction } from '../../src/platform/db/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type ApiCredentials, type FeedNode, openFeed, registerApi, startFeedNode } from '../support/feed.ts';

let database: TestDatabase;
let node: FeedNode;
/** A second node on the same database, which no notification reaches. */
let deafNode: FeedNode;
let api: ApiCredentials;

beforeAll(async () => {
  database = await createTestDatabase();
  node = await startFeedNode(database.url, { bufferBytes: 64 * 1024 });
  deafNode = await startFeedNode(database.url, { deaf: true });
  api = await registerApi(node.sql);
});
afterAll(async () => {
  await deafNode[Symbol.asyncDispose]();
  await node[Symbol.asyncDispose]();
  await database.drop();
});

const revokeIds = (...ids: string[]) =>
  transaction(node.db, (tx) =>
    revoke(
      tx,
      ids.map((id) => ({ id })),
    ),
  );

test('a node that misses every notification delivers by polling, within a second', async () => {
  await using near = await openFeed(node.url, api.authorization);
  await using far = await openFeed(deafNode.url, api.authorization);
  await near.next('snapshot');
  let seq = Number((await far.next('snapshot'))?.data.seq);
  for (let round = 0; round < 5; round++) {
    await revokeIds('agent');
    const before = performance.now();
    expect((await near.next('revocation'))?.data.seq).toBe(++seq);
    expect((await far.next('revocation'))?.data.seq).toBe(seq);
    expect(performance.now() - before).toBeLessThan(1_000);
  }
});

test('a verifier that does not read is cut off; the others get everything in time; it resumes without a loss', async () => {
  await using brisk = await openFeed(node.url, api.authorization);
  const start = Number((await brisk.next('snapshot'))?.data.seq);
  const stuck = await openStuck();
  await expect.poll(() => node.feed.subscribers()).toBe(2);

  let seq = start;
  const ids = Array.from({ length: 1_000 }, (_, index) => `${index}-${'x'.repeat(200)}`);
  for (let round = 0; round < 60 && node.feed.subscribers() === 2; round++) {
    await revokeIds(...ids);
    for (let index = 0; index < ids.length; index++) {
      expect((await brisk.next('revocation'))?.data.seq).toBe(++seq);
    }
  }
  expect(node.feed.subscribers()).toBe(1);
  stuck.resume();
  if (!stuck.destroyed) await Promise.race([once(stuck, 'close'), delay(5_000)]);
  expect(stuck.destroyed).toBe(true);

  await using resumed = await openFeed(node.url, api.authorization, start);
  for (let expected = start + 1; expected <= seq; expected++) {
    expect((await resumed.next('revocation', 'snapshot'))?.data.seq).toBe(expected);
  }
});

/** A connection that asks for the feed and then never takes a byte from the socket. */
async function openStuck() {
  const { hostname, port, pathname } = new URL(node.url);
  const socket = connectSocket({ host: hostname, port: Number(port) });
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.pause();
  socket.write(`GET ${pathname} HTTP/1.1\r\nhost: writ\r\nauthorization: ${api.authorization}\r\n\r\n`);
  return socket;
}
