/**
 * The hash chain of the audit log, as anybody can repeat it who has the entries and a signed checkpoint. This folder is
 * what the server and an auditor's machine share: pure, no database, no secret.
 *
 *   hash(0) = 32 zero bytes
 *   hash(n) = SHA-256( hash(n-1) | n | length of body | body (UTF-8, as stored) | MAC )     numbers: 8 bytes, big-endian
 *
 * Everything before the body has a fixed length, so no two entries give the same input. A checkpoint
 * (`writ-checkpoint+jwt`: `{iss, number, hash, iat}`, hash in base64url) signs a place of the chain and with it all
 * before it.
 */
import { createHash } from 'node:crypto';

/** A place in the chain. */
export interface Head {
  number: number;
  hash: Buffer;
}

/** Before the first entry. */
export const genesis: Head = { number: 0, hash: Buffer.alloc(32) };

/** The chain's next place. All there is to the chain. */
export function chain(previous: Head, entry: { body: string; mac: Uint8Array }): Head {
  const number = previous.number + 1;
  const body = Buffer.from(entry.body, 'utf8');
  const place = Buffer.alloc(16);
  place.writeBigUInt64BE(BigInt(number), 0);
  place.writeBigUInt64BE(BigInt(body.length), 8);
  const hash = createHash('sha256').update(previous.hash).update(place).update(body).update(entry.mac).digest();
  return { number, hash };
}

/** Hashes are base64url outside the database. */
export const encodeHash = (hash: Uint8Array): string => Buffer.from(hash).toString('base64url');
