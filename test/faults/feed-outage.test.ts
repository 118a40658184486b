import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { revoke } from '../../src/domain/revocation/revoke.ts';
import { sweep } from '../../src/domain/signals/feed.ts';
import { connect, type Database, transaction } from '../../src/platform/db/client.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type DatabaseProxy, startProxy } from '../support/database-proxy.ts';
import { type ApiCredentials, type FeedNode, openFeed, registerApi, startFeedNode } from '../support/feed.ts';

let database: TestDatabase;
let proxy: DatabaseProxy;
/** Reaches the database whatever becomes of the node's way to it. */
let direct: Database;
let node: FeedNode;
let api: ApiCredentials;

beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startProxy(database.url);
  direct = connect({ url: database.url });
  api = await registerApi(direct.sql);
  node = await startFeedNode(proxy.url);
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
  await direct.close();
  await database.drop();
});
beforeEach(restore);

/** What was swallowed cannot be made up for: connections begin anew. */
async function restore(): Promise<void> {
  await proxy.turn('pass');
  proxy.cut('reset');
}

const revokeIds = (...ids: string[]) =>
  transaction(direct.db, (tx) =>
    revoke(
      tx,
      ids.map((id) => ({ id })),
    ),
  );
const join = () => openFeed(node.url, api.authorization);

for (const outage of ['hangUp', 'swallow'] as const) {
  test(`the database is gone (${outage}): no heartbeat, no end; when it is back nothing was skipped`, async () => {
    await using feed = await join();
    const seq = Number((await feed.next('snapshot'))?.data.seq);
    await feed.next('heartbeat');
    await proxy.turn(outage);
    await revokeIds('a');
    const next = feed.next();
    expect(await Promise.race([next, delay(2_500, 'silence')])).toBe('silence');
    expect(node.feed.subscribers()).toBe(1);

    await revokeIds('b', 'c');
    await restore();
    expect((await next)?.data).toMatchObject({ seq: seq + 1, subject: 'a' });
    expect((await feed.next())?.data).toMatchObject({ seq: seq + 2, subject: 'b' });
    expect((await feed.next())?.data).toMatchObject({ seq: seq + 3, subject: 'c' });
    expect((await feed.next())?.data).toMatchObject({ seq: seq + 3, readAt: expect.any(String) });
    // The notifications come again as well, but nothing here depends on them.
    const last = await revokeIds('d');
    expect((await feed.next('revocation'))?.data.seq).toBe(last);
  });
}

test('the database is gone: a verifier that asks is told to come again, never that its credentials are wrong', async () => {
  await proxy.turn('hangUp');
  const headers = { authorization: api.authorization, 'content-type': 'application/json' };
  const answers = await Promise.all([
    fetch(node.url, { headers }),
    fetch(`${node.url}/ack`, { method: 'POST', headers, body: '{"seq":1,"verifier":"crm-1"}' }),
  ]);
  for (const response of answers) {
    expect(response.status).toBe(503);
    expect(response.headers.get('retry-after')).toBe('1');
    expect(await response.json()).toMatchObject({ code: 'unavailable' });
  }
  expect(node.feed.subscribers()).toBe(0);
});

test('entries were swept before this node could read them: its streams end, and a resumed one gets a snapshot', async () => {
  const feed = await join();
  const seq = Number((await feed.next('snapshot'))?.data.seq);
  await feed.next('heartbeat');
  await proxy.turn('hangUp');
  await revokeIds('unread');
  await direct.sql`update revocations set expires_at = now() - interval '1 second'`;
  await sweep(direct.db);
  await restore();
  while (await feed.next());
  await using resumed = await openFeed(node.url, api.authorization, seq);
  expect(await resumed.next()).toMatchObject({ event: 'snapshot', data: { seq: seq + 1 } });
});

test('an older state of the database was restored: streams end, and snapshots say where it stands now', async () => {
  await revokeIds('a', 'b');
  const feed = await join();
  const seq = Number((await feed.next('snapshot'))?.data.seq);
  await feed.next('heartbeat');
  await direct.sql`delete from revocations where seq > ${seq - 2}`;
  await direct.sql`update feed set seq = ${seq - 2}`;
  while (await feed.next());
  await using resumed = await openFeed(node.url, api.authorization, seq);
  expect(await resumed.next()).toMatchObject({ event: 'snapshot', data: { seq: seq - 2 } });
  await revokeIds('c');
  expect((await resumed.next('revocation'))?.data.seq).toBe(seq - 1);
});
