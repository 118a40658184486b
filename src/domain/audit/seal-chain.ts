/**
 * Sealing: entries get their number in the log and join the hash chain, and the new head of the chain is signed.
 * The chain itself stands in `src/audit/chain.ts`, for whoever repeats it offline.
 *
 * One node seals at a time, in one transaction: entries, their numbers and the checkpoint are there together or not at
 * all. An entry that is committed late gets a later number. The sealer never continues from a head that its own last
 * checkpoint does not describe: it would vouch for a log that was cut or edited.
 */
import { desc, isNotNull, sql } from 'drizzle-orm';
import { chain, encodeHash, genesis, type Head } from '../../audit/chain.ts';
import { type Db, type Executor, type Tx, transaction } from '../../platform/db/client.ts';
import { auditEntries, checkpoints } from '../../platform/db/schema.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type SigningKey, signStatement, statementAlgorithm } from '../../platform/keys/sign.ts';
import { jwtTypes } from '../../protocol.ts';

/** Entries sealed in one transaction, at most. */
export const sealBatchSize = 2_000;

/**
 * Seals what is there, up to 2,000 entries, and returns how many: call again at once when it was that many. 0 also when
 * another node is sealing, or when the signing key has just been revoked and the keyring is behind.
 * @throws Error when the log does not end where the last checkpoint says.
 */
export async function sealEntries(db: Db, keyring: Keyring, issuer: string, limit = sealBatchSize): Promise<number> {
  const sealed = await transaction(db, async (tx) => {
    if (!(await becomeSealer(tx))) return 0;
    const rows = await readUnsealed(tx, limit);
    if (rows.length === 0) return 0;
    const key = keyring.signingKey(statementAlgorithm);
    if (!(await holdKey(tx, key.kid))) return 'revoked';
    const places = chainAll(await findHead(tx), rows);
    await writePlaces(tx, rows, places);
    const head = places.at(-1) ?? genesis;
    await tx.insert(checkpoints).values({ ...head, jws: await signHead(tx, key, issuer, head) });
    return rows.length;
  });
  if (sealed !== 'revoked') return sealed;
  await keyring.refresh();
  return 0;
}

const chainAll = (head: Head, rows: readonly { body: string; mac: Buffer }[]): Head[] => {
  let last = head;
  return rows.map((row) => {
    last = chain(last, row);
    return last;
  });
};

async function becomeSealer(tx: Tx): Promise<boolean> {
  const [lock] = await tx.execute<{ held: boolean }>(sql`
    select pg_try_advisory_xact_lock(hashtextextended('writ:audit-sealer', 0)) as held`);
  return lock?.held === true;
}

const readUnsealed = (tx: Tx, limit: number) =>
  tx
    .select({
      node: auditEntries.node,
      counter: auditEntries.counter,
      body: auditEntries.body,
      mac: auditEntries.mac,
    })
    .from(auditEntries)
    .where(sql`${auditEntries.number} is null`)
    .orderBy(auditEntries.at, auditEntries.node, auditEntries.counter)
    .limit(limit);

/**
 * Whether the key may still sign; held so until the commit. A revocation waits for the sealer or the sealer sees it, so
 * a revoked key's last checkpoint is always followed by the entry of its revocation.
 */
async function holdKey(tx: Tx, kid: string): Promise<boolean> {
  const rows = await tx.execute(sql`
    select from signing_keys where kid = ${kid} and revoked_at is null for share`);
  return rows.length === 1;
}

async function findHead(tx: Tx): Promise<Head> {
  const [last] = await tx
    .select({ number: auditEntries.number, hash: auditEntries.hash })
    .from(auditEntries)
    .where(isNotNull(auditEntries.number))
    .orderBy(desc(auditEntries.number))
    .limit(1);
  const head: Head = { number: last?.number ?? genesis.number, hash: last?.hash ?? genesis.hash };
  const signed = await latestCheckpoint(tx);
  if ((signed?.number ?? 0) !== head.number || (signed !== null && signed.hash !== encodeHash(head.hash))) {
    throw new Error(
      `the audit log ends at entry ${head.number}, its last checkpoint is for ${signed?.number ?? 'none'}: not sealing; run the audit verification`,
    );
  }
  return head;
}

async function writePlaces(tx: Tx, rows: readonly { node: string; counter: number }[], places: readonly Head[]) {
  const written = await tx.execute(sql`
    update audit_entries e set number = p.number, hash = decode(p.hash, 'hex')
    from unnest(
      ${sql.param(rows.map((row) => row.node))}::uuid[],
      ${sql.param(rows.map((row) => row.counter))}::bigint[],
      ${sql.param(places.map((place) => place.number))}::bigint[],
      ${sql.param(places.map((place) => place.hash.toString('hex')))}::text[]
    ) as p (node, counter, number, hash)
    where e.node = p.node and e.counter = p.counter and e.number is null
    returning 1`);
  if (written.length !== rows.length) throw new Error('the audit log changed while it was being sealed');
}

async function signHead(tx: Tx, key: SigningKey, issuer: string, head: Head): Promise<string> {
  const [clock] = await tx.execute<{ seconds: string }>(sql`
    select floor(extract(epoch from clock_timestamp()))::text as seconds`);
  const claims = { iss: issuer, number: head.number, hash: encodeHash(head.hash), iat: Number(clock?.seconds) };
  return signStatement({ signingKey: () => key }, jwtTypes.checkpoint, claims);
}

export interface Checkpoint {
  number: number;
  /** base64url */
  hash: string;
  /** `writ-checkpoint+jwt` */
  jws: string;
}

/** The newest signed head of the log, `null` before the first. One row by its key: fit for every heartbeat. */
export async function latestCheckpoint(executor: Executor): Promise<Checkpoint | null> {
  const [row] = await executor
    .select({ number: checkpoints.number, hash: checkpoints.hash, jws: checkpoints.jws })
    .from(checkpoints)
    .orderBy(desc(checkpoints.number))
    .limit(1);
  return row === undefined ? null : { number: row.number, hash: encodeHash(row.hash), jws: row.jws };
}
