/**
 * The verifiers' feed over HTTP: `GET /revocations` is a snapshot, or what was missed since `Last-Event-ID`, followed by
 * Server-Sent Events; `POST /revocations/ack` records how far a verifier has come. Both take the API's feed credentials
 * (HTTP Basic).
 *
 * A joining verifier misses nothing: its stream is registered first and holds what comes live, then the snapshot is
 * read, then what the snapshot already covers is dropped. One reader serves all streams of the process, so that a
 * thousand verifiers cost the database no more than one.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Logger } from 'pino';
import { z } from 'zod';
import {
  acknowledge,
  type Follower,
  measureAcknowledgementLag,
  readFeed,
  snapshot,
} from '../../domain/signals/feed.ts';
import { type FollowerName, noteEverySeconds, noteFollowers } from '../../domain/signals/followers.ts';
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import { parseJson, readBody } from '../../platform/http/body.ts';
import { remoteAddressOf } from '../../platform/http/remote-address.ts';
import { parseBasic } from './basic.ts';
import { encodeEvent, encodeRevocation } from './frames.ts';
import { toProblem } from './problem.ts';
import { type FeedReaderOptions, startReader } from './reader.ts';
import { shareReads } from './shared-reads.ts';
import { createEventStream, type EventStream } from './stream.ts';

export interface FeedOptions {
  db: Db;
  /** Under which this process is known (UUID). */
  node: string;
  bus: FeedReaderOptions['bus'];
  /** The API whose feed credentials these are; null for nobody's. */
  authenticateApi: (clientId: string, secret: string) => Promise<{ id: string; identifier: string } | null>;
  /** The newest signed checkpoint of the audit log (compact JWS). */
  latestCheckpoint: (db: Db) => Promise<string | null>;
  log: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Counts a caller without good credentials; throws when it is one too many. */
  noteFailure: (address: string | null) => void;
  /** Heartbeats come at least this often; 1000 at most, and by default. */
  heartbeatMs?: number;
  /** The feed is read at least this often, notified or not; 250 by default. */
  pollMs?: number;
  /** What may wait for one slow connection before it is cut off; 256 KiB by default, some 2,000 revocations. */
  bufferBytes?: number;
}

export interface Feed {
  app: Hono<{ Bindings: Partial<HttpBindings> }>;
  /** Ends all streams and the reader. */
  close(): Promise<void>;
  /** The last number read by this process; 0 before the first read. */
  position(): number;
  /** Seconds since this process last read the feed to its end; not a number before the first time. */
  lagSeconds(): number;
  /** Open streams. */
  subscribers(): number;
  /** How long the slowest of the verifiers connected here has left a departure unacknowledged, in seconds. */
  measureAcknowledgementLag(): Promise<number>;
  /** Writes down which verifiers are connected here, if that is news. To be called every second. */
  noteFollowers(): Promise<void>;
}

type FeedContext = Context<{ Bindings: Partial<HttpBindings> }>;

/** Who opened a stream. */
interface Subscriber {
  apiId: string;
  /** The name it acknowledges under, if it gave it with the request (`Writ-Verifier`). */
  verifier: string | undefined;
  /** Monotonic milliseconds. */
  connectedAt: number;
}
type Streams = Map<EventStream, Subscriber>;

const streamsAtMost = 10_000;
const streamsAtMostPerApi = 1_000;
const pageSize = 1_000;
/** How long a request may wait for a process that has just started. */
const startMs = 2_000;

const noteEveryMs = noteEverySeconds * 1_000;

const verifierLength = 200;
const acknowledgementBytes = 4_096;
const acknowledgement = z.strictObject({ seq: z.int().min(0), verifier: z.string().min(1).max(verifierLength) });

export function createFeed(options: FeedOptions): Feed {
  const streams: Streams = new Map();
  // What a node that was restarted is asked by all its verifiers at once: one read and one encoding serve them.
  const collect = shareReads((after: number | undefined) => collectMissed(options, after));
  const reader = startReader({
    ...options,
    pollMs: options.pollMs ?? 250,
    heartbeatMs: Math.min(options.heartbeatMs ?? 1_000, 1_000),
    onEntries(entries) {
      const batch = entries.map((entry) => ({ seq: entry.seq, frame: encodeRevocation(entry) }));
      for (const stream of [...streams.keys()]) stream.sendRevocations(batch);
    },
    onHeartbeat(heartbeat) {
      const frame = encodeEvent('heartbeat', heartbeat);
      for (const stream of streams.keys()) stream.sendHeartbeat(heartbeat.seq, frame);
    },
    onLost: endStreams,
  });
  let isClosed = false;

  function endStreams(): void {
    for (const stream of [...streams.keys()]) stream.end();
  }

  async function isReading(): Promise<boolean> {
    // Before the first read there is no known point from which on everything is sent live.
    if (reader.position() === undefined)
      await Promise.race([reader.started, delay(startMs, undefined, { ref: false })]);
    return !isClosed && reader.position() !== undefined;
  }

  const app: Feed['app'] = new Hono();
  app.onError((error) => {
    const { response, isFault } = toProblem(error);
    if (isFault) options.log.error({ err: error }, 'feed: request failed');
    return response;
  });
  app.get('/', async (c) => {
    // A HEAD would open a stream that nobody reads or ends.
    if (c.req.method !== 'GET') return refuseMethod('GET');
    const api = await authenticate(options, c);
    if (!(await isReading())) throw new WritError('unavailable', 'the feed is not being read');
    return await openStream({ ...options, collect, streams }, api.id, c);
  });
  app.post('/ack', async (c) => await receiveAcknowledgement(options, c));
  app.all('/', () => refuseMethod('GET'));
  app.all('/ack', () => refuseMethod('POST'));

  return {
    app,
    async close() {
      isClosed = true;
      endStreams();
      await reader.close();
    },
    position: () => reader.position() ?? 0,
    lagSeconds: () => secondsSince(reader.currentAt() ?? Number.NaN),
    subscribers: () => streams.size,
    measureAcknowledgementLag: () => measureAcknowledgementLag(options.db, [...streams.values()].flatMap(toFollower)),
    noteFollowers: createNotes(options, streams),
  };
}

/** Remembers what was noted of whom and when, so that each stream costs a row in ten seconds. */
function createNotes({ db, node }: FeedOptions, streams: Streams): () => Promise<void> {
  const noted = new Map<string, FollowerName & { at: number }>();
  return async () => {
    const at = performance.now();
    const current = new Map(
      [...streams.values()]
        .flatMap(toFollower)
        .map(({ apiId, verifier }) => [`${apiId} ${verifier}`, { apiId, verifier }]),
    );
    const seen = [...current].filter(([name]) => at - (noted.get(name)?.at ?? Number.NEGATIVE_INFINITY) >= noteEveryMs);
    const gone = [...noted].filter(([name]) => !current.has(name));
    if (seen.length === 0 && gone.length === 0) return;
    await noteFollowers(db, node, { seen: seen.map(([, one]) => one), gone: gone.map(([, one]) => one) });
    for (const [name, one] of seen) noted.set(name, { ...one, at });
    for (const [name] of gone) noted.delete(name);
  };
}

const secondsSince = (ms: number): number => (performance.now() - ms) / 1000;

const toFollower = ({ apiId, verifier, connectedAt }: Subscriber): Follower[] =>
  verifier === undefined ? [] : [{ apiId, verifier, connectedSeconds: secondsSince(connectedAt) }];

async function authenticate(options: FeedOptions, c: FeedContext): Promise<{ id: string }> {
  const credentials = parseBasic(c.req.header('authorization'));
  const api = credentials && (await options.authenticateApi(credentials.clientId, credentials.secret));
  if (api) return api;
  options.noteFailure(remoteAddressOf(c));
  throw new WritError('unauthenticated', 'no feed credentials of an API');
}

interface Joining extends FeedOptions {
  streams: Streams;
  collect(after: number | undefined): Promise<Missed>;
}

async function openStream({ streams, collect, ...options }: Joining, apiId: string, c: FeedContext): Promise<Response> {
  const own = [...streams.values()].filter((one) => one.apiId === apiId).length;
  if (streams.size >= streamsAtMost || own >= streamsAtMostPerApi) {
    throw new WritError('unavailable', 'too many streams');
  }
  const { signal } = c.req.raw;
  const stream = createEventStream({
    bufferBytes: options.bufferBytes ?? 256 * 1024,
    onEnd() {
      streams.delete(stream);
      signal.removeEventListener('abort', stream.end);
    },
    cut: () => c.env?.outgoing?.destroy(),
  });
  const name = c.req.header('writ-verifier');
  const verifier = name !== undefined && name.length <= verifierLength ? name : undefined;
  streams.set(stream, { apiId, verifier, connectedAt: performance.now() });
  signal.addEventListener('abort', stream.end);
  try {
    const { frames, seq } = await collect(parseLastEventId(c.req.header('last-event-id')));
    stream.start(frames, seq);
  } catch (error) {
    stream.end();
    throw error;
  }
  if (signal.aborted) stream.end();
  return new Response(stream.body, {
    headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
  });
}

interface Missed {
  frames: Uint8Array[];
  seq: number;
}

/** The events up to now for a verifier that knows everything up to `after`, or nothing (`undefined`). */
async function collectMissed({ db, latestCheckpoint }: FeedOptions, after: number | undefined): Promise<Missed> {
  const checkpoint = await latestCheckpoint(db);
  const frames: Uint8Array[] = [];
  for (let seq = after; seq !== undefined; ) {
    const read = await readFeed(db, seq, pageSize);
    // Older than the table reaches, or a number from another history than the database's.
    if (read.swept > seq || read.head < seq) break;
    for (const entry of read.entries) frames.push(encodeRevocation(entry));
    seq = read.seq;
    if (seq < read.head) continue;
    frames.push(encodeEvent('heartbeat', { seq, readAt: read.readAt, checkpoint }));
    return { frames, seq };
  }
  const whole = await snapshot(db);
  return { frames: [encodeEvent('snapshot', { ...whole, checkpoint }, whole.seq)], seq: whole.seq };
}

async function receiveAcknowledgement(options: FeedOptions, c: FeedContext): Promise<Response> {
  const api = await authenticate(options, c);
  if (!/^application\/json *(;|$)/i.test(c.req.header('content-type') ?? '')) {
    throw new WritError('unsupported_media_type', 'application/json');
  }
  const body = acknowledgement.safeParse(parseJson(await readBody(c.req.raw, acknowledgementBytes)));
  if (!body.success) throw new WritError('invalid_request', 'the body is {seq, verifier}');
  await acknowledge(options.db, api.id, body.data.verifier, body.data.seq);
  return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } });
}

function refuseMethod(allowed: string): Response {
  const { response } = toProblem(new WritError('method_not_allowed', allowed));
  response.headers.set('allow', allowed);
  return response;
}

/** Anything but a number of ours counts as absent: a snapshot is always right. */
const parseLastEventId = (header: string | undefined): number | undefined =>
  header !== undefined && /^\d{1,15}$/.test(header) ? Number(header) : undefined;
