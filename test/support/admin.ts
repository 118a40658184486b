/** The administration API on a database of its own, without a server around it, and somebody who calls it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { expect } from 'vitest';
import * as audit from '../../src/domain/audit/append.ts';
import { type AdminDeps, callsOf, createAdmin } from '../../src/edges/admin/admin.ts';
import { ensureAdminToken } from '../../src/edges/admin/authenticate.ts';
import type { Call } from '../../src/edges/admin/call.ts';
import { connect, type Sql } from '../../src/platform/db/client.ts';
import { createKeyring } from '../../src/platform/keys/keyring.ts';
import { createTestDatabase } from './database.ts';

export type Json = Record<string, unknown>;
export interface Answer {
  status: number;
  headers: Headers;
  body: Json;
}

export interface AdminWorld {
  deps: AdminDeps;
  sql: Sql;
  calls: Call[];
  /** What was logged as an error. */
  faults: object[];
  /** As the bootstrap administrator; an answer of 2xx has to be what the document says. */
  get(path: string): Promise<Answer>;
  post(path: string, body?: unknown): Promise<Answer>;
  put(path: string, body: unknown): Promise<Answer>;
  patch(path: string, body: unknown): Promise<Answer>;
  /** Anything at all, below `/api/v1`. */
  send(path: string, init?: RequestInit): Promise<Response>;
  /** Makes a person and returns their id. */
  person(userName: string, directory: string): Promise<string>;
  close(): Promise<void>;
}

export const adminToken = 'writ_admin_for-tests-only';

export async function openAdminWorld(): Promise<AdminWorld> {
  const database = await createTestDatabase();
  const { db, sql, close } = connect({ url: database.url });
  const kek = randomBytes(32);
  const faults: object[] = [];
  const log = { warn: () => {}, error: (fields: object) => void faults.push(fields) };
  const node = { id: randomUUID(), macKey: randomBytes(32) };
  await audit.enlist(db, node);
  await ensureAdminToken(db, adminToken);
  const keyring = await createKeyring({ db, kek, now: () => new Date(), log });
  const issuer = 'https://writ.example.com';
  const deps: AdminDeps = {
    db,
    node,
    kek,
    keyring,
    issuer,
    log,
    remoteAddress: () => '203.0.113.7',
    noteFailure: () => {},
  };
  const app = new Hono().route('/api/v1', createAdmin(deps));
  const send = async (path: string, init?: RequestInit) => app.request(`${issuer}/api/v1${path}`, init);
  const calls = callsOf(deps);
  const ask = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const response = await send(path, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = { status: response.status, headers: response.headers, body: (await response.json()) as Json };
    expectAsDocumented(calls, method, path, answer);
    return answer;
  };
  return {
    deps,
    sql,
    calls,
    faults,
    get: (path) => ask('GET', path),
    post: (path, body = {}) => ask('POST', path, body),
    put: (path, body) => ask('PUT', path, body),
    patch: (path, body) => ask('PATCH', path, body),
    send,
    person: async (userName, directory) => {
      const id = randomUUID();
      await sql`insert into people (id, directory_id, user_name) values (${id}, ${directory}, ${userName})`;
      return id;
    },
    close: async () => {
      await keyring.close();
      await close();
      await database.drop();
    },
  };
}

/** The call that answers `path`. */
const findCall = (calls: Call[], method: string, path: string): Call | undefined =>
  calls.find(
    (call) =>
      call.method === method.toLowerCase() &&
      new RegExp(`^${call.path.replace(/\{\w+\}/, '[^/]+')}$`).test(path.replace(/\?.*/, '')),
  );

function expectAsDocumented(calls: Call[], method: string, path: string, { status, headers, body }: Answer): void {
  expect(headers.get('x-request-id')).toBeTruthy();
  expect(headers.get('cache-control')).toBe('no-store');
  if (status >= 400) {
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(body).toMatchObject({ type: 'about:blank', status, requestId: headers.get('x-request-id') });
    return;
  }
  const call = findCall(calls, method, path);
  expect(call, `${method} ${path}`).toBeDefined();
  expect(status).toBe(call?.status);
  // Nothing is answered that is not in the schema, and everything that is.
  expect(call?.answer.parse(body)).toEqual(body);
}
