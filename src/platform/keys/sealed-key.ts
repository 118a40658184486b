/**
 * Symmetric keys that outlive the KEK: random, made once, sealed in the database. All nodes use the same.
 */
import { randomBytes } from 'node:crypto';
import { eq, sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { sealedKeys } from '../db/schema.ts';
import { deriveKey, type Keks, type KeyPurpose, open, openByEither, seal } from './seal.ts';

/** The 32-byte key for `purpose`. @throws Error when it opens under none of the KEKs. */
export async function resolveSealedKey(db: Db, keks: Keks, purpose: KeyPurpose): Promise<Buffer> {
  const sealed = (await find(db, purpose)) ?? (await make(db, keks, purpose));
  try {
    return openByEither(keks, (kek) => open(kek, purpose, sealed));
  } catch (cause) {
    throw new Error(
      `the key ${purpose} does not open with this WRIT_KEK: all nodes on one database need the key encryption key that the database was started with`,
      { cause },
    );
  }
}

async function find(db: Db, purpose: KeyPurpose): Promise<Buffer | undefined> {
  const [row] = await db.select({ sealed: sealedKeys.sealed }).from(sealedKeys).where(eq(sealedKeys.name, purpose));
  return row?.sealed;
}

/** Nodes that start at once agree on one. A log that has entries was written under the key that was derived from the KEK. */
async function make(db: Db, { kek, previousKek }: Keks, purpose: KeyPurpose): Promise<Buffer> {
  const [log] = await db.execute<{ written: boolean }>(sql`select exists (select from audit_entries) as written`);
  const key = log?.written === true ? deriveKey(previousKek ?? kek, purpose) : randomBytes(32);
  await db
    .insert(sealedKeys)
    .values({ name: purpose, sealed: seal(kek, purpose, key) })
    .onConflictDoNothing();
  const sealed = await find(db, purpose);
  if (sealed === undefined) throw new Error(`the key ${purpose} was not kept`);
  return sealed;
}
