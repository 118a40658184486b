/** The SCIM edge on a fresh database, spoken to over HTTP requests by one or more directories. */
import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { pino } from 'pino';
import { createAgent } from '../../src/domain/agents/agents.ts';
import type { Act } from '../../src/domain/audit/append.ts';
import { createDirectory } from '../../src/domain/people/directories.ts';
import { createScim, type ScimDeps } from '../../src/edges/scim/scim.ts';
import type { Db } from '../../src/platform/db/client.ts';
import type { DirectoryKind } from '../../src/platform/db/schema.ts';
import { createLimits } from '../../src/platform/http/rate-limit.ts';
import { type Ground, openGround } from './ground.ts';
import type { IdpRequest } from './idp.ts';

export interface ScimAnswer {
  status: number;
  headers: Headers;
  /** The parsed body; `null` when there is none. */
  body: Record<string, unknown> | null;
}

export interface ScimDirectory {
  id: string;
  token: string;
  send(request: IdpRequest): Promise<ScimAnswer>;
  /** A request with a JSON body, or a body as it is. */
  call(
    method: IdpRequest['method'],
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<ScimAnswer>;
  /** Creates a user and returns the id. */
  user(userName?: string, more?: Record<string, unknown>): Promise<string>;
}

export interface ScimWorld extends Ground {
  app: Hono;
  directory(kind?: DirectoryKind): Promise<ScimDirectory>;
  /** An agent of this person. */
  agentOf(person: string): Promise<string>;
  kinds(person: string): Promise<string[]>;
}

export const issuer = 'http://writ.test';

export const idIn = (answer: ScimAnswer): string => String(answer.body?.id);

export async function openScimWorld(parts: Pick<ScimDeps, 'noteRequest'> = {}): Promise<ScimWorld> {
  const ground = await openGround();
  const { db, sql, act } = ground;
  const app = mountScim(db, act, undefined, parts);
  return {
    ...ground,
    app,
    directory: (kind = 'generic') => connectDirectory(db, act, app, kind),
    agentOf: async (ownerId) => {
      const input = {
        name: 'triage',
        description: '',
        ownerId,
        environment: 'test',
        credential: { secret: true } as const,
      };
      return (await createAgent(db, act, { ...input, intents: [] })).agent.id;
    },
    kinds: async (person) =>
      (await sql`select kind from audit_entries where person_id = ${person} order by counter`).map(({ kind }) => kind),
  };
}

/** The edge, mounted where the server mounts it. */
export function mountScim(
  db: Db,
  { node }: Pick<Act, 'node'>,
  limits = createLimits({ client: 0, directory: 0, failures: 0 }, () => 0),
  parts: Pick<ScimDeps, 'noteRequest'> = {},
): Hono {
  const deps = {
    ...parts,
    db,
    node,
    now: () => new Date(),
    issuer,
    log: pino({ level: 'silent' }),
    limits,
    cursorKey: Buffer.alloc(32, 7),
  };
  return new Hono().route('/scim/v2', createScim(deps));
}

export async function connectDirectory(db: Db, act: Act, app: Hono, kind: DirectoryKind): Promise<ScimDirectory> {
  const { id, scimToken } = await createDirectory(db, act, { name: `${kind}-${randomUUID()}`, kind });
  const send = async ({ method, path, headers, body }: IdpRequest): Promise<ScimAnswer> => {
    const response = await app.request(`${issuer}/scim/v2${path}`, {
      method,
      headers: { Authorization: `Bearer ${scimToken}`, ...headers },
      ...(body === undefined ? {} : { body }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
  };
  const call: ScimDirectory['call'] = (method, path, body, headers = {}) =>
    send({
      method,
      path,
      headers: { ...(body === undefined ? {} : { 'Content-Type': 'application/scim+json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
  return {
    id,
    token: scimToken,
    send,
    call,
    user: async (userName = `${randomUUID()}@example.com`, more = {}) =>
      idIn(await call('POST', '/Users', { userName, ...more })),
  };
}
