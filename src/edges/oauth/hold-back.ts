/**
 * The rate of one client. What a request claims is only looked at; what is proven is charged, once it was: a stranger who
 * claims somebody's id must not use up what is theirs.
 */
import { canonicalId } from '../../platform/db/uuid.ts';
import type { Call } from '../../platform/http/observe.ts';
import { type Limits, RateLimited, toFields } from '../../platform/http/rate-limit.ts';
import { readSub } from './credentials.ts';
import { formValue, type RequestState } from './state.ts';

/** Of an id that nobody has. */
const maxIdLength = 128;
const nothing = (): void => {};

/** Returns what charges the client, to be called when it has proven itself. @throws RateLimited when its bucket is empty. */
export function holdBack({ client: limiter }: Limits, state: RequestState, { incoming, outgoing }: Call): () => void {
  if (limiter === null) return nothing;
  const claimed = readClaimed(state, incoming.headers.authorization);
  if (claimed === undefined) return nothing;
  const standing = limiter.look(claimed);
  if (standing.waitSeconds > 0) throw new RateLimited(limiter.policy, standing);
  const left = { ...standing, remaining: standing.remaining - 1 };
  for (const [name, value] of Object.entries(toFields(limiter.policy, left))) outgoing.setHeader(name, value);
  return () => limiter.charge(claimed);
}

/** The client id in its one spelling, wherever the request has it; when they differ the request is refused anyway. */
function readClaimed(state: RequestState, authorization: string | undefined): string | undefined {
  const assertion = formValue(state, 'client_assertion');
  const sub = assertion === undefined ? undefined : readSub(assertion);
  const id = typeof sub === 'string' ? sub : (readUser(authorization) ?? formValue(state, 'client_id'));
  return id === undefined ? undefined : (canonicalId(id) ?? id.slice(0, maxIdLength));
}

/** RFC 6749 §2.3.1: form-urlencoded before it is joined with the secret. */
function readUser(authorization: string | undefined): string | undefined {
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization ?? '')?.[1];
  const [user] = encoded === undefined ? [] : Buffer.from(encoded, 'base64').toString('utf8').split(':', 1);
  try {
    return user === undefined ? undefined : decodeURIComponent(user.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}
