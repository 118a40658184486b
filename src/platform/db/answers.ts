/**
 * Keeps the rows of one answer out of the next. postgres.js counts the rows of an answer and starts again only when the
 * server says that it is complete; where it ends by an error or with the connection, the next answer, of whatever other
 * statement, begins with as many holes, and its first row seems not to be there: nobody has this token, nobody this id.
 *
 * Here the driver gets whole messages only, and an answer that has begun is completed before its error, or the end of the
 * connection, is told. It still fails: the error comes after. (Cursors would not bear this; none are used.)
 */
import type { Duplex } from 'node:stream';

/** Message types and forms of the PostgreSQL manual §54.7. */
const dataRow = 0x44;
const commandComplete = 0x43;
const errorResponse = 0x45;
const headerBytes = 5;

function makeCompletion(): Buffer {
  const tag = Buffer.from('FAILED\0');
  const bytes = Buffer.alloc(headerBytes + tag.length);
  bytes[0] = commandComplete;
  bytes.writeUInt32BE(bytes.length - 1, 1);
  tag.copy(bytes, headerBytes);
  return bytes;
}
const completion = makeCompletion();

interface Reader {
  take(chunk: Buffer): void;
  end(): void;
}

function createReader(deliver: (bytes: Buffer) => void): Reader {
  let parts: Buffer[] = [];
  let bytesHeld = 0;
  let bytesNeeded = 0;
  let hasRows = false;
  const complete = (): void => {
    if (hasRows) deliver(completion);
    hasRows = false;
  };
  return {
    take: (chunk) => {
      parts.push(chunk);
      bytesHeld += chunk.length;
      if (bytesHeld < bytesNeeded) return;
      const bytes = parts.length === 1 ? chunk : Buffer.concat(parts);
      let from = 0;
      let at = 0;
      bytesNeeded = headerBytes;
      while (at + headerBytes <= bytes.length) {
        bytesNeeded = 1 + bytes.readUInt32BE(at + 1);
        if (at + bytesNeeded > bytes.length) break;
        const type = bytes[at];
        if (type === dataRow) hasRows = true;
        else if (type === commandComplete) hasRows = false;
        else if (type === errorResponse && hasRows) {
          if (at > from) deliver(bytes.subarray(from, at));
          complete();
          from = at;
        }
        at += bytesNeeded;
        bytesNeeded = headerBytes;
      }
      const rest = bytes.subarray(at);
      parts = rest.length === 0 ? [] : [rest];
      bytesHeld = rest.length;
      if (at > from) deliver(bytes.subarray(from, at));
    },
    end: complete,
  };
}

type Listener = (...args: never[]) => void;

/** Changes what listeners that are added from now on, the driver's, are told. */
export function keepAnswersApart<T extends Duplex>(stream: T): T {
  const on = stream.on.bind(stream) as (event: string, listener: Listener) => T;
  const remove = stream.removeListener.bind(stream) as (event: string, listener: Listener) => T;
  const wrapped = new Map<Listener, Listener>();
  let reader: Reader | undefined;
  const wrap = (event: string, listener: Listener): Listener => {
    if (event === 'data') {
      reader = createReader(listener as (bytes: Buffer) => void);
      return reader.take;
    }
    if (event !== 'close') return listener;
    return (...args) => {
      reader?.end();
      listener(...args);
    };
  };
  return Object.assign(stream, {
    on: (event: string, listener: Listener): T => {
      const seen = wrap(event, listener);
      wrapped.set(listener, seen);
      return on(event, seen);
    },
    removeListener: (event: string, listener: Listener): T => remove(event, wrapped.get(listener) ?? listener),
  });
}
