/**
 * JSON Web Signatures (RFC 7515, compact) under Writ's own keys. Writ makes several kinds of JWT; each says in `typ`
 * what it is, so that none passes for another. This file signs and reads the kinds that prove something to whoever
 * holds the published keys, and refuses to make anything an API could take for permission: `at+jwt` is made in
 * `access-token.ts` alone, and nothing made here names an API in `aud`.
 */
import { type KeyObject, sign, verify } from 'node:crypto';
import { jwtTypes, type SigningAlgorithm } from '../../protocol.ts';

export interface SigningKey {
  kid: string;
  algorithm: SigningAlgorithm;
  privateKey: KeyObject;
}

export interface VerificationKey {
  kid: string;
  algorithm: SigningAlgorithm;
  publicKey: KeyObject;
  revoked: boolean;
}

export type StatementType = typeof jwtTypes.receipt | typeof jwtTypes.checkpoint;
const statementTypes: readonly string[] = [jwtTypes.receipt, jwtTypes.checkpoint] satisfies StatementType[];

/** Statements are always signed with this: every verifier of Writ's keys can check it. */
export const statementAlgorithm = 'ES256';

/** @throws TypeError for a `typ` that is no statement's, and for claims with an audience. */
export function signStatement(
  keyring: { signingKey(algorithm: SigningAlgorithm): SigningKey },
  typ: StatementType,
  claims: Record<string, unknown>,
): string {
  if (!statementTypes.includes(typ)) throw new TypeError(`${typ} is not a statement`);
  if ('aud' in claims) throw new TypeError('a statement has no audience');
  const key = keyring.signingKey(statementAlgorithm);
  const header = encode({ alg: key.algorithm, typ, kid: key.kid });
  const input = `${header}.${encode(claims)}`;
  return `${input}.${signInput(key, input)}`;
}

/**
 * The claims of a statement whose signature fits, and the key that made it; `null` for anything else. Does not check
 * times, and leaves it to the caller what a revoked key's word is worth.
 */
export function readStatement(
  keyring: { verificationKey(kid: string): VerificationKey | undefined },
  typ: StatementType,
  jws: string,
): { claims: Record<string, unknown>; key: VerificationKey } | null {
  const [header = '', payload = '', signature = '', ...more] = jws.split('.');
  const { alg, typ: actual, kid } = decode(header) ?? {};
  if (more.length > 0 || actual !== typ || typeof kid !== 'string') return null;
  const key = keyring.verificationKey(kid);
  if (key === undefined || key.algorithm !== alg) return null;
  const input = Buffer.from(`${header}.${payload}`, 'ascii');
  const { digest, options } = verification(key);
  if (!verify(digest, input, options, Buffer.from(signature, 'base64url'))) return null;
  const claims = decode(payload);
  return claims === null ? null : { claims, key };
}

function verification({ algorithm, publicKey }: VerificationKey) {
  const options = { key: publicKey, ...(algorithm === 'ES256' ? { dsaEncoding: 'ieee-p1363' as const } : {}) };
  return { digest: algorithm === 'Ed25519' ? null : 'sha256', options };
}

const encode = (value: Record<string, unknown>): string =>
  Buffer.from(JSON.stringify(value), 'utf8').toString('base64url');

function decode(part: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
  } catch {
    return null;
  }
}

/** The third part of a compact JWS, base64url, for its first two. Says nothing of what they contain. */
export function signInput({ algorithm, privateKey }: SigningKey, input: string): string {
  const bytes = Buffer.from(input, 'ascii');
  if (algorithm === 'Ed25519') return sign(null, bytes, privateKey).toString('base64url');
  const signature = sign('sha256', bytes, privateKey);
  return (algorithm === 'ES256' ? toJoseSignature(signature) : signature).toString('base64url');
}

/**
 * DER to the R || S of RFC 7518 §3.4. Asking node:crypto for that form (`dsaEncoding`) takes twice as long, because it
 * then prepares the key for each call.
 */
function toJoseSignature(der: Buffer): Buffer {
  const jose = Buffer.alloc(64);
  const lengthOfR = der[3] ?? 0;
  const startOfS = 6 + lengthOfR;
  const r = der.subarray(4, 4 + lengthOfR);
  const s = der.subarray(startOfS, startOfS + (der[startOfS - 1] ?? 0));
  // Each number has a zero in front when its first bit is set, and lacks its own leading zeros.
  const place = (number: Buffer, end: number) => {
    const digits = number.length > 32 ? number.subarray(number.length - 32) : number;
    digits.copy(jose, end - digits.length);
  };
  place(r, 32);
  place(s, 64);
  return jose;
}
