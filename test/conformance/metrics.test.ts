/** `/metrics`: each series moves with what it is about, and no label names anybody. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { awaitScrape, type Scrape, scrape } from '../support/metrics.ts';
import { asApi } from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  detail,
  exchangeToken,
  must,
  readIntent,
  type World,
  writeIntent,
} from '../support/world.ts';
import { startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let before: Scrape;

beforeAll(async () => {
  writ = await startWrit();
  before = await awaitScrape(writ.url, ({ sum }) => sum('writ_db_up') === 1);
  world = await createWorld(writ);
});
afterAll(() => writ.close());

const moved = (after: Scrape, name: string, labels?: Record<string, string>): number =>
  after.sum(name, labels) - before.sum(name, labels);

describe('what a journey counts', () => {
  test('tokens by grant, refusals by reason, batches, latency by route pattern', async () => {
    const token = must(await askToken(writ, world.triage, { authorization_details: detail(readIntent) }));
    must(await exchangeToken(writ, world.triage, token.body.access_token));
    await askToken(writ, world.triage, { authorization_details: detail(writeIntent, { actions: ['update'] }) });
    const stranger = { ...world.triage, id: randomUUID() };
    expect((await askToken(writ, stranger)).status).toBe(401);
    const assertion = { client_assertion: 'not-a-jwt' };
    expect((await askToken(writ, world.triage, assertion)).status).toBe(401);

    const http = 'writ_http_request_duration_seconds_count';
    const refused = { route: '/oauth/token', method: 'POST', status: '401' };
    // The engine's answers are counted just after they were sent.
    const after = await awaitScrape(writ.url, ({ sum }) => sum(http, refused) >= 2);
    expect(moved(after, 'writ_tokens_issued_total', { grant: 'client_credentials' })).toBe(1);
    expect(moved(after, 'writ_tokens_issued_total', { grant: 'token_exchange' })).toBe(1);
    expect(moved(after, 'writ_refusals_total', { reason: 'approval_required' })).toBe(1);
    expect(moved(after, 'writ_refusals_total', { reason: 'invalid_client' })).toBe(2);
    // Three decisions passed the queue; who is not known never gets there.
    expect(moved(after, 'writ_commit_batch_size_sum')).toBe(3);
    expect(moved(after, http, { route: '/oauth/token', method: 'POST', status: '200' })).toBe(2);
    expect(moved(after, http, { route: '/oauth/token', method: 'POST', status: '400' })).toBe(1);
    expect(moved(after, http, refused)).toBe(2);
    expect(moved(after, http, { route: '/scim/v2/Users', status: '201' })).toBe(2);
  });

  test('a departure: its time, its agents, the feed, and the verifier that does not acknowledge', async () => {
    const controller = new AbortController();
    const stream = await fetch(`${writ.url}/revocations`, {
      headers: { ...asApi(world.api), 'writ-verifier': 'slow-1' },
      signal: controller.signal,
    });
    expect(stream.status).toBe(200);
    const departure = await world.scim('DELETE', `/Users/${world.alice}`);
    expect(departure.status).toBe(204);
    // An IdP's retry is another answer, and no other departure.
    await world.scim('DELETE', `/Users/${world.alice}`);

    const late = await awaitScrape(writ.url, ({ sum }) => sum('writ_feed_acknowledgement_lag_seconds') > 0);
    expect(moved(late, 'writ_offboardings_total')).toBe(1);
    expect(moved(late, 'writ_offboard_seconds_count')).toBe(1);
    expect(moved(late, 'writ_offboard_agents_count')).toBe(1);
    expect(moved(late, 'writ_offboard_agents_sum')).toBe(2);
    expect(late.sum('writ_feed_subscribers')).toBe(1);
    const seq = late.sum('writ_feed_seq');
    expect(seq).toBeGreaterThan(before.sum('writ_feed_seq'));
    expect(late.sum('writ_feed_lag_seconds')).toBeLessThan(10);

    const acknowledged = await fetch(`${writ.url}/revocations/ack`, {
      method: 'POST',
      headers: { ...asApi(world.api), 'content-type': 'application/json' },
      body: JSON.stringify({ seq, verifier: 'slow-1' }),
    });
    expect(acknowledged.status).toBe(204);
    await awaitScrape(writ.url, ({ sum }) => sum('writ_feed_acknowledgement_lag_seconds') === 0);
    controller.abort();
    await awaitScrape(writ.url, ({ sum }) => sum('writ_feed_subscribers') === 0);
  });
});

describe('what it shows', () => {
  test('is there from the start, process and build included', async () => {
    const found = await scrape(writ.url);
    for (const name of [
      ...[
        'writ_commit_queue_depth',
        'writ_db_transactions_open',
        'writ_audit_unsealed',
        'writ_audit_sealing_lag_seconds',
      ],
      ...['writ_db_pool_size', 'process_resident_memory_bytes', 'nodejs_eventloop_lag_p99_seconds'],
    ]) {
      expect(found.series.filter((one) => one.name === name).length, name).toBe(1);
    }
    expect(found.sum('writ_db_pool_size')).toBe(10);
    const [build] = found.series.filter(({ name }) => name === 'writ_build_info');
    expect(build?.labels.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(before.series.filter(({ name }) => name === 'writ_refusals_total').length).toBeGreaterThan(20);
  });

  test('names nobody: no id, key or path as requested stands in a label', async () => {
    const { series } = await scrape(writ.url);
    const known = new Set([
      'grant',
      'reason',
      'route',
      'method',
      'status',
      'le',
      'version',
      'node',
      'kind',
      'type',
      'space',
    ]);
    const own = series.filter(({ name }) => name.startsWith('writ_'));
    expect(own.flatMap(({ labels }) => Object.keys(labels)).filter((key) => !known.has(key))).toEqual([]);
    const values = new Set(series.flatMap(({ labels }) => Object.values(labels)));
    const ids = [world.alice, world.triage.id, world.api.id, world.directory.id, world.api.feedCredentials.clientId];
    for (const value of values) {
      expect(value).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-|[\w-]{40,}|@/i);
      for (const id of ids) expect(value).not.toContain(id);
    }
  });
});
