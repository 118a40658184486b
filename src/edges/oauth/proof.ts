/**
 * Client authentication for the common, well-formed request (RFC 6749 §2.3.1, RFC 7523 §2.2 as RFC 10070 has it). Pure, and
 * stricter than the engine wherever the two could differ: it says only "proven" or "not for me to say", and what it does
 * not say is left to the engine, whose word on every refusal is the only one.
 */
import type { Assertion } from '../../domain/tokens/commit.ts';
import { parseJson } from '../../platform/http/body.ts';
import { isSigned, type JwsAlgorithm } from '../../platform/keys/jws.ts';
import { secretMatches } from '../../platform/keys/secret.ts';
import { clientAssertionType } from '../../protocol.ts';
import { assertionLifeSeconds, clockToleranceSeconds, toAssertion } from './assertion.ts';
import type { KnownAgent } from './callers.ts';

/** A client assertion, read and not verified. */
interface ReadAssertion {
  kind: 'assertion';
  clientId: string;
  algorithm: string;
  kid: unknown;
  claims: Record<string, unknown>;
  input: string;
  signature: Buffer;
}
interface ReadSecret {
  kind: 'secret';
  clientId: string;
  secret: string;
}
/** What the request says who it is, unproven. */
export type Claim = ReadAssertion | ReadSecret;

const base64url = /^[A-Za-z0-9_-]+$/;
const maxAssertionLength = 8 * 1024;

function parsePart(part: string | undefined): Record<string, unknown> | undefined {
  if (part === undefined || !base64url.test(part)) return undefined;
  try {
    const value = parseJson(Buffer.from(part, 'base64url'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function readAssertion(jwt: string): ReadAssertion | undefined {
  if (jwt.length > maxAssertionLength) return undefined;
  const [head, body, tail, ...rest] = jwt.split('.');
  const header = parsePart(head);
  const claims = parsePart(body);
  if (header === undefined || claims === undefined || tail === undefined || rest.length > 0) return undefined;
  const { alg, kid, typ, ...others } = header;
  const isPlain = typ === undefined || typ === 'JWT' || typ === 'client-authentication+jwt';
  // Any further header member may change the meaning.
  if (typeof alg !== 'string' || !isPlain || Object.keys(others).length > 0 || !base64url.test(tail)) return undefined;
  if (typeof claims.sub !== 'string') return undefined;
  const signature = Buffer.from(tail, 'base64url');
  return { kind: 'assertion', clientId: claims.sub, algorithm: alg, kid, claims, input: `${head}.${body}`, signature };
}

function readBasic(authorization: string): ReadSecret | undefined {
  const [, encoded = ''] = /^Basic ([A-Za-z0-9+/]{4,2048}={0,2})$/.exec(authorization) ?? [];
  // Ids and secrets of Writ's own making need no escapes; who escapes anything is for the engine.
  const [, clientId, secret] = /^([\w-]+):([\w-]+)$/.exec(Buffer.from(encoded, 'base64').toString('latin1')) ?? [];
  return clientId === undefined || secret === undefined ? undefined : { kind: 'secret', clientId, secret };
}

/** Who the request claims to be, by exactly one method; `undefined`: not plain enough. */
export function readClaim(form: ReadonlyMap<string, string>, authorization: string | undefined): Claim | undefined {
  const [assertion, type] = [form.get('client_assertion'), form.get('client_assertion_type')];
  const [clientId, secret] = [form.get('client_id'), form.get('client_secret')];
  let claim: Claim | undefined;
  if (authorization !== undefined) {
    if (assertion === undefined && type === undefined && secret === undefined) claim = readBasic(authorization);
  } else if (assertion !== undefined) {
    if (type === clientAssertionType && secret === undefined) claim = readAssertion(assertion);
  } else if (secret !== undefined && clientId !== undefined && type === undefined) {
    claim = { kind: 'secret', clientId, secret };
  }
  return clientId === undefined || claim?.clientId === clientId ? claim : undefined;
}

const isNumberAtMost = (value: unknown, most: number): boolean => typeof value === 'number' && value <= most;

function areClaimsPlain({ claims }: ReadAssertion, issuer: string, seconds: number): boolean {
  const { iss, sub, aud, exp, nbf, iat, jti } = claims;
  return (
    iss === sub &&
    (aud === issuer || (Array.isArray(aud) && aud.length === 1 && aud[0] === issuer)) &&
    isNumberAtMost(exp, seconds + assertionLifeSeconds) &&
    Number(exp) > seconds &&
    (nbf === undefined || isNumberAtMost(nbf, seconds)) &&
    (iat === undefined || typeof iat === 'number') &&
    typeof jti === 'string' &&
    jti.length > 0 &&
    jti.length <= 512
  );
}

/** Proof that `known` is who the request claims to be; `undefined`: not for this function to say. */
export function prove(
  claim: Claim,
  known: KnownAgent,
  issuer: string,
  now: Date,
): { assertion: Assertion | undefined } | undefined {
  const { caller, keys } = known;
  if (claim.kind === 'secret') {
    const { secretHash } = caller;
    return secretHash !== undefined && secretMatches(claim.secret, secretHash) ? { assertion: undefined } : undefined;
  }
  if (!areClaimsPlain(claim, issuer, now.getTime() / 1000)) return undefined;
  const { algorithm, kid, input, signature } = claim;
  const isProven = keys.some(
    (one) =>
      (kid === undefined || one.kid === kid) &&
      one.algorithms.some((name) => name === algorithm) &&
      isSigned(algorithm as JwsAlgorithm, one.key, input, signature),
  );
  if (!isProven) return undefined;
  const { iss, jti, exp } = claim.claims;
  return { assertion: toAssertion(String(iss), String(jti), Number(exp) + clockToleranceSeconds) };
}
