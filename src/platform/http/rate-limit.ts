/**
 * Rate limits: token buckets in the memory of one process. A bucket is two numbers, buckets are bounded in count, and
 * the one that was asked for longest ago is forgotten first, as it is the likeliest to be full again.
 *
 * Three limits, each by the identity that cannot be borrowed:
 * - a client and a directory by the credential they have proven. A stranger who merely claims a client's id takes
 *   nothing from its bucket: what is claimed is looked at, only what is proven is charged.
 * - callers without a good credential by address, and all together. What is limited is the refusal, never the request:
 *   many callers share an address behind a proxy, so a flood of bad credentials must not lock the good ones out. Past
 *   the limit a refusal is a 429 that is neither recorded nor explained, so that nobody fills the audit log. Guessing
 *   needs no limit: the credentials have 256 bits.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6585#section-4 (429), draft-ietf-httpapi-ratelimit-headers-10 (fields)
 */
import { isIPv6 } from 'node:net';
import { WritError } from '../../errors.ts';

export interface Policy {
  /** As in the fields; a token of RFC 9651. */
  name: string;
  perSecond: number;
  /** What a full bucket holds. */
  burst: number;
}

/** Where a caller stands. Seconds are whole; `waitSeconds` 0: one more is allowed now. */
export interface Standing {
  remaining: number;
  waitSeconds: number;
  /** Until the bucket is full again. */
  resetSeconds: number;
}

interface Bucket {
  /** Below zero: a debt of requests that were let in before they could be charged. */
  level: number;
  /** Milliseconds, monotonic. */
  at: number;
}

/** The bucket at a later instant. Pure. */
function refill({ level, at }: Bucket, { perSecond, burst }: Policy, now: number): Bucket {
  const gained = (Math.max(0, now - at) / 1000) * perSecond;
  return { level: Math.min(burst, level + gained), at: Math.max(at, now) };
}

function toStanding({ level }: Bucket, { perSecond, burst }: Policy): Standing {
  return {
    remaining: Math.max(0, Math.floor(level)),
    waitSeconds: level >= 1 ? 0 : Math.max(1, Math.ceil((1 - level) / perSecond)),
    resetSeconds: Math.ceil((burst - level) / perSecond),
  };
}

/** The fields of an answer to a caller who stands so; `Retry-After` when it has to wait. */
export function toFields({ name, perSecond, burst }: Policy, standing: Standing): Record<string, string> {
  return {
    'RateLimit-Policy': `"${name}";q=${burst};w=${Math.ceil(burst / perSecond)}`,
    RateLimit: `"${name}";r=${standing.remaining};t=${standing.resetSeconds}`,
    ...(standing.waitSeconds === 0 ? {} : { 'Retry-After': String(standing.waitSeconds) }),
  };
}

/** 429, with the fields that say when to come back. Nothing was decided, and nothing recorded. */
export class RateLimited extends WritError {
  readonly headers: Record<string, string>;

  constructor(policy: Policy, standing: Standing) {
    super('rate_limited', 'Too many requests: come back after the seconds in Retry-After.');
    this.headers = toFields(policy, standing);
  }
}

export interface RateLimiter {
  policy: Policy;
  look(key: string): Standing;
  /** Takes one, also from an empty bucket: it was let in before it could be known whose it is. */
  charge(key: string): void;
  /** Takes one if there is one, and says how it stands then; else throws. @throws RateLimited */
  admit(key: string): Standing;
  /** How many buckets are kept. */
  size(): number;
}

/** `clock`: monotonic milliseconds. */
export function createRateLimiter(policy: Policy, clock: () => number, bucketsAtMost = 10_000): RateLimiter {
  const buckets = new Map<string, Bucket>();

  const read = (key: string): Bucket => {
    const now = clock();
    return refill(buckets.get(key) ?? { level: policy.burst, at: now }, policy, now);
  };
  const look = (key: string): Standing => toStanding(read(key), policy);

  function charge(key: string): void {
    const { level, at } = read(key);
    // Put in anew, so that the map's order is that of the last use.
    buckets.delete(key);
    buckets.set(key, { level: Math.max(level - 1, -policy.burst), at });
    if (buckets.size <= bucketsAtMost) return;
    for (const oldest of buckets.keys()) {
      buckets.delete(oldest);
      return;
    }
  }

  return {
    policy,
    look,
    charge,
    admit(key) {
      const standing = look(key);
      if (standing.waitSeconds > 0) throw new RateLimited(policy, standing);
      charge(key);
      return look(key);
    },
    size: () => buckets.size,
  };
}

/** Requests per second; 0: no limit. */
export interface Rates {
  client: number;
  directory: number;
  /** Refusals of bad or missing credentials, for one address. */
  failures: number;
}

export interface Limits {
  client: RateLimiter | null;
  directory: RateLimiter | null;
  /** That of a directory with a rate of its own, which holds whatever the server's is; with `null` the server's. */
  directoryAt(requestsPerMinute: number | null): RateLimiter | null;
  /** Counts a caller without a good credential; throws when it is one too many. @throws RateLimited */
  noteFailure(address: string | null): void;
}

/** What addresses may do together, as a multiple of what one may: the bound on the log when there are many. */
const addressesTogether = 10;
/** Seconds' worth that a full bucket holds: a burst of requests is no abuse, their steady rate is. */
const clientWindow = 10;
const failureWindow = 40;
/** Sixteen at once are nothing unusual, whatever the rate. */
const leastBurst = 20;
/** Rates that directories have of their own, at most; the one that was made first is forgotten first. */
const ownRatesAtMost = 1_000;

/** As one of the server's, but never more at once than a minute allows. */
const ownPolicy = (perMinute: number): Policy => ({
  name: 'directory',
  perSecond: perMinute / 60,
  burst: Math.min(perMinute, Math.max((perMinute / 60) * clientWindow, leastBurst)),
});

/** Limiters by the rate: how much a directory has used is forgotten when its rate is changed. */
function createOwnRates(clock: () => number): (perMinute: number) => RateLimiter {
  const limiters = new Map<number, RateLimiter>();
  return (perMinute) => {
    const known = limiters.get(perMinute);
    if (known !== undefined) return known;
    const made = createRateLimiter(ownPolicy(perMinute), clock);
    limiters.set(perMinute, made);
    const [oldest] = limiters.keys();
    if (limiters.size > ownRatesAtMost && oldest !== undefined) limiters.delete(oldest);
    return made;
  };
}

export function createLimits(rates: Rates, clock: () => number): Limits {
  const limit = (name: string, perSecond: number, window: number): RateLimiter | null =>
    perSecond === 0
      ? null
      : createRateLimiter({ name, perSecond, burst: Math.max(perSecond * window, leastBurst) }, clock);
  const byAddress = limit('failures', rates.failures, failureWindow);
  const together = limit('all-failures', rates.failures * addressesTogether, failureWindow);
  const directory = limit('directory', rates.directory, clientWindow);
  const ownRate = createOwnRates(clock);
  return {
    client: limit('client', rates.client, clientWindow),
    directory,
    directoryAt: (perMinute) => (perMinute === null ? directory : ownRate(perMinute)),
    noteFailure(address) {
      byAddress?.admit(networkOf(address));
      together?.admit('');
    },
  };
}

/** Whoever has one IPv6 address has 2^64 of them: the first half is what identifies. IPv4 may come mapped. */
export function networkOf(address: string | null): string {
  const plain = (address ?? '').replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  if (!isIPv6(plain)) return plain;
  const [head = '', tail] = plain.toLowerCase().split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups =
    tail === undefined ? first : [...first, ...Array(Math.max(0, 8 - first.length - last.length)).fill('0'), ...last];
  return groups.slice(0, 4).join(':');
}
