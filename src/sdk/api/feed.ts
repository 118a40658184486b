/**
 * The connection to the feed: opened at once, reopened for ever, resumed where it ended. What was applied is
 * acknowledged, the newest number for all before it.
 * States: connecting → reading → (cut, silent, or an event that cannot be applied) → waiting → connecting; `closed` ends it.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { createEventParser } from './event-stream.ts';
import { AnswerError, type Fetch, withDeadline } from './http.ts';
import type { ServerMetadata } from './metadata.ts';
import { type Revocations, UnusableEventError } from './revocations.ts';

export interface FeedOptions {
  readMetadata: () => Promise<ServerMetadata>;
  /** Instead of the address in the metadata. */
  feedUrl: string | undefined;
  authorization: string;
  verifierId: string;
  revocations: Revocations;
  fetch: Fetch;
  closed: AbortSignal;
  /** Milliseconds; how long a connection has lasted is measured by it. */
  monotonic: () => number;
  /** Told after each event that was applied. */
  onApplied: () => void;
  /** Told of each connection that ended, before the next is tried. */
  onProblem: (problem: Error) => void;
}

/** Whether the next connection resumes after the last event applied, or starts anew. */
interface Position {
  needsSnapshot: boolean;
}

/** Heartbeats come at least every second. */
const silenceMs = 3_500;
const answerTimeoutMs = 5_000;
const maxEventChars = 128 * 1024 * 1024;
const firstDelayMs = 50;
const maxDelayMs = 5_000;
const maxRetryAfterMs = 15_000;
/** A connection that lasted this long was a good one: the next attempt is a fast one again. */
const goodAfterMs = 5_000;

/** Reads the feed until `closed`. Never rejects. */
export async function followFeed(options: FeedOptions): Promise<void> {
  const acknowledge = createAcknowledger(options);
  let failures = 0;
  const position = { needsSnapshot: true };
  while (!options.closed.aborted) {
    const startedAt = options.monotonic();
    let problem: unknown;
    try {
      await readConnection(options, position, acknowledge);
      problem = new AnswerError('The feed ended');
    } catch (cause) {
      problem = cause;
    }
    if (options.closed.aborted) return;
    // Resuming would only meet it again: a snapshot is the whole truth.
    if (problem instanceof UnusableEventError) position.needsSnapshot = true;
    options.onProblem(problem instanceof Error ? problem : new AnswerError('The feed failed', { cause: problem }));
    failures = options.monotonic() - startedAt >= goodAfterMs ? 1 : failures + 1;
    await sleep(chooseDelay(failures, problem), undefined, { signal: options.closed }).catch(() => undefined);
  }
}

/** The first retry is nearly immediate; later ones double up to five seconds. Jitter keeps verifiers from coming as one. */
function chooseDelay(failures: number, problem: unknown): number {
  const ceiling = failures <= 1 ? 2 * firstDelayMs : Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(failures, 10));
  const delay = ceiling * (0.5 + Math.random() / 2);
  const asked = problem instanceof AnswerError ? (problem.retryAfterSeconds ?? 0) * 1000 : 0;
  return Math.max(delay, Math.min(asked, maxRetryAfterMs));
}

async function readConnection(
  options: FeedOptions,
  position: Position,
  acknowledge: (feedUrl: string, seq: number | undefined) => void,
): Promise<void> {
  const connection = new AbortController();
  const silence = setTimeout(() => connection.abort(new AnswerError('The feed is silent')), answerTimeoutMs);
  const close = (): void => connection.abort(options.closed.reason);
  options.closed.addEventListener('abort', close);
  if (options.closed.aborted) close();
  try {
    const feedUrl = await locateFeed(options);
    silence.refresh();
    const response = await openStream(options, feedUrl, position, connection.signal);
    clearTimeout(silence);
    await readEvents(options, position, response, connection, (seq) => acknowledge(feedUrl, seq));
  } finally {
    clearTimeout(silence);
    options.closed.removeEventListener('abort', close);
    connection.abort();
  }
}

async function locateFeed(options: FeedOptions): Promise<string> {
  const feedUrl = options.feedUrl ?? (await options.readMetadata()).feedUrl;
  if (feedUrl === undefined) throw new AnswerError('The metadata names no feed');
  return feedUrl;
}

async function openStream(
  options: FeedOptions,
  feedUrl: string,
  position: Position,
  signal: AbortSignal,
): Promise<Response> {
  const seq = position.needsSnapshot ? undefined : options.revocations.appliedSeq();
  const response = await options.fetch(feedUrl, {
    headers: {
      accept: 'text/event-stream',
      authorization: options.authorization,
      // Who does not acknowledge can then be missed.
      'writ-verifier': options.verifierId,
      ...(seq === undefined ? {} : { 'last-event-id': String(seq) }),
    },
    redirect: 'manual',
    signal,
  });
  const type = response.headers.get('content-type') ?? '';
  if (response.status !== 200 || !/^text\/event-stream\b/i.test(type)) {
    await response.body?.cancel();
    throw new AnswerError(`The feed answered ${response.status}`, { response, cause: type });
  }
  return response;
}

async function readEvents(
  options: FeedOptions,
  position: Position,
  response: Response,
  connection: AbortController,
  acknowledge: (seq: number | undefined) => void,
): Promise<void> {
  const parse = createEventParser(maxEventChars);
  const decoder = new TextDecoder();
  const silence = setTimeout(() => connection.abort(new AnswerError('The feed is silent')), silenceMs);
  try {
    for await (const chunk of response.body ?? []) {
      silence.refresh();
      for (const event of parse(decoder.decode(chunk, { stream: true }))) {
        options.revocations.apply(event);
        if (event.name === 'snapshot') position.needsSnapshot = false;
        options.onApplied();
        acknowledge(event.name === 'heartbeat' ? undefined : options.revocations.appliedSeq());
      }
    }
  } finally {
    clearTimeout(silence);
  }
}

/**
 * Returns a function that acknowledges a number, or only gets an earlier failure out of the way (`undefined`). One request
 * is in flight; the newest number stands for all before it; an outage is retried with the next heartbeat.
 */
function createAcknowledger(options: FeedOptions): (feedUrl: string, seq: number | undefined) => void {
  let wanted: number | undefined;
  let isSending = false;

  async function send(feedUrl: string): Promise<void> {
    isSending = true;
    try {
      while (wanted !== undefined) {
        const seq = wanted;
        const status = await withDeadline(options.closed, answerTimeoutMs, (signal) =>
          postAcknowledgement(options, feedUrl, seq, signal),
        );
        if (status === 429 || status >= 500) return;
        // Any other answer is final: a number that the server refuses once, it refuses for ever.
        if (wanted === seq) wanted = undefined;
      }
    } catch {
      // An acknowledgement is for the receipt; what it says is already applied here.
    } finally {
      isSending = false;
    }
  }

  return (feedUrl, seq) => {
    if (seq !== undefined) wanted = seq;
    if (wanted !== undefined && !isSending) void send(feedUrl);
  };
}

async function postAcknowledgement(
  options: FeedOptions,
  feedUrl: string,
  seq: number,
  signal: AbortSignal,
): Promise<number> {
  const url = new URL(feedUrl);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/ack`;
  const response = await options.fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: options.authorization },
    body: JSON.stringify({ seq, verifier: options.verifierId }),
    redirect: 'manual',
    signal,
  });
  await response.body?.cancel();
  return response.status;
}
