/**
 * Verification of the whole log, against somebody who has every right on the database but neither the KEK nor the log's
 * last head from outside. What each check finds:
 * - number: a sealed entry that is missing;
 * - MAC: an edited or invented entry, sealed or not;
 * - columns: a search that would not find, or would misplace, what the body says;
 * - chain: entries that changed places;
 * - checkpoints: a chain that was worked out anew, or cut behind its last signature;
 * - counters: an entry that was taken out or cut off, sealed or not;
 * - the sealer's marks: an entry that would never be sealed;
 * - an outside checkpoint: a whole database that was put back, or cut together with its counters and checkpoints.
 * Not found without an outside checkpoint: a cut that goes back exactly to an earlier state of everything.
 *
 * Reads one snapshot, in bounded batches, and stops at the first entry that does not fit.
 */
import { eq, type SQL, sql } from 'drizzle-orm';
import { chain, encodeHash, genesis, type Head } from '../../audit/chain.ts';
import { type Counters, createCounters, type Gap, nameEntries } from '../../audit/counters.ts';
import type { Db, Tx } from '../../platform/db/client.ts';
import { auditNodes, auditSealed, signingKeys } from '../../platform/db/schema.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { readStatement } from '../../platform/keys/sign.ts';
import { jwtTypes } from '../../protocol.ts';
import {
  explainEdit,
  isThere,
  type MissingEntry,
  type StoredEntry,
  selectSealed,
  selectUnsealed,
} from './check-entry.ts';
import { type Checkpoint, latestCheckpoint } from './seal-chain.ts';

export interface Verification {
  ok: boolean;
  /** How many entries were read and found whole. */
  entries: number;
  /** The first entry that does not fit. One that is not sealed yet goes by the number it would get. */
  firstBad?: { number: number; why: string };
  /** The newest signed head: keep it outside, and give it to the next verification. Only when the log is whole. */
  checkpoint?: Checkpoint;
}

export interface VerifyOptions {
  /** A head that was kept outside the database; `hash` in base64url. */
  checkpoint?: { number: number; hash: string };
}

interface Fault {
  number: number;
  why: string;
}

/** What a pass over the log knows so far. */
interface Pass {
  tx: Tx;
  macKey: Buffer;
  keyring: Keyring;
  outside: { number: number; hash: string } | undefined;
  head: Head;
  counters: Counters;
  /** The last place a checkpoint vouches for, and the key that signed it. */
  vouched: { number: number; kid: string | null };
  entries: number;
}

const batchSize = 500;

/**
 * Verifies every entry. `macKey` is the node's (`AuditNode.macKey`).
 * A finding is an answer, not an error; an outage throws.
 */
export async function verifyLog(
  db: Db,
  macKey: Buffer,
  keyring: Keyring,
  { checkpoint }: VerifyOptions = {},
): Promise<Verification> {
  await keyring.refresh();
  return db.transaction(
    async (tx) => {
      const counters = createCounters();
      const vouched = { number: 0, kid: null };
      const pass: Pass = { tx, macKey, keyring, outside: checkpoint, head: genesis, counters, vouched, entries: 0 };
      const fault = (await checkSealed(pass)) ?? (await checkEnd(pass)) ?? (await checkUnsealed(pass));
      const first = await firstOf(pass, fault);
      if (first !== null) return { ok: false, entries: pass.entries, firstBad: first };
      const latest = await latestCheckpoint(tx);
      return { ok: true, entries: pass.entries, ...(latest === null ? {} : { checkpoint: latest }) };
    },
    { isolationLevel: 'repeatable read', accessMode: 'read only' },
  );
}

/** The rows of a query, in batches, as they were when the transaction began. */
async function* stream(tx: Tx, query: SQL): AsyncGenerator<(StoredEntry | MissingEntry)[]> {
  await tx.execute(sql`declare audit_log no scroll cursor for ${query}`);
  for (;;) {
    const rows = await tx.execute<StoredEntry | MissingEntry>(sql.raw(`fetch ${batchSize} from audit_log`));
    if (rows.length > 0) yield [...rows];
    if (rows.length < batchSize) break;
  }
  await tx.execute(sql`close audit_log`);
}

async function checkSealed(pass: Pass): Promise<Fault | null> {
  for await (const rows of stream(pass.tx, selectSealed)) {
    const signed = await readCheckpoints(pass.tx, pass.head.number, rows.length);
    for (const row of rows) {
      const number = pass.head.number + 1;
      if (isThere(row) && row.number === `${pass.head.number}`)
        return { number: pass.head.number, why: seenTwice(row) };
      const why = checkPlace(pass, row) ?? checkOutside(pass);
      if (why !== null) return { number, why };
      pass.entries += 1;
      const fault = checkCheckpoint(pass, signed.get(number));
      if (fault !== null) return fault;
    }
  }
  return null;
}

/** Whether the row is the next entry of the log; if so it is the new head. */
function checkPlace(pass: Pass, row: StoredEntry | MissingEntry): string | null {
  const number = pass.head.number + 1;
  if (row.number !== `${number}`) return `it is missing: the next entry in the log is number ${row.number}`;
  if (!isThere(row)) return `it is missing: entry ${row.counter} of node ${row.node} has this place in the chain`;
  const edit = explainEdit(pass.macKey, row);
  if (edit !== null) return edit;
  const next = chain(pass.head, row);
  if (row.hash === null || !next.hash.equals(row.hash)) {
    return 'its hash does not continue the chain: entries changed places, or the hash was edited';
  }
  if (!pass.counters.see(row.node, Number(row.counter), number)) return seenTwice(row);
  pass.head = next;
  return null;
}

const seenTwice = ({ node, counter }: StoredEntry): string => `entry ${counter} of node ${node} is in the log twice`;

function checkOutside({ outside, head }: Pass): string | null {
  if (outside?.number !== head.number || outside.hash === encodeHash(head.hash)) return null;
  return 'the log up to here is not the one of the checkpoint that was kept outside';
}

interface SignedHead extends Record<string, unknown> {
  number: string;
  hash: Buffer;
  jws: string;
}

async function readCheckpoints(tx: Tx, after: number, count: number): Promise<Map<number, SignedHead>> {
  const rows = await tx.execute<SignedHead>(sql`
    select number::text, hash, jws from checkpoints where number > ${after} and number <= ${after + count}`);
  return new Map(rows.map((row) => [Number(row.number), row]));
}

function checkCheckpoint(pass: Pass, signed: SignedHead | undefined): Fault | null {
  if (signed === undefined) return null;
  const { number, hash } = pass.head;
  const statement = readStatement(pass.keyring, jwtTypes.checkpoint, signed.jws);
  if (statement === null) return { number, why: `the checkpoint of entry ${number} has no signature of Writ's keys` };
  const { claims, key } = statement;
  if (claims.number !== number || claims.hash !== encodeHash(signed.hash)) {
    return { number, why: `the checkpoint of entry ${number} was edited: it is not the one that was signed` };
  }
  if (claims.hash !== encodeHash(hash)) {
    const first = pass.vouched.number + 1;
    return { number: first, why: `entries ${first} to ${number} are not those that the signed checkpoint describes` };
  }
  pass.vouched = { number, kid: key.kid };
  return null;
}

/** Where the sealed part ends, against everything that says how far it reaches. */
async function checkEnd({ tx, head, outside, vouched }: Pass): Promise<Fault | null> {
  const latest = await latestCheckpoint(tx);
  const number = head.number + 1;
  if (latest !== null && latest.number > head.number) {
    return { number, why: `it was cut off the end: there is a checkpoint of entry ${latest.number}` };
  }
  if (outside !== undefined && outside.number > head.number) {
    return { number, why: `it was cut off the end: the checkpoint kept outside is of entry ${outside.number}` };
  }
  if (vouched.number < head.number) {
    return {
      number: vouched.number + 1,
      why: `no checkpoint vouches for entries ${vouched.number + 1} to ${head.number}`,
    };
  }
  return null;
}

async function checkUnsealed(pass: Pass): Promise<Fault | null> {
  const sealed = pass.head.number;
  let number = sealed;
  const marks = await readMarks(pass.tx);
  for await (const rows of stream(pass.tx, selectUnsealed)) {
    for (const row of rows.filter(isThere)) {
      number += 1;
      const twice = () => (pass.counters.see(row.node, Number(row.counter), number) ? null : seenTwice(row));
      const passedOver = () => (Number(row.counter) > (marks.get(row.node) ?? 0) ? null : skipped(row));
      const why = explainEdit(pass.macKey, row) ?? twice() ?? passedOver();
      if (why !== null) return { number, why: `not sealed yet, this is the number it would get: ${why}` };
      pass.entries += 1;
    }
  }
  return (await checkNodes(pass, number + 1)) ?? (number === sealed ? checkSigner(pass) : null);
}

const skipped = ({ node, counter }: StoredEntry): string =>
  `entry ${counter} of node ${node} would never be sealed: how far the sealer has come was edited, or its place taken out`;

/** Up to where the sealer has looked, by node. */
async function readMarks(tx: Tx): Promise<Map<string, number>> {
  const marks = await tx.select({ node: auditSealed.node, counter: auditSealed.counter }).from(auditSealed);
  return new Map(marks.map(({ node, counter }) => [node, counter]));
}

/** Each node's counter against its last entry. `number` is the one after the last entry of the log. */
async function checkNodes({ tx, counters }: Pass, number: number): Promise<Fault | null> {
  const nodes = await tx.select({ node: auditNodes.node, counter: auditNodes.counter }).from(auditNodes);
  const stranger = counters.nodes().find((one) => !nodes.some(({ node }) => node === one));
  if (stranger !== undefined) return { number, why: `node ${stranger} is not known, but entries of it are there` };
  for (const { node, counter } of nodes) {
    const last = counters.last(node);
    if (last < counter) {
      return { number, why: `it was cut off the end: ${nameEntries(node, last + 1, counter)} missing` };
    }
    if (last > counter) {
      return {
        number,
        why: `the counter of node ${node} was set back: it says ${counter}, and entry ${last} is there`,
      };
    }
  }
  return null;
}

/**
 * Whoever stole a key can sign a head. The entry of the revocation always comes after the last checkpoint by that key
 * (`seal-chain.ts`), so a log that ends with such a checkpoint was cut there.
 */
async function checkSigner({ tx, vouched }: Pass): Promise<Fault | null> {
  if (vouched.kid === null) return null;
  const [key] = await tx
    .select({ revokedAt: signingKeys.revokedAt })
    .from(signingKeys)
    .where(eq(signingKeys.kid, vouched.kid));
  if (key === undefined || key.revokedAt === null) return null;
  return { number: vouched.number, why: `only the revoked key ${vouched.kid} vouches for the end of the log` };
}

/** The first of the fault that ended the pass and the gaps that were met before it. */
async function firstOf({ tx, counters }: Pass, fault: Fault | null): Promise<Fault | null> {
  for (const gap of counters.gaps()) {
    if (fault !== null && gap.number > fault.number) break;
    if (await isMissing(tx, gap)) {
      return { number: gap.number, why: `before it, ${nameEntries(gap.node, gap.from, gap.to)} missing` };
    }
  }
  return fault;
}

/** A pass that ended early has not met everything that comes later. */
async function isMissing(tx: Tx, { node, from, to }: Gap): Promise<boolean> {
  const [row] = await tx.execute<{ count: string }>(sql`
    select count(*)::text as count from audit_entries where node = ${node}::uuid and counter between ${from} and ${to}`);
  return Number(row?.count) < to - from + 1;
}
