/**
 * `/Bulk` (RFC 7644 §3.7). Each operation is answered by the routes that answer the request by itself, in a transaction
 * of its own, in the order given; only what an operation refers to is made before it, wherever it stands. Of a circle one
 * resource is made without its reference, which is added once the other is there.
 *
 * A departure is carried out whatever becomes of the rest: after `failOnErrors` has stopped it, in a message that is
 * wrong or not quite JSON, with a stale version, with references that lead nowhere, and when there were too many
 * requests. Only what exceeds `maxOperations` or `maxPayloadSize`, and what is no JSON by any reading, is not heard.
 */
import type { Hono } from 'hono';
import { WritError } from '../../errors.ts';
import { bodyBytes } from '../../platform/http/body.ts';
import type { RateLimited } from '../../platform/http/rate-limit.ts';
import { scimUrns } from '../../protocol.ts';
import { type Deferral, referencesIn, resolveIn, splitCircle } from './bulk-references.ts';
import { type BulkOperation, type BulkRequest, readBulk } from './bulk-request.ts';
import {
  answer,
  baseOf,
  directoryOf,
  noteOffboardings,
  readChange,
  type ScimContext,
  type ScimDeps,
  scimType,
  type Variables,
} from './call.ts';
import { isObject } from './departure.ts';
import { UnresolvedReference } from './errors.ts';
import { countOperations } from './hold-back.ts';
import type { Resource } from './resource.ts';

/** What comes to an operation with its request. */
export interface OperationEnv {
  Variables: Variables;
  Bindings: {
    outer: ScimContext;
    /** Why the operation is not carried out: it is refused, and recorded, as the request by itself would be. */
    refusal: unknown;
  };
}

type Operations = Hono<OperationEnv>;

type State = 'waiting' | 'running' | 'done';

/** A part of a resource of a circle that is still to be added. */
interface Pending {
  at: number;
  id: string;
  references: Set<string>;
  later: Deferral[];
}

interface Run extends BulkRequest {
  deps: ScimDeps;
  c: ScimContext;
  app: Operations;
  /** Where each resource is made. */
  places: ReadonlyMap<string, number>;
  /** The resources that are made, by their bulkId. */
  ids: Map<string, string>;
  states: State[];
  results: (Resource | undefined)[];
  errors: number;
  pending: Pending[];
  /** What is wrong with the message: nothing but departures is done. */
  only: unknown;
  /** There were too many requests: whatever is no departure has to come again. */
  heldBack: RateLimited | null;
}

async function readRequest(c: ScimContext): Promise<BulkRequest & { only: unknown }> {
  const { body, refusal } = await readChange(c).catch((error: unknown) => {
    if (!(error instanceof WritError) || error.code !== 'too_large') throw error;
    throw new WritError('too_large', `maxPayloadSize: a Bulk has at most ${bodyBytes} bytes`, { cause: error });
  });
  if (refusal !== null && !isObject(body)) throw refusal;
  const bulk = readBulk(body, directoryOf(c).requiredGroupId);
  const only = refusal ?? bulk.refusal;
  if (only !== null && !bulk.operations.some(({ departs }) => departs === 'alone')) throw only;
  return { ...bulk, only };
}

export async function answerBulk(deps: ScimDeps, c: ScimContext, app: Operations): Promise<Response> {
  const bulk = await readRequest(c);
  const heldBack = c.get('heldBack') ?? null;
  if (heldBack === null) countOperations(deps, c, bulk.operations);
  const run: Run = {
    ...bulk,
    deps,
    c,
    app,
    places: new Map(
      bulk.operations.flatMap(({ method, bulkId }, at) => (method === 'POST' && bulkId !== null ? [[bulkId, at]] : [])),
    ),
    ids: new Map(),
    states: bulk.operations.map(() => 'waiting'),
    results: [],
    errors: 0,
    pending: [],
    heldBack,
  };
  for (const at of run.operations.keys()) await perform(run, at);
  await completeCircles(run, true);
  // The header names the departures of them all.
  const offboardings = c.get('offboardings');
  c.set('offboardings', []);
  noteOffboardings(c, offboardings);
  const results = run.operations.map((_, at) => run.results[at]).filter((result) => result !== undefined);
  return answer(c, { schemas: [scimUrns.bulkResponse], Operations: results });
}

const hasStopped = ({ failOnErrors, errors }: Run): boolean => failOnErrors !== null && errors >= failOnErrors;

const targetReference = ({ target }: BulkOperation): string | null =>
  target?.startsWith('bulkId:') ? target.slice('bulkId:'.length) : null;

async function perform(run: Run, at: number): Promise<void> {
  const operation = run.operations[at];
  if (operation === undefined || run.states[at] !== 'waiting') return;
  const isWanted = () => operation.departs !== null || !hasStopped(run);
  if (!isWanted()) return;
  run.states[at] = 'running';
  // What was read leniently is not looked into: only the parser bounds its depth.
  const references = run.only === null ? referencesIn(operation.data) : new Set<string>();
  const target = targetReference(operation);
  for (const reference of target === null ? references : [target, ...references]) {
    const place = run.places.get(reference);
    if (place !== undefined) await perform(run, place);
  }
  if (isWanted()) {
    const result = await carryOut(run, at, operation, references);
    run.results[at] = result;
    if (!isSuccess(result)) run.errors += 1;
  }
  run.states[at] = run.results[at] === undefined ? 'waiting' : 'done';
  await completeCircles(run, false);
}

const isSuccess = ({ status }: Resource): boolean => String(status).startsWith('2');

/** The departure alone, where the rest cannot be done. */
const aloneIn = (method: string): Resource | undefined =>
  method === 'DELETE'
    ? undefined
    : method === 'PUT'
      ? { active: false }
      : { Operations: [{ op: 'replace', path: 'active', value: false }] };

async function carryOut(
  run: Run,
  at: number,
  operation: BulkOperation,
  references: ReadonlySet<string>,
): Promise<Resource> {
  const { method, endpoint, version, departs } = operation;
  const reference = targetReference(operation);
  const target = reference === null ? operation.target : (run.ids.get(reference) ?? null);
  if (reference !== null && target === null) return refuse(run, operation, null, new UnresolvedReference([reference]));
  const path = `/${endpoint}${target === null ? '' : `/${encodeURIComponent(target)}`}`;
  const missing = [...references].filter((one) => !run.ids.has(one));
  // Of those only a resource of a circle is still being made.
  const isCircle = method === 'POST' && missing.every((one) => run.states[run.places.get(one) ?? -1] === 'running');
  const unresolved = missing.length > 0 && !isCircle ? new UnresolvedReference(missing) : null;
  const heldBack = departs === null ? run.heldBack : null;
  const refusal = run.only ?? heldBack ?? operation.refusal ?? unresolved;
  if (refusal !== null) {
    if (departs !== 'alone') return refuse(run, operation, target === null ? null : path, refusal);
    const response = await dispatch(run, method, path, aloneIn(method), null);
    return toResult(run, operation, path, response, true);
  }
  const data = resolveIn(operation.data, run.ids);
  if (missing.length === 0 || !isObject(data)) {
    const body = method === 'DELETE' ? undefined : data;
    return toResult(run, operation, path, await dispatch(run, method, path, body, version));
  }
  const { now, later } = splitCircle(data);
  const result = await toResult(run, operation, path, await dispatch(run, method, path, now, null));
  const id = run.ids.get(operation.bulkId ?? '');
  if (id !== undefined) run.pending.push({ at, id, references: new Set(missing), later });
  return result;
}

/** Adds what has become possible, or at the end whatever is left. */
async function completeCircles(run: Run, isEnd: boolean): Promise<void> {
  const isSettled = (reference: string) =>
    run.ids.has(reference) || run.states[run.places.get(reference) ?? -1] === 'done';
  const ready = run.pending.filter(({ references }) => isEnd || [...references].every(isSettled));
  run.pending = run.pending.filter((pending) => !ready.includes(pending));
  for (const { at, id, references, later } of ready) {
    const operation = run.operations[at];
    if (operation === undefined) continue;
    const path = `/${operation.endpoint}/${id}`;
    const missing = [...references].filter((reference) => !run.ids.has(reference));
    const body = { schemas: [scimUrns.patchOp], Operations: resolveIn(later, run.ids) };
    const added =
      missing.length > 0
        ? await refuse(run, operation, path, new UnresolvedReference(missing))
        : await toResult(run, operation, path, await dispatch(run, 'PATCH', path, body, null));
    // The resource is there, so the location stays, and its status is that of what could not be added to it.
    run.results[at] = isSuccess(added) ? { ...run.results[at], ...pick(added, 'version') } : added;
    if (!isSuccess(added)) run.errors += 1;
  }
}

const pick = (result: Resource, name: string): Resource => (result[name] === undefined ? {} : { [name]: result[name] });

const refuse = async (run: Run, operation: BulkOperation, path: string | null, refusal: unknown): Promise<Resource> =>
  toResult(run, operation, path, await dispatch(run, operation.method, path ?? '/Bulk', undefined, null, refusal));

async function dispatch(
  { app, c }: Run,
  method: string,
  path: string,
  body: unknown,
  version: string | null,
  refusal: unknown = null,
): Promise<Response> {
  const headers = new Headers();
  if (body !== undefined) headers.set('Content-Type', scimType['Content-Type']);
  if (version !== null) headers.set('If-Match', version);
  const request = new Request(`http://bulk${path}`, {
    // One that is refused may have any method, or none.
    method: refusal === null ? method : 'POST',
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return app.fetch(request, { outer: c, refusal });
}

/** What shows that a departure was done alone; a thousand whole resources would be a quarter of a gigabyte. */
const briefly = (resource: Resource): Resource =>
  Object.fromEntries(Object.entries(resource).filter(([name]) => ['schemas', 'id', 'active', 'meta'].includes(name)));

/** One operation of the BulkResponse; notes the id of what was made. */
async function toResult(
  { deps, ids }: Run,
  { method, bulkId, target }: BulkOperation,
  path: string | null,
  response: Response,
  isPart = false,
): Promise<Resource> {
  const made = response.status === 201 ? response.headers.get('location') : null;
  const id = made?.split('/').at(-1);
  if (id !== undefined && bulkId !== null) ids.set(bulkId, id);
  const isThere = path !== null && (method !== 'POST' || target !== null || path.split('/').length > 2);
  const location = made ?? (isThere ? `${baseOf(deps)}${path}` : null);
  const version = response.ok ? response.headers.get('etag') : null;
  // A success is not repeated, unless less was done than was asked for.
  const text = response.ok && !isPart ? '' : await response.text();
  return {
    ...(location === null ? {} : { location }),
    method,
    ...(bulkId === null ? {} : { bulkId }),
    ...(version === null ? {} : { version }),
    status: String(response.status),
    ...(text === '' ? {} : { response: response.ok ? briefly(JSON.parse(text)) : JSON.parse(text) }),
  };
}
