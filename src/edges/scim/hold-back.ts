/**
 * The rate of one directory. A departure is never refused for a rate: whatever says that somebody is gone passes, in any
 * spelling, however much else was sent before.
 */
import { readBody } from '../../platform/http/body.ts';
import { RateLimited, toFields } from '../../platform/http/rate-limit.ts';
import { directoryOf, parseLeniently, type ScimContext, type ScimDeps } from './call.ts';
import { readDeparture } from './departure.ts';

/** Counts an authenticated request. @throws RateLimited when there were too many, and this one says of nobody that they left. */
export async function holdBack({ limits }: ScimDeps, c: ScimContext): Promise<void> {
  const limiter = limits.directory;
  if (limiter === null) return;
  try {
    const standing = limiter.admit(directoryOf(c).id);
    for (const [name, value] of Object.entries(toFields(limiter.policy, standing))) c.header(name, value);
  } catch (error) {
    if (!(error instanceof RateLimited) || !(await tellsDeparture(c))) throw error;
  }
}

async function tellsDeparture(c: ScimContext): Promise<boolean> {
  if (!/\/Users(\/|$)/.test(c.req.path)) return false;
  if (c.req.method === 'DELETE') return true;
  if (!['PUT', 'PATCH', 'POST'].includes(c.req.method)) return false;
  // A copy: whoever answers the request reads the body again.
  const body = parseLeniently(await readBody(c.req.raw.clone()));
  return readDeparture(c.req.method, body) === 'leaves';
}
