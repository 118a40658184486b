/**
 * The SCIM 2.0 service provider (RFC 7643, RFC 7644): how a corporate IdP tells Writ who is there. Mounted at `/scim/v2`.
 *
 * Every request carries a directory's bearer token and sees that directory's people and groups only. A departure is
 * answered after its commit, with the receipt's id in `Writ-Offboarding`. What is thrown here is a deliberate refusal, or
 * a 5xx: never a 404, which an IdP takes for "already gone". scimmy supplies the schemas and nothing else; filters,
 * PATCH, paging, members and the spellings of IdPs are our own, bounded and pure.
 */
import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import * as audit from '../../domain/audit/append.ts';
import { authenticateDirectory } from '../../domain/people/directories.ts';
import { markAnswered } from '../../domain/people/receipts.ts';
import { WritError } from '../../errors.ts';
import { remoteAddressOf } from '../../platform/http/remote-address.ts';
import * as agents from './agents.ts';
import { answerBulk, type OperationEnv } from './bulk.ts';
import {
  answer,
  baseOf,
  directoryOf,
  type Offboarding,
  queryOf,
  type ScimContext,
  type ScimDeps,
  typeFor,
  type Variables,
} from './call.ts';
import { resourceTypes, schemas, serviceProviderConfig } from './discovery.ts';
import { failureBody, type ScimFailure, toFailure } from './errors.ts';
import * as groups from './groups.ts';
import { holdBack } from './hold-back.ts';
import { listResponse } from './list.ts';
import { noMe } from './me.ts';
import type { Resource } from './resource.ts';
import { allTypes, answerList, answerSearch, onlyGroups, onlyUsers } from './search.ts';
import { closeTrace, noteEffect, noteRefusal, openTrace, redactPath, redactText } from './trace.ts';
import * as users from './users.ts';

export type { ScimDeps } from './call.ts';

/** The edge. @see https://www.rfc-editor.org/info/rfc7644 */
export function createScim(deps: ScimDeps): Hono<{ Variables: Variables }> {
  const scim = new Hono<{ Variables: Variables }>();
  scim.onError((error, c) => refuse(deps, c, error));
  scim.use('*', (c, next) => trace(deps, c, next));
  scim.use('*', async (c, next) => {
    await authenticate(deps, c);
    await holdBack(deps, c);
    await next();
    const offboardings = c.get('offboardings');
    // Only what was answered well proves anything.
    if (offboardings.length > 0 && c.res.ok) whenSent(c, () => confirm(deps, c, offboardings));
  });
  const operations = createOperations(deps);
  scim.post('/Bulk', (c) => answerBulk(deps, c, operations));
  mountSearch(deps, scim);
  mountRoutes(deps, scim);
  return scim;
}

/** Before the paths with an id, which `.search` would be. */
function mountSearch(deps: ScimDeps, scim: Hono<{ Variables: Variables }>): void {
  scim.post('/.search', (c) => answerSearch(deps, c, allTypes));
  scim.post('/Users/.search', (c) => answerSearch(deps, c, onlyUsers));
  scim.post('/Groups/.search', (c) => answerSearch(deps, c, onlyGroups));
  scim.post('/Agents/.search', (c) => agents.searchAgents(deps, c));
  scim.all('/Agents/.search', (c) => refuseAtAgents(deps, c, 'POST'));
  for (const path of ['/.search', '/Users/.search', '/Groups/.search']) {
    scim.all(path, (c) => refuseMethod(deps, c, 'POST'));
  }
}

/**
 * The same routes for the operations of a Bulk, whose caller is known already: an operation is carried out by the code
 * that answers the request by itself, so that no check can be forgotten.
 */
function createOperations(deps: ScimDeps): Hono<OperationEnv> {
  const routes = new Hono<{ Variables: Variables }>();
  routes.onError((error, c) => refuse(deps, c, error));
  routes.use('*', async (c, next) => {
    const refusal = c.get('refusal') ?? null;
    if (refusal !== null) throw refusal;
    await next();
  });
  mountRoutes(deps, routes);
  const operations = new Hono<OperationEnv>();
  operations.use('*', async (c, next) => {
    const { outer, refusal } = c.env;
    c.set('act', outer.get('act'));
    c.set('directory', outer.get('directory'));
    c.set('requestedAt', outer.get('requestedAt'));
    c.set('trace', outer.get('trace'));
    c.set('offboardings', []);
    c.set('agentsStopped', null);
    c.set('refusal', refusal);
    await next();
    // Only what was answered well proves anything.
    if (c.res.ok) outer.get('offboardings').push(...c.get('offboardings'));
  });
  return operations.route('/', routes);
}

function mountRoutes(deps: ScimDeps, scim: Hono<{ Variables: Variables }>): void {
  mountDiscovery(deps, scim);
  scim.get('/Users', (c) => answerList(deps, c, onlyUsers));
  scim.post('/Users', (c) => users.createUser(deps, c));
  scim.get('/Users/:id', (c) => users.getUser(deps, c));
  scim.put('/Users/:id', (c) => users.changeUser(deps, c));
  scim.patch('/Users/:id', (c) => users.changeUser(deps, c));
  scim.delete('/Users/:id', (c) => users.deleteUser(deps, c));
  scim.get('/Groups', (c) => answerList(deps, c, onlyGroups));
  scim.post('/Groups', (c) => groups.createGroup(deps, c));
  scim.get('/Groups/:id', (c) => groups.getGroup(deps, c));
  scim.put('/Groups/:id', (c) => groups.replaceGroup(deps, c));
  scim.patch('/Groups/:id', (c) => groups.patchGroupById(deps, c));
  scim.delete('/Groups/:id', (c) => groups.deleteGroup(deps, c));
  scim.get('/Agents', (c) => agents.listAgents(deps, c));
  scim.post('/Agents', (c) => agents.createAgentOf(deps, c));
  scim.get('/Agents/:id', (c) => agents.getAgent(deps, c));
  scim.put('/Agents/:id', (c) => agents.changeAgentOf(deps, c));
  scim.patch('/Agents/:id', (c) => agents.changeAgentOf(deps, c));
  scim.delete('/Agents/:id', (c) => agents.deleteAgent(deps, c));
  mountRest(deps, scim);
}

function mountDiscovery(deps: ScimDeps, scim: Hono<{ Variables: Variables }>): void {
  const base = baseOf(deps);
  const list = (resources: Resource[]) => listResponse(resources, resources.length, 1);
  const find = (resources: Resource[], id: string): Resource => {
    const found = resources.find((resource) => String(resource.id).toLowerCase() === id.toLowerCase());
    if (found === undefined) throw new WritError('not_found', 'no such resource');
    return found;
  };
  // RFC 7644 §4: a filter here is forbidden, lest it be taken for one that works.
  const discovery = (resource: (c: ScimContext) => Resource) => (c: ScimContext) => {
    if (queryOf(c).has('filter')) throw new WritError('forbidden', 'filter: not at this endpoint');
    return answer(c, resource(c));
  };
  scim.get(
    '/ServiceProviderConfig',
    discovery(() => serviceProviderConfig(base)),
  );
  scim.get(
    '/ResourceTypes',
    discovery((c) => list(resourceTypes(base, hasAgents(c)))),
  );
  scim.get(
    '/ResourceTypes/:id',
    discovery((c) => find(resourceTypes(base, hasAgents(c)), c.req.param('id') ?? '')),
  );
  scim.get(
    '/Schemas',
    discovery((c) => list(schemas(base, hasAgents(c)))),
  );
  scim.get(
    '/Schemas/:id',
    discovery((c) => find(schemas(base, hasAgents(c)), c.req.param('id') ?? '')),
  );
}

/** What SCIM defines and Writ does not do (501), known paths with other methods (405), and everything else (404). */
function mountRest(deps: ScimDeps, scim: Hono<{ Variables: Variables }>): void {
  scim.all('/Me', (c) => fail(c, noMe));
  const allowed: [string, string][] = [
    ['/Users', 'GET, POST'],
    ['/Groups', 'GET, POST'],
    ['/Bulk', 'POST'],
    ['/Users/:id', 'GET, PUT, PATCH, DELETE'],
    ['/Groups/:id', 'GET, PUT, PATCH, DELETE'],
    ...['/ServiceProviderConfig', '/ResourceTypes', '/ResourceTypes/:id', '/Schemas', '/Schemas/:id'].map(
      (path): [string, string] => [path, 'GET'],
    ),
  ];
  for (const [path, methods] of allowed) {
    scim.all(path, (c) => refuseMethod(deps, c, methods));
  }
  scim.all('/Agents', (c) => refuseAtAgents(deps, c, 'GET, POST'));
  scim.all('/Agents/:id', (c) => refuseAtAgents(deps, c, 'GET, PUT, PATCH, DELETE'));
  scim.all('*', (c) => refuse(deps, c, new WritError('not_found', 'There is nothing at this path.')));
}

const hasAgents = (c: ScimContext): boolean => directoryOf(c).agentsEnvironment !== null;

/** For a directory without agents these paths are like any that is not there. */
function refuseAtAgents(deps: ScimDeps, c: ScimContext, allowed: string): Promise<Response> {
  agents.environmentOf(c);
  return refuseMethod(deps, c, allowed);
}

function refuseMethod(deps: ScimDeps, c: ScimContext, allowed: string): Promise<Response> {
  c.header('Allow', allowed);
  return refuse(deps, c, new WritError('method_not_allowed', `${c.req.method} is not supported here.`));
}

/** Once a request of a directory has its answer, refusals among them, it is told of. Nothing here refuses anything. */
async function trace(deps: ScimDeps, c: ScimContext, next: () => Promise<void>): Promise<void> {
  const opened = openTrace();
  c.set('trace', opened);
  await next();
  const directory = c.get('directory');
  if (directory === null || deps.noteRequest === undefined) return;
  deps.noteRequest(
    closeTrace(opened, {
      directoryId: directory.id,
      requestId: c.get('act').requestId,
      method: c.req.method,
      url: new URL(c.req.url),
      base: '/scim/v2',
      status: c.res.status,
      userAgent: c.req.header('user-agent'),
    }),
  );
}

const maxTokenLength = 512;

/** Finds out which directory calls. An outage throws and becomes a 503: a 401 would make an IdP give up. */
async function authenticate(deps: ScimDeps, c: ScimContext): Promise<void> {
  const act = {
    node: deps.node,
    requestId: c.get('requestId') ?? randomUUID(),
    from: remoteAddressOf(c),
    traceId: c.get('traceId'),
  };
  c.set('requestedAt', deps.now());
  c.set('offboardings', []);
  c.set('agentsStopped', null);
  c.set('directory', null);
  c.set('act', { ...act, by: { type: 'directory', id: 'unknown' } });
  const token = /^Bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '')?.[1];
  if (token === undefined) throw new WritError('unauthenticated', 'A bearer token is required.');
  const directory = token.length > maxTokenLength ? null : await authenticateDirectory(deps.db, token);
  if (directory === null) throw new WritError('unauthenticated', 'The bearer token is not valid.');
  c.set('directory', directory);
  c.set('act', { ...act, by: { type: 'directory', id: directory.id } });
}

/** Node's response, which `@hono/node-server` hands over; absent in `app.request`. */
interface NodeBindings {
  outgoing?: { once(event: 'finish', listener: () => void): unknown };
}

const bindingsOf = (c: ScimContext): NodeBindings => c.env ?? {};

/** Once the answer was handed to the network; never, if the caller is gone by then. */
function whenSent(c: ScimContext, act: () => Promise<void>): void {
  const { outgoing } = bindingsOf(c);
  if (outgoing === undefined) queueMicrotask(act);
  else outgoing.once('finish', act);
}

async function confirm(deps: ScimDeps, c: ScimContext, offboardings: readonly Offboarding[]): Promise<void> {
  const answeredAt = deps.now();
  const seconds = Math.max(0, answeredAt.getTime() - c.get('requestedAt').getTime()) / 1000;
  for (const { agents } of offboardings) if (agents !== null) deps.observe?.({ agents, seconds });
  // One after the other: a Bulk may have a thousand.
  for (const { receipt } of offboardings) {
    await markAnswered(deps.db, receipt, answeredAt).catch((error: unknown) => {
      deps.log.warn({ err: error, offboarding: receipt }, 'the instant of the answer could not be recorded');
    });
  }
}

function fail(c: ScimContext, failure: ScimFailure): Response {
  noteRefusal(c.get('trace'), failure);
  noteEffect(c.get('trace'), failure.status < 500 ? 'refused' : 'failed');
  for (const [name, value] of Object.entries(failure.headers ?? {})) c.header(name, value);
  return c.body(JSON.stringify(failureBody(failure)), failure.status, typeFor(c));
}

async function refuse(deps: ScimDeps, c: ScimContext, error: unknown): Promise<Response> {
  const failure = toFailure(limitStranger(deps, c, error));
  const { requestId } = c.get('act');
  if (failure.status >= 500) deps.log.error({ err: error, requestId, method: c.req.method }, 'a SCIM request failed');
  else if (failure.status !== 429) await recordRefusal(deps, c, failure);
  if (failure.status === 401 && c.req.header('authorization') !== undefined) {
    failure.headers = { 'WWW-Authenticate': 'Bearer realm="Writ SCIM", error="invalid_token"' };
  }
  return fail(c, failure);
}

/** Nobody without a directory's token fills the log: past the limit a refusal says no more than that. */
function limitStranger(deps: ScimDeps, c: ScimContext, error: unknown): unknown {
  if (!(error instanceof WritError) || error.code !== 'unauthenticated') return error;
  try {
    deps.limits.noteFailure(remoteAddressOf(c));
    return error;
  } catch (limited) {
    return limited;
  }
}

/**
 * Best effort: the refusal stands whether or not it could be recorded. A read that finds nothing is no event, and a request
 * without a credential says nothing worth keeping: anybody could fill the log with those.
 */
async function recordRefusal(deps: ScimDeps, c: ScimContext, { status, scimType, detail }: ScimFailure): Promise<void> {
  if (status === 404 && c.req.method === 'GET') return;
  if (status === 401 && c.req.header('authorization') === undefined) return;
  const details = {
    directory: c.get('directory')?.id ?? null,
    method: c.req.method,
    path: redactPath(new URL(c.req.url), '/scim/v2'),
    status,
    ...(scimType === undefined ? {} : { scimType }),
  };
  try {
    await audit.append(deps.db, c.get('act'), [
      { kind: 'scim.refused', outcome: 'refused', reason: redactText(detail), details },
    ]);
  } catch (error) {
    deps.log.warn({ err: error, requestId: c.get('act').requestId }, 'a refused SCIM request could not be recorded');
  }
}
