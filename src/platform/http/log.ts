/**
 * Logs: one JSON object a line (pino). Secrets never get in: members with a secret's name are replaced at any depth,
 * tokens are cut out of every text, and errors of the database are written without the values of their statement.
 */
import { randomUUID } from 'node:crypto';
import { type DestinationStream, type Logger, pino } from 'pino';
import type { LogLevel } from '../../config.ts';

export type { Logger } from 'pino';

const censored = '[redacted]';
const maxDepth = 6;
const maxText = 8_000;

/** Compared in lower case without `_` and `-`: `client_secret`, `clientSecret` and `Client-Secret` are one name. */
const secretNames = new Set([
  'authorization',
  'proxyauthorization',
  'cookie',
  'setcookie',
  'password',
  'passwd',
  'secret',
  'clientsecret',
  'clientassertion',
  'assertion',
  'token',
  'accesstoken',
  'refreshtoken',
  'idtoken',
  'subjecttoken',
  'actortoken',
  'scimtoken',
  'admintoken',
  'metricstoken',
  'registrationaccesstoken',
  'kek',
  'privatekey',
  'params',
  'parameters',
  'args',
]);

/** A JWT with its signature or without, a Bearer or Basic credential, and the password in a URL. */
const tokenPattern = /eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*){0,3}/g;
const credentialPattern = /\b(bearer|basic|dpop)\s+[\w.~+/=-]{8,}/gi;
/** What `makeSecret` makes. */
const ownSecretPattern = /\bwrit_(client|scim|feed|admin)_[\w-]{16,}/g;
const urlPasswordPattern = /(\w:\/\/[^\s:/@]*:)[^\s/@]+@/g;

/** Writes to standard output unless told otherwise. */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (members: Record<string, unknown>) => redactMembers(members, maxDepth),
    },
    // Errors are written by `redact`, as they occur under any name and as causes.
    serializers: { err: (error: unknown) => error },
    hooks: {
      logMethod(args: Parameters<pino.LogFn>, method: pino.LogFn) {
        const [first, ...rest] = args as unknown[];
        const text = (value: unknown): unknown => (typeof value === 'string' ? redactText(value) : value);
        const head = first instanceof Error ? { err: first } : text(first);
        // Without a message pino takes the error's own, as it stands.
        const error = typeof head === 'object' && head !== null && 'err' in head ? head.err : undefined;
        const message = rest.length === 0 && error instanceof Error ? [withoutValues(error, error.message)] : [];
        method.apply(this, [head, ...rest.map(text), ...message] as unknown as Parameters<pino.LogFn>);
      },
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

/** An id for one request, for its log lines and its error answer. */
export const createRequestId = (): string => randomUUID();

function redactMembers(members: object, depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(members)) {
    copy[name] = secretNames.has(name.toLowerCase().replace(/[_-]/g, '')) ? censored : redact(value, depth - 1);
  }
  return copy;
}

/** A copy that may be logged. */
export function redact(value: unknown, depth: number = maxDepth): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (depth <= 0) return '[…]';
  if (value instanceof Error) return describeError(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Headers) return redactMembers(Object.fromEntries(value), depth);
  if (value instanceof URL) return redactText(value.href);
  if (Array.isArray(value)) return value.slice(0, 100).map((item) => redact(item, depth - 1));
  return redactMembers(value, depth);
}

function redactText(text: string): string {
  const short = text.length > maxText ? `${text.slice(0, maxText)}…` : text;
  return short
    .replace(tokenPattern, '[token]')
    .replace(ownSecretPattern, censored)
    .replace(credentialPattern, `$1 ${censored}`)
    .replace(urlPasswordPattern, `$1${censored}@`);
}

function describeError(error: Error, depth: number): Record<string, unknown> {
  const described: Record<string, unknown> = { type: error.name, message: withoutValues(error, error.message) };
  for (const name of ['code', 'constraint_name', 'table_name', 'routine', 'syscall', 'port']) {
    const value: unknown = Reflect.get(error, name);
    if (typeof value === 'string' || typeof value === 'number') described[name] = value;
  }
  if (error.stack !== undefined) described.stack = withoutValues(error, error.stack);
  if (error.cause !== undefined) described.cause = redact(error.cause, depth - 1);
  return described;
}

/**
 * A message or a stack without the values of a statement. Drizzle's message repeats them after `params:`, PostgreSQL's
 * quotes them when they do not fit their type (SQLSTATE class 22), and its `detail`, which is left out, the whole row.
 */
function withoutValues(error: Error, text: string): string {
  const short = text.replace(/\nparams: [\s\S]*?(?=\n {4}at |$)/, '');
  const isAboutValue = 'code' in error && typeof error.code === 'string' && error.code.startsWith('22');
  return redactText(isAboutValue ? short.replace(/"[\s\S]*?"(?=\n {4}at |$)/, '"…"') : short);
}
