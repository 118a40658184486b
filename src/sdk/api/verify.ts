/**
 * Verifies Writ's access tokens where they are used: offline, against published keys and the revocation feed.
 * Owns the order of checks (RFC 9068 §4, then what Writ adds) and what is refused when the feed is stale. Invariants:
 * `verify` throws nothing but `VerifyError`; what is remembered of a token is its signature and shape, never that it is
 * alive: expiry, revocation, dead keys, the requirement and staleness are asked each time; before the first snapshot
 * everything is refused. Runs on Node 20 or later and needs no other package.
 */

import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AccessTokenClaims } from '../../protocol.ts';
import { parseSecureUrl } from '../issuer.ts';
import { type BearerSource, extractToken } from './bearer.ts';
import { VerifyError } from './errors.ts';
import { followFeed } from './feed.ts';
import { AnswerError, type Fetch, formatBasic } from './http.ts';
import { createKeys, isSignatureValid, type Keys, knownAlgorithms, type VerifierAlgorithm } from './keys.ts';
import { createMetadataReader } from './metadata.ts';
import { createReadiness, type Readiness } from './readiness.ts';
import { asksForSomething, checkRequirement, findMissing, isWrite, type Requirement } from './requirement.ts';
import { createRevocations, type Revocations } from './revocations.ts';
import { checkTimes, isAudience, parseToken, readClaims } from './token.ts';
import { createVerifiedTokens, type VerifiedToken } from './verified-tokens.ts';

export type { AccessTokenClaims } from '../../protocol.ts';
export type { BearerSource } from './bearer.ts';
export { VerifyError, type VerifyErrorCode } from './errors.ts';
export type { VerifierAlgorithm } from './keys.ts';
export type { Requirement } from './requirement.ts';

export interface VerifierOptions {
  /** Issuer identifier of Writ, exactly as in its tokens. */
  issuer: string;
  /** Identifier of this API, exactly as registered. */
  audience: string;
  /** The API's `feedCredentials`. */
  credentials: { clientId: string; clientSecret: string };
  /** Seconds since the feed was last known complete, beyond which a write is refused. Default 30. */
  maxStalenessSeconds?: { write?: number };
  /** Another node's feed than the metadata names. */
  feedUrl?: string;
  /** Name under which this verifier acknowledges revocations. Default: host name and a random part. */
  verifierId?: string;
  /** Seconds by which this machine's clock may be off when `exp` and `nbf` are compared. Default 5. */
  clockToleranceSeconds?: number;
  /** Default: all that are known. */
  algorithms?: readonly VerifierAlgorithm[];
  /** How many verified tokens to remember, so that their signature is not verified again. Default 5000; 0: none. */
  rememberedTokens?: number;
  /** Seconds that a request waits at most for the first reading of feed and keys. Default 5. */
  firstReadTimeoutSeconds?: number;
  /** Told why a connection to the feed ended, or the keys could not be read; both are tried again in any case. */
  onProblem?: (problem: Error) => void;
  fetch?: Fetch;
  /** Wall clock, compared with `exp`. */
  now?: () => Date;
  /** Milliseconds on a clock that is never set; staleness is measured by it. */
  monotonic?: () => number;
}

export interface Verifier extends AsyncDisposable {
  /**
   * Verifies the bearer token of a request, or a token itself, and that it grants what the request needs. Does **not** check
   * proof of possession (a token with `cnf` is refused), call the issuer, or compare `identifier` unless the requirement
   * names one: a grant can be limited to one object, so name it wherever the request is about one.
   *
   * Rejects with `VerifyError` only. The claims are frozen, for they may be handed to the next caller.
   *
   * @see {@link https://www.rfc-editor.org/rfc/rfc9068#section-4 RFC 9068 §4}
   * @see {@link https://www.rfc-editor.org/rfc/rfc9396#section-9 RFC 9396 §9}
   */
  verify(source: BearerSource | string, requirement?: Requirement): Promise<AccessTokenClaims>;
  /** Resolves once feed and keys were read; rejects when the feed refuses the credentials, or at `close()`. */
  ready(): Promise<void>;
  /** Seconds since the feed was last known complete; `Infinity` before it was read. */
  staleness(): number;
  /**
   * The farthest signed checkpoint of Writ's audit log that the feed has told (compact JWS), or `null`. Keep it outside of
   * Writ: a log that was cut or set back no longer fits it. It is **not** verified here; `writ audit verify` compares it.
   */
  checkpoint(): string | null;
  /** Ends the connection to the feed. Everything is refused from then on. */
  close(): Promise<void>;
}

const readyRetryMs = 500;

/** All that judging one token needs; nothing of it is the network. */
interface Judge {
  issuer: string;
  audience: string;
  algorithms: readonly VerifierAlgorithm[];
  toleranceSeconds: number;
  maxWriteStalenessSeconds: number;
  now: () => Date;
  keys: Keys;
  revocations: Revocations;
}

/**
 * Starts a verifier for one API. Does **not** wait for the issuer: it can be down while the API starts, and requests are
 * refused with `feed_stale` until it was read (`ready()` waits for that). Rejects with `TypeError` for options that cannot
 * work.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9068 RFC 9068}
 * @see {@link https://www.rfc-editor.org/rfc/rfc8414 RFC 8414}
 */
export async function createVerifier(options: VerifierOptions): Promise<Verifier> {
  checkOptions(options);
  const closing = new AbortController();
  const fetch: Fetch = options.fetch ?? globalThis.fetch;
  const monotonic = options.monotonic ?? (() => performance.now());
  const readMetadata = createMetadataReader({ issuer: options.issuer, fetch, monotonic, closed: closing.signal });
  const keys = createKeys({ readMetadata, fetch, monotonic, closed: closing.signal });
  const revocations = createRevocations({ monotonic, onDeadKey: keys.expectChange });
  const readiness = createReadiness();
  const report = createReporter(options.onProblem);
  const judge: Judge = {
    issuer: options.issuer,
    audience: options.audience,
    algorithms: options.algorithms ?? knownAlgorithms,
    toleranceSeconds: options.clockToleranceSeconds ?? 5,
    maxWriteStalenessSeconds: options.maxStalenessSeconds?.write ?? 30,
    now: options.now ?? (() => new Date()),
    keys,
    revocations,
  };
  const following = followFeed({
    readMetadata,
    feedUrl: options.feedUrl === undefined ? undefined : parseSecureUrl(options.feedUrl, 'feedUrl').href,
    authorization: formatBasic(options.credentials.clientId, options.credentials.clientSecret),
    verifierId: options.verifierId ?? `${hostname().slice(0, 150)}-${randomBytes(4).toString('hex')}`,
    revocations,
    fetch,
    closed: closing.signal,
    monotonic,
    onApplied: () => {
      if (revocations.appliedSeq() !== undefined) readiness.reach();
    },
    onProblem: (problem) => {
      report(problem);
      const status = problem instanceof AnswerError ? problem.status : undefined;
      if (status === 401 || status === 403) readiness.refuse(problem);
    },
  });
  keys.read().catch(report);
  const close = async (): Promise<void> => {
    closing.abort();
    readiness.end(new Error('The verifier is closed'));
    await following;
  };
  return {
    verify: createVerify(judge, readiness, options),
    async ready() {
      await readiness.wait();
      while (!keys.isRead()) {
        await keys.read().catch(report);
        if (!keys.isRead()) await sleep(readyRetryMs);
        if (readiness.isEnded()) throw new VerifyError('keys_unavailable', { cause: keys.lastProblem() });
      }
    },
    staleness: () => revocations.staleness(),
    checkpoint: () => revocations.checkpoint(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function checkOptions(options: VerifierOptions): void {
  const { issuer, audience, credentials, algorithms } = options;
  parseSecureUrl(issuer, 'issuer');
  for (const [name, value] of Object.entries({ audience, ...credentials })) {
    if (typeof value !== 'string' || value === '') throw new TypeError(`${name} is not a string`);
  }
  if (credentials?.clientId === undefined || credentials.clientSecret === undefined) {
    throw new TypeError('credentials lack clientId or clientSecret');
  }
  // The feed takes no others, and would refuse every acknowledgement.
  if (options.verifierId !== undefined && !/^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$/.test(options.verifierId)) {
    throw new TypeError('verifierId is not a name of 1 to 200 printable characters');
  }
  if (algorithms?.some((name) => !knownAlgorithms.includes(name)) || algorithms?.length === 0) {
    throw new TypeError('algorithms names one that is not known, or none');
  }
  const numbers = {
    'maxStalenessSeconds.write': options.maxStalenessSeconds?.write,
    clockToleranceSeconds: options.clockToleranceSeconds,
    rememberedTokens: options.rememberedTokens,
    firstReadTimeoutSeconds: options.firstReadTimeoutSeconds,
  };
  for (const [name, value] of Object.entries(numbers)) {
    if (value !== undefined && !(Number.isFinite(value) && value >= 0)) throw new TypeError(`${name} is not a number`);
  }
}

/** A listener that throws must not end the connection it is told about. */
function createReporter(onProblem: ((problem: Error) => void) | undefined): (problem: unknown) => void {
  return (problem) => {
    try {
      onProblem?.(problem instanceof Error ? problem : new Error('unknown', { cause: problem }));
    } catch {
      // Its own fault, and nobody else's.
    }
  };
}

function createVerify(judge: Judge, readiness: Readiness, options: VerifierOptions): Verifier['verify'] {
  const remembered = createVerifiedTokens(options.rememberedTokens ?? 5000);
  const timeoutMs = (options.firstReadTimeoutSeconds ?? 5) * 1000;

  async function findOrVerify(token: string): Promise<VerifiedToken> {
    const known = remembered.get(token);
    if (known && judge.keys.peek(known.kid)?.key === known.key) return known;
    if (known) remembered.remove(token);
    const verified = await verifyToken(judge, token, () => readiness.waitAtMost(timeoutMs));
    remembered.add(token, verified);
    return verified;
  }

  return async (source, requirement = {}) => {
    try {
      checkRequirement(requirement);
      const token = typeof source === 'string' ? source : extractToken(source);
      if (token === '') throw new VerifyError('token_missing');
      if (readiness.isEnded()) throw new VerifyError('feed_stale', { cause: new Error('The verifier is closed') });
      const verified = await findOrVerify(token);
      checkAlive(judge, verified, requirement);
      return verified.claims;
    } catch (cause) {
      throw addChallenge(cause, judge.audience, requirement);
    }
  };
}

/** The checks that hold for ever once they held: RFC 9068 §4 in its order, but for expiry. */
async function verifyToken(judge: Judge, token: string, whenReady: () => Promise<void>): Promise<VerifiedToken> {
  const parsed = parseToken(token, judge.algorithms);
  const { kid, algorithm, payload } = parsed;
  if (payload.iss !== judge.issuer) throw new VerifyError('issuer_wrong', { cause: payload.iss });
  if (!isAudience(payload.aud, judge.audience)) throw new VerifyError('audience_wrong', { cause: payload.aud });
  await whenReady();
  if (judge.revocations.isKeyDead(kid)) throw new VerifyError('key_revoked', { cause: kid });
  const key = await judge.keys.find(kid);
  if (!key) {
    const problem = judge.keys.lastProblem();
    throw problem === undefined
      ? new VerifyError('key_unknown', { cause: kid })
      : new VerifyError('keys_unavailable', { cause: problem });
  }
  if (!key.algorithms.includes(algorithm)) throw new VerifyError('algorithm_refused', { cause: algorithm });
  if (!isSignatureValid(algorithm, key.key, parsed.signingInput, parsed.signature)) {
    throw new VerifyError('signature_invalid');
  }
  checkTimes({ exp: payload.exp, nbf: payload.nbf }, judge.now().getTime() / 1000, judge.toleranceSeconds);
  const claims = freezeDeeply(readClaims(payload, judge.audience));
  const nbf = typeof payload.nbf === 'number' ? payload.nbf : undefined;
  return { claims, nbf, kid, key: key.key, epochs: Object.entries(claims.epochs) };
}

/** The checks whose answer changes: asked of every request, remembered token or not. */
function checkAlive(judge: Judge, token: VerifiedToken, requirement: Requirement): void {
  const { claims } = token;
  if (judge.revocations.isKeyDead(token.kid)) throw new VerifyError('key_revoked', { cause: token.kid });
  checkTimes({ exp: claims.exp, nbf: token.nbf }, judge.now().getTime() / 1000, judge.toleranceSeconds);
  if (judge.revocations.isRevoked(claims.jti, token.epochs)) {
    throw new VerifyError('token_revoked', { cause: claims.jti });
  }
  const details = claims.authorization_details;
  if (asksForSomething(requirement)) {
    const missing = findMissing(details, judge.audience, requirement);
    if (missing !== undefined) throw new VerifyError(missing, { cause: requirement });
  }
  // Last, for what is refused in any case should not be told to try again. Reads go on until the token expires.
  const staleness = judge.revocations.staleness();
  if (staleness > judge.maxWriteStalenessSeconds && isWrite(requirement, details)) {
    throw new VerifyError('feed_stale', { cause: staleness });
  }
}

function addChallenge(cause: unknown, realm: string, requirement: Requirement): VerifyError {
  if (!(cause instanceof VerifyError)) return new VerifyError('verifier_fault', { cause });
  const scope = requirement.intent;
  return new VerifyError(cause.code, {
    challenge: scope === undefined ? { realm } : { realm, scope },
    ...('cause' in cause ? { cause: cause.cause } : {}),
  });
}

function freezeDeeply<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const member of Object.values(value)) freezeDeeply(member);
  return Object.freeze(value);
}
