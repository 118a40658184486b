/**
 * The administration API (`/api/v1`). It owns no state and makes no decision: it authenticates, checks what comes in,
 * calls one domain function, and renders what comes out. Every path below it wants a bearer first, unknown ones too, so
 * that strangers learn nothing; `/openapi.json` alone is public.
 */
import { randomUUID } from 'node:crypto';
import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Act, AuditNode } from '../../domain/audit/append.ts';
import * as audit from '../../domain/audit/append.ts';
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { lifecycleCalls } from './agent-lifecycle.ts';
import { agentCalls } from './agents.ts';
import { answerCall } from './answer.ts';
import { apiCalls } from './apis.ts';
import { auditCalls } from './audit.ts';
import { authenticateAdmin } from './authenticate.ts';
import type { Call } from './call.ts';
import { departureCalls } from './departures.ts';
import { directoryCalls } from './directories.ts';
import { directoryRequestCalls } from './directory-requests.ts';
import { environmentCalls } from './environments.ts';
import { groupCalls } from './groups.ts';
import { handoverCalls } from './handovers.ts';
import { intentCalls } from './intents.ts';
import { keyCalls } from './keys.ts';
import { offboardingCalls } from './offboardings.ts';
import { describeCalls, openApiDocument } from './openapi.ts';
import { peopleCalls } from './people.ts';
import { answerProblem, EdgeRefusal, type Log } from './problem.ts';

export interface AdminDeps {
  db: Db;
  node: AuditNode;
  /** 32 bytes; new signing keys are kept under it. */
  kek: Uint8Array;
  keyring: Keyring;
  issuer: string;
  log: Log;
  /** Address of the caller, for the audit log. */
  remoteAddress: (c: Context) => string | null;
  /** Counts a caller without a good token; throws when it is one too many. */
  noteFailure(address: string | null): void;
}

/** `requestId` may be set by middleware that runs before; else it is made here. */
interface Env {
  Variables: { requestId: string; traceId?: string; administrator: string };
}

/** Every call there is. */
export const callsOf = (deps: AdminDeps): Call[] => [
  ...directoryCalls(deps),
  ...directoryRequestCalls(deps),
  ...peopleCalls(deps),
  ...groupCalls(deps),
  ...offboardingCalls(deps),
  ...departureCalls(deps),
  ...apiCalls(deps),
  ...intentCalls(deps),
  ...agentCalls(deps),
  ...lifecycleCalls(deps),
  ...environmentCalls(deps),
  ...handoverCalls(deps),
  ...auditCalls(deps),
  ...keyCalls(deps),
];

/** Everything under `/api/v1`, to be mounted there. */
export function createAdmin(deps: AdminDeps): OpenAPIHono<Env> {
  const admin = new OpenAPIHono<Env>();
  const calls = callsOf(deps);
  const parts = {
    baseUrl: `${deps.issuer}/api/v1`,
    report: (err: unknown, requestId: string) => deps.log.error({ err, requestId }, 'an answer was cut short'),
  };
  admin.onError((error, c) => answerProblem(error, requestIdOf(c), deps.log));
  describeCalls(admin.openAPIRegistry, calls);
  const document = JSON.stringify(openApiDocument(admin, deps.issuer));
  admin.get('/openapi.json', (c) => c.body(document, 200, { 'content-type': 'application/json' }));
  admin.use('*', async (c, next) => {
    c.set('administrator', await admit(c, deps));
    await next();
  });
  for (const call of calls) {
    admin.on(call.method, toRoutingPath(call.path), (c) => answerCall(c, call, actOf(c, deps), parts));
  }
  for (const [path, methods] of methodsByPath(calls)) {
    admin.all(toRoutingPath(path), () => refuseMethod(methods));
  }
  admin.all('*', () => {
    throw new WritError('not_found', 'There is no such call. /api/docs lists all of them.');
  });
  return admin;
}

/** The administrator's name. A token that was refused goes on record; a request without one says nothing worth keeping. */
async function admit(c: Context<Env>, deps: AdminDeps): Promise<string> {
  const authorization = c.req.header('authorization');
  try {
    return await authenticateAdmin(deps.db, authorization);
  } catch (error) {
    if (error instanceof EdgeRefusal) deps.noteFailure(deps.remoteAddress(c));
    if (authorization !== undefined && error instanceof EdgeRefusal) {
      c.set('administrator', 'unknown');
      const details = { method: c.req.method, path: c.req.path.slice(0, maxRecordedPath) };
      await audit.append(deps.db, actOf(c, deps), [{ kind: 'admin.refused', outcome: 'refused', details }]);
    }
    throw error;
  }
}

const maxRecordedPath = 200;
const toRoutingPath = (path: string): string => path.replace(/\{(\w+)\}/g, ':$1');

function requestIdOf(c: Context<Env>): string {
  const given = c.get('requestId');
  if (given !== undefined) return given;
  const made = randomUUID();
  c.set('requestId', made);
  return made;
}

const actOf = (c: Context<Env>, { node, remoteAddress }: AdminDeps): Act => ({
  node,
  by: { type: 'administrator', id: c.get('administrator') },
  requestId: requestIdOf(c),
  from: remoteAddress(c),
  traceId: c.get('traceId'),
});

function methodsByPath(calls: Call[]): Map<string, string[]> {
  const byPath = Map.groupBy(calls, (call) => call.path);
  return new Map(
    [...byPath].map(([path, ofPath]) => [
      path,
      ofPath.flatMap(({ method }) => (method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()])),
    ]),
  );
}

function refuseMethod(methods: string[]): never {
  const allow = methods.join(', ');
  throw new EdgeRefusal('method_not_allowed', `This path answers ${allow}.`, { headers: { allow } });
}
