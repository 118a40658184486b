/**
 * The rate of one directory. A departure is never refused for a rate: whatever says that somebody is gone passes, in any
 * spelling, however much else was sent before. A Bulk counts as its operations, departures aside.
 */
import { readBody } from '../../platform/http/body.ts';
import { RateLimited, toFields } from '../../platform/http/rate-limit.ts';
import { readSuspension } from './agents-wire.ts';
import { type BulkOperation, readBulk } from './bulk-request.ts';
import { directoryOf, parseLeniently, type ScimContext, type ScimDeps } from './call.ts';
import { readDeparture } from './departure.ts';

/** Counts an authenticated request. @throws RateLimited when there were too many, and this one says of nobody that they left. */
export async function holdBack({ limits }: ScimDeps, c: ScimContext): Promise<void> {
  const limiter = limits.directoryAt(directoryOf(c).requestsPerMinute);
  if (limiter === null) return;
  try {
    const standing = limiter.admit(directoryOf(c).id);
    for (const [name, value] of Object.entries(toFields(limiter.policy, standing))) c.header(name, value);
  } catch (error) {
    if (!(error instanceof RateLimited) || !(await tellsDeparture(c))) throw error;
    // Of a Bulk only the departures pass.
    c.set('heldBack', error);
  }
}

/**
 * Charges the operations of a Bulk beyond the one that its request was counted as. It was let in, so they are carried
 * out: a part that is refused would have to be found and sent again. What they cost more than there was is a debt, and
 * the requests that follow wait until it is paid.
 */
export function countOperations({ limits }: ScimDeps, c: ScimContext, operations: readonly BulkOperation[]): void {
  const count = operations.filter(({ departs }) => departs === null).length;
  const { id, requestsPerMinute } = directoryOf(c);
  const limiter = limits.directoryAt(requestsPerMinute);
  for (let charged = 1; charged < count; charged++) limiter?.charge(id);
}

/** Whoever is not in the group that the directory requires has left: whatever may take somebody out of it. */
async function removesMembers(c: ScimContext): Promise<boolean> {
  const { method } = c.req;
  if (method === 'DELETE' || method === 'PUT') return true;
  if (method !== 'PATCH') return false;
  const text = new TextDecoder().decode(await readBody(c.req.raw.clone()));
  return /remove|replace/i.test(text);
}

async function tellsDeparture(c: ScimContext): Promise<boolean> {
  const { method, path } = c.req;
  const { requiredGroupId } = directoryOf(c);
  // It asks, whatever its body seems to say.
  if (path.endsWith('/.search')) return false;
  if (requiredGroupId !== null && path.toLowerCase().endsWith(`/groups/${requiredGroupId}`)) return removesMembers(c);
  const isBulk = method === 'POST' && /\/Bulk$/.test(path);
  const isAgent = /\/Agents(\/|$)/.test(path);
  if (!isBulk && !isAgent && !/\/Users(\/|$)/.test(path)) return false;
  if (method === 'DELETE') return true;
  // Nobody leaves by being made.
  if (!isBulk && method !== 'PUT' && method !== 'PATCH') return false;
  // A copy: whoever answers the request reads the body again.
  const body = parseLeniently(await readBody(c.req.raw.clone()));
  if (isBulk) return bulkTellsDeparture(body, requiredGroupId);
  return (isAgent ? readSuspension(method, body) : readDeparture(method, body)) === 'leaves';
}

function bulkTellsDeparture(body: unknown, requiredGroupId: string | null): boolean {
  try {
    return readBulk(body, requiredGroupId).operations.some(({ departs }) => departs !== null);
  } catch {
    return false;
  }
}
