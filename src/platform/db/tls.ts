/**
 * TLS to PostgreSQL, under postgres.js instead of in it: the driver's own wraps the socket it was given, so that nobody
 * else can close the connection without an error that no one catches. The modes are libpq's; there is no `prefer` or
 * `allow`, which an attacker on the way turns into plain text: they are read as `require`.
 */
import { readFileSync } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';

/** Absent: plain. */
export type TlsMode = ConnectionOptions | undefined;

/**
 * Takes what is about TLS out of a database URL: `sslmode`, `sslrootcert` (a file, or `system`), `sslcert`, `sslkey`.
 * `require` encrypts, `verify-ca` also checks who signed, `verify-full` also the name.
 */
export function parseTls(text: string): { url: string; tls: TlsMode } {
  const [address = '', query] = text.split('?', 2);
  const parameters = new URLSearchParams(query);
  const take = (name: string): string | undefined => {
    const value = parameters.get(name) ?? undefined;
    parameters.delete(name);
    return value;
  };
  const root = take('sslrootcert');
  const mode = take('sslmode') ?? take('ssl') ?? (root === undefined ? 'disable' : 'verify-full');
  const certificate = take('sslcert');
  const key = take('sslkey');
  const url = parameters.size === 0 ? address : `${address}?${parameters}`;
  if (mode === 'disable' || mode === 'false') return { url, tls: undefined };
  const tls: ConnectionOptions = {
    rejectUnauthorized: mode === 'verify-ca' || mode === 'verify-full',
    ...(root !== undefined && root !== 'system' && { ca: readFileSync(root) }),
    ...(certificate !== undefined && { cert: readFileSync(certificate) }),
    ...(key !== undefined && { key: readFileSync(key) }),
    ...(mode === 'verify-ca' && { checkServerIdentity: () => undefined }),
  };
  return { url, tls };
}

/** Length 8, code 80877103 (PostgreSQL manual §54.7, SSLRequest). */
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** A stream of plain text whose bytes travel encrypted over `raw`, which is connecting to `host`. */
export function secure(raw: Socket, host: string, options: ConnectionOptions): Duplex {
  let inner: TLSSocket | undefined;
  let begin: (() => void) | undefined;
  const stream = new Duplex({
    allowHalfOpen: false,
    write: (chunk: Buffer, _encoding, done) => {
      const send = (): void => void inner?.write(chunk, done);
      if (inner === undefined) begin = send;
      else send();
    },
    final: (done) => {
      if (inner === undefined) done();
      else inner.end(done);
    },
    read: () => void inner?.resume(),
    destroy: (error, done) => {
      inner?.destroy();
      raw.destroy();
      done(error);
    },
  });
  const fail = (error: Error): void => void stream.destroy(error);
  const close = (): void => void stream.destroy();
  raw.on('error', fail).on('close', close);
  raw.once('connect', () => raw.write(sslRequest));
  raw.once('data', (answer: Buffer) => {
    // More than one byte would be a stranger's, sent ahead of the handshake (CVE-2021-23222).
    if (answer.length !== 1 || answer[0] !== 0x53) return fail(new Error('the database does not offer TLS'));
    const name = isIP(host) ? {} : { servername: host };
    const encrypted = connectTls({ ...options, ...name, host, socket: raw });
    encrypted.on('error', fail).on('close', close);
    encrypted.once('secureConnect', () => {
      inner = encrypted;
      encrypted.on('end', () => stream.push(null));
      encrypted.on('data', (chunk) => {
        if (!stream.push(chunk)) encrypted.pause();
      });
      begin?.();
    });
  });
  return stream;
}
