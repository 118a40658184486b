/**
 * The one parser of bodies, for every edge. Stricter than `JSON.parse`, because two readers of one text must never see
 * two things: refuses duplicate members (RFC 8259 §4 lets the last one win), NUL (PostgreSQL cannot store it), lone
 * surrogates (no UTF-8), numbers that become infinite, `__proto__`, depth and size. What it accepts, it reads as
 * `JSON.parse` does. Linear in time and bounded in stack.
 */
import type { IncomingMessage } from 'node:http';
import { WritError } from '../../errors.ts';

export interface BodyLimits {
  /** Bytes at most; 1 MiB by default. */
  bytes?: number;
  /** Arrays and objects inside each other at most; 32 by default. */
  depth?: number;
}

export const bodyBytes = 1024 * 1024;
const formFields = 1_000;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const invalid = (detail: string): WritError => new WritError('invalid_request', detail);
const tooLarge = (bytes: number): WritError => new WritError('too_large', `the body has more than ${bytes} bytes`);

/**
 * The body's bytes. Throws `too_large` by its `content-length`, or else as soon as more than `maxBytes` have come,
 * without reading the rest; `invalid_request` when the client goes away in the middle.
 */
export async function readBody(request: Request, maxBytes: number = bodyBytes): Promise<Uint8Array> {
  const announced = request.headers.get('content-length');
  if (announced !== null && Number(announced) > maxBytes) throw tooLarge(maxBytes);
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((cause: unknown) => {
      throw new WritError('invalid_request', 'the body ended early', { cause });
    });
    if (done) return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, length);
    length += value.byteLength;
    if (length > maxBytes) {
      void reader.cancel().catch(() => {});
      throw tooLarge(maxBytes);
    }
    chunks.push(value);
  }
}

/** The same of a request as Node has it: without the web standard's stream, which costs as much as a signature. */
export function readIncoming(incoming: IncomingMessage, maxBytes: number = bodyBytes): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (Number(incoming.headers['content-length'] ?? 0) > maxBytes) return reject(tooLarge(maxBytes));
    const chunks: Buffer[] = [];
    let length = 0;
    incoming.on('data', (chunk: Buffer) => {
      length += chunk.byteLength;
      if (length <= maxBytes) return chunks.push(chunk);
      incoming.removeAllListeners('data');
      incoming.pause();
      return reject(tooLarge(maxBytes));
    });
    incoming.once('end', () =>
      resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, length)),
    );
    incoming.once('error', (cause) => reject(new WritError('invalid_request', 'the body ended early', { cause })));
  });
}

function decode(bytes: Uint8Array, maxBytes: number): string {
  if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new WritError('invalid_request', 'the body is not UTF-8', { cause });
  }
}

/** Parses JSON. Throws `invalid_request` saying which rule was broken and where, `too_large` beyond `limits.bytes`. */
export function parseJson(bytes: Uint8Array, limits: BodyLimits = {}): unknown {
  const text = decode(bytes, limits.bytes ?? bodyBytes);
  const reader: Reader = { text, at: 0, depthLeft: limits.depth ?? 32 };
  const value = readValue(reader);
  skipSpace(reader);
  if (reader.at < text.length) throw malformed(reader);
  return value;
}

/**
 * Parses `application/x-www-form-urlencoded` (WHATWG URL §5.1) to names and values in order. Repeated names are the
 * caller's to judge: RFC 6749 forbids them, RFC 8707 repeats `resource`. Throws as `parseJson` does.
 */
export function parseForm(bytes: Uint8Array, maxBytes: number = bodyBytes): [string, string][] {
  const text = decode(bytes, maxBytes);
  if (text === '') return [];
  const parts = text.split('&', formFields + 1);
  if (parts.length > formFields) throw invalid(`the form has more than ${formFields} fields`);
  return parts.flatMap((part): [string, string][] => {
    if (part === '') return [];
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    return [[decodeField(name), equals < 0 ? '' : decodeField(part.slice(equals + 1))]];
  });
}

/** What has no escapes in it stands for itself. */
const plainField = /^[\w.~*-]*$/;

function decodeField(encoded: string): string {
  if (plainField.test(encoded)) return encoded;
  let text: string;
  try {
    text = decodeURIComponent(encoded.replaceAll('+', ' '));
  } catch (cause) {
    throw new WritError('invalid_request', 'the form has a percent sign that encodes nothing', { cause });
  }
  if (text.includes('\0')) throw invalid('the form has a NUL character');
  return text;
}

interface Reader {
  readonly text: string;
  at: number;
  depthLeft: number;
}

const malformed = (reader: Reader): WritError =>
  invalid(reader.at >= reader.text.length ? 'the JSON ends early' : `the JSON is malformed at character ${reader.at}`);

const numberPattern = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const literals: [string, boolean | null][] = [
  ['true', true],
  ['false', false],
  ['null', null],
];

function skipSpace(reader: Reader): void {
  for (;;) {
    const code = reader.text.charCodeAt(reader.at);
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) return;
    reader.at++;
  }
}

function readValue(reader: Reader): unknown {
  skipSpace(reader);
  const first = reader.text[reader.at];
  if (first === '"') return readString(reader);
  if (first === '{' || first === '[') {
    if (reader.depthLeft === 0) throw invalid('the JSON is nested too deep');
    reader.depthLeft--;
    const value = first === '{' ? readObject(reader) : readArray(reader);
    reader.depthLeft++;
    return value;
  }
  for (const [word, value] of literals) {
    if (!reader.text.startsWith(word, reader.at)) continue;
    reader.at += word.length;
    return value;
  }
  return readNumber(reader);
}

function readNumber(reader: Reader): number {
  numberPattern.lastIndex = reader.at;
  const found = numberPattern.exec(reader.text)?.[0];
  if (found === undefined) throw malformed(reader);
  const value = Number(found);
  if (!Number.isFinite(value)) throw invalid(`the number at character ${reader.at} is too large`);
  reader.at += found.length;
  return value;
}

/** Whether the next character is `wanted`; if so, it is taken. */
function takes(reader: Reader, wanted: string): boolean {
  skipSpace(reader);
  if (reader.text[reader.at] !== wanted) return false;
  reader.at++;
  return true;
}

function readArray(reader: Reader): unknown[] {
  reader.at++;
  const items: unknown[] = [];
  if (takes(reader, ']')) return items;
  for (;;) {
    items.push(readValue(reader));
    if (takes(reader, ']')) return items;
    if (!takes(reader, ',')) throw malformed(reader);
  }
}

function readObject(reader: Reader): Record<string, unknown> {
  reader.at++;
  const members: Record<string, unknown> = {};
  if (takes(reader, '}')) return members;
  for (;;) {
    skipSpace(reader);
    if (reader.text[reader.at] !== '"') throw malformed(reader);
    const startsAt = reader.at;
    const name = readString(reader);
    if (name === '__proto__') throw invalid('the JSON has a member named __proto__');
    if (Object.hasOwn(members, name)) throw invalid(`the JSON has a member twice, at character ${startsAt}`);
    if (!takes(reader, ':')) throw malformed(reader);
    members[name] = readValue(reader);
    if (takes(reader, '}')) return members;
    if (!takes(reader, ',')) throw malformed(reader);
  }
}

/** Finds the closing quote; escapes, rare as they are, are left to `JSON.parse`. */
function readString(reader: Reader): string {
  const { text } = reader;
  const startsAt = reader.at;
  let at = startsAt + 1;
  let hasEscapes = false;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code === 34) break;
    if (code === 92) {
      hasEscapes = true;
      at++;
    } else if (!(code >= 32)) {
      // A control character, or NaN at the end of the text.
      reader.at = Math.min(at, text.length);
      throw malformed(reader);
    }
    at++;
  }
  reader.at = at + 1;
  if (!hasEscapes) return text.slice(startsAt + 1, at);
  const value = readEscapes(text.slice(startsAt, at + 1), startsAt);
  if (value.includes('\0')) throw invalid(`the string at character ${startsAt} has a NUL character`);
  if (!value.isWellFormed()) throw invalid(`the string at character ${startsAt} has half a surrogate pair`);
  return value;
}

function readEscapes(quoted: string, startsAt: number): string {
  try {
    const value: unknown = JSON.parse(quoted);
    return String(value);
  } catch (cause) {
    throw new WritError('invalid_request', `the string at character ${startsAt} has an unknown escape`, { cause });
  }
}
