/** Reading a token: pure functions of its text, each of which decides one thing. Nothing here trusts what it reads. */

import { type AccessTokenClaims, type Actor, type AgentIntent, actions, agentIntentType } from '../../protocol.ts';
import { VerifyError } from './errors.ts';
import { isObject } from './http.ts';
import type { VerifierAlgorithm } from './keys.ts';

export interface ParsedToken {
  kid: string;
  algorithm: VerifierAlgorithm;
  payload: Record<string, unknown>;
  signingInput: Buffer;
  signature: Buffer;
}

const maxTokenChars = 16 * 1024;
/** Seconds. No token of Writ lives longer, so no revocation has to be remembered longer. */
export const longestTokenLife = 900;
/** Seconds by which this machine's clock may be behind before a token could outlive what the feed remembers of it. */
const maxClockLag = 300;
const maxActors = 8;

/**
 * Takes a compact JWS apart and checks its header: type, then algorithm. Does **not** check its signature or any claim.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9068#section-4 RFC 9068 §4}
 * @see {@link https://www.rfc-editor.org/rfc/rfc8725#section-3.1 RFC 8725 §3.1, §3.11}
 */
export function parseToken(token: string, allowed: readonly VerifierAlgorithm[]): ParsedToken {
  if (token.length > maxTokenChars) throw new VerifyError('token_malformed', { cause: token.length });
  const parts = /^([\w-]+)\.([\w-]+)\.([\w-]*)$/.exec(token);
  const [, encodedHeader = '', encodedPayload = '', encodedSignature = ''] = parts ?? [];
  const header = decodeObject(encodedHeader);
  const payload = decodeObject(encodedPayload);
  if (!parts || !header || !payload) throw new VerifyError('token_malformed');
  const { typ, alg, kid, crit } = header;
  if (typeof typ !== 'string' || !/^(application\/)?at\+jwt$/i.test(typ)) {
    throw new VerifyError('token_type_wrong', { cause: typ });
  }
  const algorithm = allowed.find((name) => name === alg);
  if (!algorithm) throw new VerifyError('algorithm_refused', { cause: alg });
  // RFC 7515 §4.1.11: what is critical and not understood refuses the whole token.
  if (crit !== undefined) throw new VerifyError('token_malformed', { cause: crit });
  const signature = Buffer.from(encodedSignature, 'base64url');
  // The decoder drops surplus bits of the last character: without this, several texts would be the same token.
  if (signature.toString('base64url') !== encodedSignature) throw new VerifyError('token_malformed');
  if (typeof kid !== 'string' || kid === '') throw new VerifyError('key_unknown', { cause: kid });
  const signingInput = Buffer.from(token.slice(0, encodedHeader.length + 1 + encodedPayload.length), 'latin1');
  return { kid, algorithm, payload, signingInput, signature };
}

function decodeObject(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether `aud` names this API, byte for byte. */
export function isAudience(aud: unknown, audience: string): boolean {
  return aud === audience || (Array.isArray(aud) && aud.includes(audience));
}

/**
 * Checks `exp` and `nbf` against the clock of this machine, in seconds. `iat` is not compared with it: a clock that is a
 * little behind would refuse every fresh token, and gain nothing. An `exp` that is further away than any token of Writ
 * lives is refused: such a token would still be there when its revocation is forgotten.
 */
export function checkTimes(times: { exp: unknown; nbf?: unknown }, nowSeconds: number, tolerance: number): void {
  if (typeof times.exp !== 'number') throw new VerifyError('claims_invalid', { cause: 'exp' });
  if (nowSeconds >= times.exp + tolerance) throw new VerifyError('token_expired', { cause: times.exp });
  if (times.exp > nowSeconds + longestTokenLife + maxClockLag)
    throw new VerifyError('claims_invalid', { cause: 'exp' });
  if (times.nbf === undefined) return;
  if (typeof times.nbf !== 'number') throw new VerifyError('claims_invalid', { cause: 'nbf' });
  if (nowSeconds < times.nbf - tolerance) throw new VerifyError('token_not_yet_valid', { cause: times.nbf });
}

/**
 * The payload as claims, each of the shape that Writ gives it; `aud` becomes the one audience it was checked for.
 * `cnf` is refused: a token bound to a key is worth nothing without proof of that key, which is not checked here.
 */
export function readClaims(payload: Record<string, unknown>, audience: string): AccessTokenClaims {
  const refuse = (claim: string): never => {
    throw new VerifyError('claims_invalid', { cause: claim });
  };
  for (const name of ['iss', 'sub', 'client_id', 'jti', 'human_owner_id']) {
    if (!isText(payload[name])) refuse(name);
  }
  for (const name of ['scope', 'task_intent']) {
    if (payload[name] !== undefined && typeof payload[name] !== 'string') refuse(name);
  }
  const { iat, exp, epochs, agent, act, authorization_details: details } = payload;
  if (typeof iat !== 'number' || typeof exp !== 'number') return refuse('iat');
  // Revocations are remembered for as long as the longest token lives: a longer one could outlive its own revocation.
  if (!(exp - iat <= longestTokenLife)) refuse('exp');
  if (!isEpochs(epochs)) refuse('epochs');
  if (!Array.isArray(details) || !details.every(isAgentIntent)) refuse('authorization_details');
  if (act !== undefined && !isActor(act, maxActors)) refuse('act');
  if (!isObject(agent) || !isText(agent.name) || !isText(agent.environment) || typeof agent.trust !== 'number') {
    refuse('agent');
  }
  if (payload.cnf !== undefined) refuse('cnf');
  return { ...payload, aud: audience } as unknown as AccessTokenClaims;
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText);

/** At least one: a token that depends on nothing could not be revoked. */
function isEpochs(value: unknown): value is Record<string, number> {
  if (!isObject(value)) return false;
  const epochs = Object.values(value);
  return epochs.length > 0 && epochs.every((epoch) => Number.isSafeInteger(epoch) && (epoch as number) >= 0);
}

function isAgentIntent(value: unknown): value is AgentIntent {
  return (
    isObject(value) &&
    value.type === agentIntentType &&
    isText(value.task_intent) &&
    isTexts(value.actions) &&
    value.actions.every((action) => (actions as readonly string[]).includes(action)) &&
    isTexts(value.locations) &&
    isTexts(value.datatypes) &&
    (value.identifier === undefined || isText(value.identifier))
  );
}

function isActor(value: unknown, depth: number): value is Actor {
  return (
    depth > 0 && isObject(value) && isText(value.sub) && (value.act === undefined || isActor(value.act, depth - 1))
  );
}
