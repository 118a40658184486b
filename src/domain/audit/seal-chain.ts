/**
 * Sealing: entries get their number in the log and join the hash chain, and the new head of the chain is signed.
 * The chain itself stands in `src/audit/chain.ts`, for whoever repeats it offline.
 *
 * One node seals at a time, in one transaction: entries, their numbers and the checkpoint are there together or not at
 * all. An entry that is committed late gets a later number. The sealer never continues from a head that its own last
 * checkpoint does not describe: it would vouch for a log that was cut or edited.
 */
import { desc, sql } from 'drizzle-orm';
import { encodeHash, genesis, type Head } from '../../audit/chain.ts';
import { type Db, type Executor, type Tx, transaction } from '../../platform/db/client.ts';
import { auditChain, checkpoints } from '../../platform/db/schema.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type SigningKey, signStatement, statementAlgorithm } from '../../platform/keys/sign.ts';
import { jwtTypes } from '../../protocol.ts';

/** Entries of one node that are sealed in one transaction, at most. */
export const sealBatchSize = 2_000;

/**
 * Seals what is there, up to 2,000 entries of each node, and returns how many: call again at once when it was that many
 * or more. 0 also when another node is sealing, or when the signing key has just been revoked and the keyring is behind.
 * @throws Error when the log does not end where the last checkpoint says.
 */
export async function sealEntries(db: Db, keyring: Keyring, issuer: string, limit = sealBatchSize): Promise<number> {
  const sealed = await transaction(db, async (tx) => {
    if (!(await becomeSealer(tx)) || !(await hasUnsealed(tx))) return 0;
    const key = keyring.signingKey(statementAlgorithm);
    if (!(await holdKey(tx, key.kid))) return 'revoked';
    const { count, head } = await chainUnsealed(tx, await findHead(tx), limit);
    if (count === 0) return 0;
    await tx.insert(checkpoints).values({ ...head, jws: await signHead(tx, key, issuer, head) });
    return count;
  });
  if (sealed !== 'revoked') return sealed;
  await keyring.refresh();
  return 0;
}

async function becomeSealer(tx: Tx): Promise<boolean> {
  const [lock] = await tx.execute<{ held: boolean }>(sql`
    select pg_try_advisory_xact_lock(hashtextextended('writ:audit-sealer', 0)) as held`);
  return lock?.held === true;
}

async function hasUnsealed(tx: Tx): Promise<boolean> {
  const rows = await tx.execute(sql`
    select from audit_nodes n left join audit_sealed s on s.node = n.node
    where n.counter > coalesce(s.counter, 0) limit 1`);
  return rows.length > 0;
}

/**
 * Numbers and hashes what comes after `head`, in the database: a million entries need not travel for it. Of each node in
 * the order of its counter, however its clock went, so that nothing is passed over; what has a place keeps it.
 */
async function chainUnsealed(tx: Tx, head: Head, limit: number): Promise<{ count: number; head: Head }> {
  const [row] = await tx.execute<{ count: number; number: string | null; hash: Buffer | null }>(sql`
    with seen as (
      select e.* from audit_nodes n left join audit_sealed s on s.node = n.node
      cross join lateral (
        select * from audit_entries e where e.node = n.node and e.counter > coalesce(s.counter, 0)
        order by e.counter limit ${limit}::int
      ) e
      where n.counter > coalesce(s.counter, 0)
    ), unsealed as (
      select node, counter, body, mac, row_number() over (order by at, node, counter) + ${head.number}::bigint as number
      from seen where not exists (select from audit_chain c where (c.node, c.counter) = (seen.node, seen.counter))
    ), chained as (
      insert into audit_chain (number, node, counter, hash)
      select number, node, counter, audit_chain_hash(${head.hash}::bytea, number, body, mac)
        over (order by number rows unbounded preceding)
      from unsealed returning number, hash
    ), noted as (
      insert into audit_sealed (node, counter) select node, max(counter) from seen group by node
      on conflict (node) do update set counter = excluded.counter
    )
    select count(*)::int as count, max(number)::text as number, (array_agg(hash order by number desc))[1] as hash
    from chained`);
  if (row === undefined || row.number === null || row.hash === null) return { count: 0, head };
  return { count: row.count, head: { number: Number(row.number), hash: row.hash } };
}

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
    .select({ number: auditChain.number, hash: auditChain.hash })
    .from(auditChain)
    .orderBy(desc(auditChain.number))
    .limit(1);
  const head: Head = last ?? genesis;
  const signed = await latestCheckpoint(tx);
  if ((signed?.number ?? 0) !== head.number || (signed !== null && signed.hash !== encodeHash(head.hash))) {
    throw new Error(
      `the audit log ends at entry ${head.number}, its last checkpoint is for ${signed?.number ?? 'none'}: not sealing; run the audit verification`,
    );
  }
  return head;
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
