/**
 * Connections for postgres.js that notice when the other side is gone. The driver has no deadline for an answer,
 * reconnects for ever to a proxy that accepts and hangs up, and makes every queued query wait out its own connect
 * timeout.
 */
import { type NetConnectOpts, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { keepAnswersApart } from './answers.ts';
import { mendStartup } from './startup.ts';
import { secure, type TlsMode } from './tls.ts';

interface Target {
  host: string | string[];
  port: number | number[];
  path?: string | false | undefined;
  /** Silence is no sign: only the system's own limits apply. */
  isUnhurried?: boolean;
}

export interface SocketLimits {
  /** A server that owes an answer and sends nothing for this long is gone. */
  silenceMs: number;
  /** A connection without any traffic for this long is stuck: the pool closes idle ones earlier. */
  idleMs: number;
}

const checkMs = 200;
/** After a connection was given up for its silence, further ones fail at once for this long, and with them the queue. */
const tripMs = 1_000;
/** Silence of a connect that trips; less may be a server that refuses. */
const slowMs = 2_000;

class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
  readonly code = 'ECONNRESET';
}

/** A `socket` option for postgres.js, which is to think it is plain; tries the hosts of a multi-host URL in turn. */
export function createSocketFactory(limits: SocketLimits, tls: TlsMode): (target: Target) => Duplex {
  let attempt = 0;
  let trippedUntil = 0;
  const trip = (): void => {
    trippedUntil = performance.now() + tripMs;
  };
  return (target) => {
    const raw = closeWithError(new Socket());
    // Without a connect the driver's first write fails, by itself and at the right moment.
    if (performance.now() < trippedUntil) return raw;
    const startedAt = performance.now();
    const where = locate(target, attempt++);
    raw.connect(where);
    const host = 'host' in where ? { host: where.host, port: where.port } : {};
    const stream = tls === undefined ? raw : closeWithError(secure(raw, host.host ?? 'localhost', tls));
    raw.once('close', () => {
      if (raw.bytesRead === 0 && performance.now() - startedAt > slowMs) trip();
    });
    let hasAnswered = false;
    stream.once('data', () => {
      hasAnswered = true;
    });
    raw.once('end', () => {
      if (!hasAnswered) stream.destroy(new ConnectionLost('the database closed the connection at once'));
    });
    const silence = followAnswers(stream);
    const seen = keepAnswersApart(present(stream, raw, host));
    if (target.isUnhurried) return seen;
    const timer = setInterval(() => {
      const { owesAnswer, ms } = silence();
      if (!stream.destroyed && !(owesAnswer && ms > limits.silenceMs) && ms < limits.idleMs) return;
      clearInterval(timer);
      if (stream.destroyed) return;
      trip();
      stream.destroy(new ConnectionLost(`the database sent nothing for ${Math.round(ms)} ms`));
    }, checkMs).unref();
    return seen;
  };
}

function locate({ host, port, path }: Target, attempt: number): NetConnectOpts {
  if (typeof path === 'string') return { path };
  const hosts = [host].flat();
  const ports = [port].flat();
  const index = attempt % hosts.length;
  return { host: hosts[index] ?? 'localhost', port: ports[index % ports.length] ?? 5432 };
}

/** Adds what the driver expects of a socket. */
function present(stream: Duplex, raw: Socket, host: { host?: string | undefined; port?: number | undefined }): Duplex {
  // For its messages.
  Object.assign(stream, host);
  if (stream === raw) return stream;
  Object.defineProperty(stream, 'readyState', { get: () => raw.readyState });
  return Object.assign(stream, { setKeepAlive: raw.setKeepAlive.bind(raw) });
}

/**
 * Says `close` in the same breath as `error`. Between the two the driver hands new queries to the connection, which it
 * never fails afterwards: they wait for ever, and the connection with them.
 */
function closeWithError<T extends Duplex>(stream: T): T {
  const emit = stream.emit.bind(stream);
  let isClosed = false;
  const close = (hadError: unknown): boolean => {
    if (isClosed) return false;
    isClosed = true;
    return emit('close', hadError);
  };
  return Object.assign(stream, {
    emit: (event: string, ...args: unknown[]): boolean => {
      if (event === 'close') return close(args[0]);
      const isHeard = emit(event, ...args);
      if (event === 'error') close(true);
      return isHeard;
    },
  });
}

type Silence = () => { owesAnswer: boolean; ms: number };

/** An answer is owed from any write until the server says ReadyForQuery (`Z`, length 5, state) last of all. */
function followAnswers(stream: Duplex): Silence {
  let owesAnswer = false;
  let changedAt = performance.now();
  let tail: Uint8Array = new Uint8Array();
  const write = stream.write.bind(stream);
  let isFirst = true;
  const noting = (chunk: Buffer, done?: (error: Error | null | undefined) => void): boolean => {
    const bytes = isFirst ? mendStartup(chunk) : chunk;
    isFirst = false;
    owesAnswer = true;
    changedAt = performance.now();
    return write(bytes, done);
  };
  Object.assign(stream, { write: noting });
  stream.on('data', (chunk: Buffer) => {
    changedAt = performance.now();
    if (!owesAnswer) return;
    tail = chunk.length >= 6 ? chunk.subarray(-6) : Buffer.concat([tail, chunk]).subarray(-6);
    owesAnswer = !(tail.length === 6 && tail[0] === 0x5a && tail[1] === 0 && tail[4] === 5);
  });
  return () => ({ owesAnswer, ms: performance.now() - changedAt });
}
