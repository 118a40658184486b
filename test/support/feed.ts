/** A node that serves nothing but the feed, on a real socket, and a plain reader of its event stream. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { pino } from 'pino';
import { authenticateApi } from '../../src/domain/intents/apis.ts';
import { createFeed, type Feed, type FeedOptions } from '../../src/edges/ssf/feed.ts';
import { createBus } from '../../src/platform/bus/bus.ts';
import { connect, type Db, type Sql } from '../../src/platform/db/client.ts';
import { hashSecret, makeSecret } from '../../src/platform/keys/secret.ts';

export interface FeedNode extends AsyncDisposable {
  db: Db;
  sql: Sql;
  feed: Feed;
  /** Address of the feed. */
  url: string;
}

/** Serves the feed of the database at `databaseUrl`; `deaf`: no notification ever reaches this node. */
export async function startFeedNode(
  databaseUrl: string,
  { deaf = false, ...options }: Partial<FeedOptions> & { deaf?: boolean } = {},
): Promise<FeedNode> {
  const { db, sql, close } = connect({ url: databaseUrl });
  const log = pino({ level: 'silent' });
  const bus = createBus(sql, log);
  const feed = createFeed({
    db,
    node: randomUUID(),
    bus: deaf ? { listen: async () => () => {} } : bus,
    authenticateApi: (clientId, secret) => authenticateApi(db, clientId, secret),
    latestCheckpoint: async () => {
      const [row] = await sql<{ jws: string }[]>`select jws from checkpoints order by number desc limit 1`;
      return row?.jws ?? null;
    },
    log,
    noteFailure: () => {},
    ...options,
  });
  const server = createAdaptorServer({ fetch: new Hono().route('/revocations', feed.app).fetch });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    db,
    sql,
    feed,
    url: `http://127.0.0.1:${port}/revocations`,
    async [Symbol.asyncDispose]() {
      await feed.close();
      await bus.close();
      if ('closeAllConnections' in server) server.closeAllConnections();
      server.close();
      await close();
    },
  };
}

export interface ApiCredentials {
  id: string;
  clientId: string;
  secret: string;
  /** The `Authorization` header. */
  authorization: string;
}

/** Registers an API and returns what it authenticates with. */
export async function registerApi(sql: Sql): Promise<ApiCredentials> {
  const secret = makeSecret('writ_feed');
  const [row] = await sql<{ id: string; client_id: string }[]>`
    insert into apis (identifier, name, environment, secret_hash)
    values ('https://' || gen_random_uuid() || '.example', 'CRM', 'test', ${hashSecret(secret)})
    returning id, client_id`;
  if (row === undefined) throw new Error('no api');
  return { id: row.id, clientId: row.client_id, secret, authorization: encodeBasic(row.client_id, secret) };
}

/** A receipt of somebody whose departure the feed has told under this number. */
export async function writeReceipt(sql: Sql, seq: number, committedAt: Date = new Date()): Promise<void> {
  await sql`
    with directory as (
      insert into directories (name, kind) values (gen_random_uuid()::text, 'generic') returning id
    ), person as (
      insert into people (directory_id, user_name) select id, 'leaver' from directory returning id, directory_id
    )
    insert into offboardings (person_id, directory_id, user_name, method, request_id, agents, tokens_unexpired,
      requested_at, committed_at, seq)
    select id, directory_id, 'leaver', 'DELETE', '', '[]', 0, ${committedAt}, ${committedAt}, ${seq} from person`;
}

export const encodeBasic = (clientId: string, secret: string): string =>
  `Basic ${Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(secret)}`).toString('base64')}`;

export interface FeedEvent {
  event: string;
  id: string | undefined;
  data: Record<string, unknown>;
}

export interface FeedConnection extends AsyncDisposable {
  response: Response;
  /** The next event, of one of these kinds if any are given; undefined when the stream has ended. */
  next(...kinds: string[]): Promise<FeedEvent | undefined>;
}

export async function openFeed(url: string, authorization: string, lastEventId?: number): Promise<FeedConnection> {
  const abort = new AbortController();
  const response = await fetch(url, {
    headers: { authorization, ...(lastEventId === undefined ? {} : { 'last-event-id': String(lastEventId) }) },
    signal: abort.signal,
  });
  const events = parseEvents(response);
  return {
    response,
    async next(...kinds) {
      for (;;) {
        const { value, done } = await events.next();
        if (done) return undefined;
        if (kinds.length === 0 || kinds.includes(value.event)) return value;
      }
    },
    async [Symbol.asyncDispose]() {
      abort.abort();
    },
  };
}

async function* parseEvents(response: Response): AsyncGenerator<FeedEvent, undefined> {
  let text = '';
  for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const blocks = (text + piece).split('\n\n');
    text = blocks.pop() ?? '';
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line] as const));
      const read = (name: string): string | undefined => fields.get(name)?.slice(name.length + 2);
      yield { event: read('event') ?? '', id: read('id'), data: JSON.parse(read('data') ?? 'null') };
    }
  }
  return undefined;
}
