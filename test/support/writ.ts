/** A whole Writ on a database of its own, in this process, reached over HTTP like any other. */
import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { type Logger, pino } from 'pino';
import { readConfig } from '../../src/config.ts';
import { start, type Writ } from '../../src/server.ts';
import { createTestDatabase } from './database.ts';

export const adminToken = 'test-administrator-token';
const kek = randomBytes(32).toString('base64');

export interface TestWrit extends AsyncDisposable {
  /** Issuer and base URL. */
  url: string;
  databaseUrl: string;
  routes: Writ['routes'];
  /** Calls the administration API; answers status and parsed body. */
  admin(method: string, path: string, body?: unknown): Promise<Answer>;
  close(): Promise<void>;
}

/** What a test reads of an answer: whatever JSON it is. */
export type Parsed = ReturnType<typeof JSON.parse>;

export interface Answer<T = Parsed> {
  status: number;
  headers: Headers;
  body: T;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Status, headers and body of an answer, parsed when it is JSON. */
export async function readAnswer(response: Response): Promise<Answer> {
  const text = await response.text();
  const isJson = /json/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, body: isJson && text !== '' ? JSON.parse(text) : text };
}

export interface TestWritOptions {
  env?: Record<string, string>;
  /** Another node's database and issuer, to be a second node of the same Writ. */
  databaseUrl?: string;
  issuer?: string;
  now?: () => Date;
  /** Absent: nothing is logged, but for `TEST_LOG_LEVEL`. */
  log?: Logger;
}

export async function startWrit(options: TestWritOptions = {}): Promise<TestWrit> {
  const database = options.databaseUrl === undefined ? await createTestDatabase() : undefined;
  const databaseUrl = options.databaseUrl ?? database?.url ?? '';
  const port = await freePort();
  const config = readConfig({
    PORT: String(port),
    WRIT_ISSUER: options.issuer ?? `http://localhost:${port}`,
    DATABASE_URL: databaseUrl,
    WRIT_KEK: kek,
    WRIT_ADMIN_TOKEN: adminToken,
    ...options.env,
  });
  const log = options.log ?? pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' });
  const writ = await start(config, { now: options.now ?? (() => new Date()), log });
  const url = `http://localhost:${port}`;
  const close = async () => {
    await writ.close();
    await database?.drop();
  };
  return {
    url,
    databaseUrl,
    routes: writ.routes,
    admin: async (method, path, body) =>
      readAnswer(
        await fetch(`${url}/api/v1${path}`, {
          method,
          headers: {
            authorization: `Bearer ${adminToken}`,
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      ),
    close,
    [Symbol.asyncDispose]: close,
  };
}
