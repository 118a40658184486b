/**
 * Rotation and revocation of signing keys. A rotation is planned: the new keys are published at once and sign later, so
 * that every node and verifier has them before they are met. A revocation is an alarm: the key is dead for every
 * verifier at once, by the feed, and what it signed has to be asked for anew.
 *
 * `retired_at` of a key is the instant from which a newer one signs; it is worked out again after every change, because
 * a revocation can put off the retirement of an older key.
 */
import { desc, eq, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { type Db, type Executor, type Tx, transaction } from '../../platform/db/client.ts';
import { sealedKeys, signingKeys } from '../../platform/db/schema.ts';
import { makeKeyPair } from '../../platform/keys/key-pair.ts';
import { announceKeys, insertKey, lockKeys } from '../../platform/keys/keyring.ts';
import { type Keks, rewrap } from '../../platform/keys/seal.ts';
import { type SigningAlgorithm, signingAlgorithms } from '../../protocol.ts';
import * as audit from '../audit/append.ts';
import { publish } from '../signals/feed.ts';

export interface KeyView {
  kid: string;
  algorithm: SigningAlgorithm;
  /** `pending`: published, signs later. `retired`: a newer one signs. */
  status: 'pending' | 'signing' | 'retired' | 'revoked';
  createdAt: Date;
  signsFrom: Date;
  retiredAt: Date | null;
  revokedAt: Date | null;
}

/** All keys, the newest first. */
export async function listKeys(executor: Executor): Promise<KeyView[]> {
  return executor
    .select({
      kid: signingKeys.kid,
      algorithm: signingKeys.algorithm,
      status: sql<KeyView['status']>`case
        when ${signingKeys.revokedAt} is not null then 'revoked'
        when ${signingKeys.signsFrom} > clock_timestamp() then 'pending'
        when ${signingKeys.retiredAt} <= clock_timestamp() then 'retired'
        else 'signing' end`,
      createdAt: signingKeys.createdAt,
      signsFrom: signingKeys.signsFrom,
      retiredAt: signingKeys.retiredAt,
      revokedAt: signingKeys.revokedAt,
    })
    .from(signingKeys)
    .orderBy(desc(signingKeys.createdAt), signingKeys.algorithm);
}

export interface RotateOptions {
  /** 32 bytes. */
  kek: Uint8Array;
  /** How long the new keys are published before they sign; 0 only when nobody verifies yet. */
  publishAheadSeconds?: number;
  /** All of them when absent. */
  algorithms?: readonly SigningAlgorithm[];
}

/** Makes a new key for each algorithm. The old ones sign until the new ones do. */
export async function rotateKeys(
  db: Db,
  act: audit.Act,
  { kek, publishAheadSeconds = 60, algorithms = signingAlgorithms }: RotateOptions,
): Promise<KeyView[]> {
  const pairs = await Promise.all(algorithms.map(makeKeyPair));
  return transaction(db, async (tx) => {
    await lockKeys(tx);
    for (const pair of pairs) await insertKey(tx, kek, pair, publishAheadSeconds);
    await retireOlderKeys(tx);
    const keys = Object.fromEntries(pairs.map(({ algorithm, kid }) => [algorithm, kid]));
    await audit.append(tx, act, [{ kind: 'key.rotated', outcome: 'done', details: { keys, publishAheadSeconds } }]);
    await announceKeys(tx);
    const made = new Set(pairs.map(({ kid }) => kid));
    return (await listKeys(tx)).filter(({ kid }) => made.has(kid));
  });
}

export interface RevokedKey {
  kid: string;
  revokedAt: Date;
  /** The key made in its place, when it was the one that signed. */
  replacement: string | null;
}

/**
 * Ends a key for good. When it is the one that signs, a new one signs in its place at once: an older one must not come
 * back, for it may have leaked the same way. Revoking a revoked key changes nothing.
 * @throws WritError `not_found`
 */
export async function revokeKey(
  db: Db,
  act: audit.Act,
  kid: string,
  { kek, reason }: { kek: Uint8Array; reason?: string | undefined },
): Promise<RevokedKey> {
  const [known] = await db
    .select({ algorithm: signingKeys.algorithm })
    .from(signingKeys)
    .where(eq(signingKeys.kid, kid));
  if (known === undefined) throw new WritError('not_found', 'there is no such key');
  const pair = await makeKeyPair(known.algorithm);
  return transaction(db, async (tx) => {
    await lockKeys(tx);
    const signer = await findSigner(tx, known.algorithm);
    const [revoked] = await tx.execute<{ at: string; fresh: boolean }>(sql`
      with before as (select revoked_at from signing_keys where kid = ${kid})
      update signing_keys set revoked_at = coalesce(revoked_at, clock_timestamp()) where kid = ${kid}
      returning revoked_at as at, (select revoked_at is null from before) as fresh`);
    if (revoked === undefined) throw new WritError('not_found', 'there is no such key');
    const revokedAt = new Date(revoked.at);
    if (!revoked.fresh) return { kid, revokedAt, replacement: null };
    const replacement = signer === kid ? pair.kid : null;
    if (replacement !== null) await insertKey(tx, kek, pair, 0);
    await retireOlderKeys(tx);
    const details = { kid, algorithm: known.algorithm, replacement };
    await audit.append(tx, act, [
      { kind: 'key.revoked', outcome: 'done', ...(reason !== undefined && { reason }), details },
    ]);
    await announceKeys(tx);
    await publish(tx, [{ kid }]);
    return { kid, revokedAt, replacement };
  });
}

/**
 * Seals everything under the new KEK that is still sealed under the one before: all of it in one transaction, or nothing.
 * Nodes that run under the old one go on with what they have in memory. Does nothing the second time.
 * @returns how many keys
 * @throws Error when a key opens under neither.
 */
export const rewrapKeys = (db: Db, act: audit.Act, keks: Keks): Promise<number> =>
  transaction(db, async (tx) => {
    await lockKeys(tx);
    let count = 0;
    for (const { kid, privateKey } of await tx.select().from(signingKeys)) {
      const sealed = rewrap(keks, kid, privateKey);
      if (sealed === undefined) continue;
      await tx.update(signingKeys).set({ privateKey: sealed }).where(eq(signingKeys.kid, kid));
      count += 1;
    }
    for (const { name, sealed: old } of await tx.select().from(sealedKeys)) {
      const sealed = rewrap(keks, name, old);
      if (sealed === undefined) continue;
      await tx.update(sealedKeys).set({ sealed }).where(eq(sealedKeys.name, name));
      count += 1;
    }
    if (count > 0) await audit.append(tx, act, [{ kind: 'key.rewrapped', outcome: 'done', details: { keys: count } }]);
    return count;
  });

async function findSigner(tx: Tx, algorithm: SigningAlgorithm): Promise<string | undefined> {
  const [signer] = await tx.execute<{ kid: string }>(sql`
    select kid from signing_keys
    where algorithm = ${algorithm} and revoked_at is null and signs_from <= clock_timestamp()
    order by signs_from desc, created_at desc, kid desc limit 1`);
  return signer?.kid;
}

/** A key retires when the next newer one, of those that are not revoked, begins to sign. */
const retireOlderKeys = (tx: Tx) =>
  tx.execute(sql`
    update signing_keys k set retired_at = o.until
    from (
      select kid, lead(signs_from) over (partition by algorithm order by signs_from, created_at, kid) as until
      from signing_keys where revoked_at is null
    ) o
    where o.kid = k.kid and k.retired_at is distinct from o.until`);
