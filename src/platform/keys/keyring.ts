/**
 * The signing keys of all nodes, in memory: `signing_keys` is the truth, read at start, on NOTIFY `writ_keys` and by poll.
 *
 * Life of a key: it is published from its creation, signs from `signs_from` until a newer key of its algorithm does
 * (`retired_at`), and stays published after that for as long as what it signed may be checked. Revoked: it signs
 * nothing any more and is published no longer. One key of each algorithm can always sign.
 *
 * Look-ups are synchronous, because they are on the way of every token. A row is believed only if its private half
 * opens under the KEK (`key-pair.ts`). Keys change in `domain/tokens/key-lifecycle.ts`, because the audit log and the
 * feed have to hear of it in the same transaction.
 */
import { asc, isNull, sql } from 'drizzle-orm';
import type { Logger } from 'pino';
import { type SigningAlgorithm, signingAlgorithms } from '../../protocol.ts';
import { type Bus, notify } from '../bus/bus.ts';
import { type Db, type Executor, type Tx, transaction } from '../db/client.ts';
import { signingKeys } from '../db/schema.ts';
import { type KeyPair, makeKeyPair, openKeyPair, type PublicJwk, sealKeyPair } from './key-pair.ts';
import { type Keks, openByEither } from './seal.ts';
import { type SigningKey, statementAlgorithm, type VerificationKey } from './sign.ts';

export const keysChannel = 'writ_keys';

export interface Keyring {
  /** The newest active key. @throws Error when there is none, which only an edit of the table can cause. */
  signingKey(algorithm: SigningAlgorithm): SigningKey;
  /** What `/oauth/jwks` publishes; the keys that sign now come first. */
  publicJwks(): PublicJwk[];
  /** Any key there ever was, also one that is no longer published. */
  verificationKey(kid: string): VerificationKey | undefined;
  /** Resolves once a read that began after this call is in effect. */
  refresh(): Promise<void>;
  close(): Promise<void>;
}

export interface KeyringOptions extends Keks {
  db: Db;
  /** Without one, changes of other nodes are seen by the next poll. */
  bus?: Pick<Bus, 'listen'>;
  now: () => Date;
  log: Pick<Logger, 'error' | 'warn'>;
  pollMs?: number;
}

/** Longest life of an access token, and room for clocks that differ. */
const tokenLifeMs = (900 + 300) * 1000;

/**
 * Receipts and checkpoints are checked long after they were made, by people who have only the published keys. Keys that
 * sign them therefore stay published for 400 days after they retired: a yearly audit, and a month to be late. That costs
 * little: with a rotation each month some thirteen keys of 200 bytes. It is no second life as a signer, for Writ signs
 * with the newest key only, and a key whose private half may have leaked is revoked, which ends its publication at once.
 */
const statementLifeMs = 400 * 24 * 3600 * 1000;

interface Held extends SigningKey, VerificationKey {
  pair: KeyPair;
  signsFromMs: number;
  retiredAtMs: number | null;
}

/** What one read of the table said, and the database's clock at that moment against ours. */
interface State {
  held: Map<string, Held>;
  clockAheadMs: number;
}

/**
 * Reads the keys, and makes the first ones when there are none.
 * @throws Error that names the key when one does not open under this KEK.
 */
export async function createKeyring(options: KeyringOptions): Promise<Keyring> {
  const { db, bus, now, log, pollMs = 5_000 } = options;
  await makeFirstKeys(db, options.kek);
  let state = await read(db, options, now, new Map(), (kid, cause) => {
    throw new Error(
      `the signing key ${kid} does not open with this WRIT_KEK: all nodes on one database need the key encryption key that the database was started with`,
      { cause },
    );
  });

  const complained = new Set<string>();
  const reread = async (): Promise<void> => {
    state = await read(db, options, now, state.held, (kid, cause) => {
      if (complained.has(kid)) return;
      complained.add(kid);
      log.error({ kid, err: cause }, 'a signing key does not open with WRIT_KEK: it is neither used nor published');
    });
  };
  const { run: refresh, idle } = oneAtATime(reread);

  let closed = false;
  const refreshQuietly = (): void => {
    if (closed) return;
    refresh().catch((err: unknown) => log.warn({ err }, 'the signing keys could not be read again'));
  };
  const timer = setInterval(refreshQuietly, pollMs).unref();
  const stopListening = await bus?.listen(keysChannel, refreshQuietly);
  // What changed between the first read and now was told to nobody here.
  await refresh();

  return {
    signingKey(algorithm) {
      const key = newestActive(state, algorithm, now);
      if (key === undefined) throw new Error(`no active signing key for ${algorithm}`);
      return key;
    },
    publicJwks: () => published(state, now),
    verificationKey: (kid) => state.held.get(kid),
    refresh,
    async close() {
      closed = true;
      clearInterval(timer);
      stopListening?.();
      await idle();
    },
  };
}

/** The time on the database's clock, by which `signs_from` and `retired_at` were set. */
const databaseTime = ({ clockAheadMs }: State, now: () => Date): number => now().getTime() + clockAheadMs;

function newestActive(state: State, algorithm: SigningAlgorithm, now: () => Date): Held | undefined {
  const time = databaseTime(state, now);
  let newest: Held | undefined;
  for (const key of state.held.values()) {
    // In the order of `signs_from`, so the last that fits is the newest.
    if (key.algorithm === algorithm && !key.revoked && key.signsFromMs <= time) newest = key;
  }
  return newest;
}

function published(state: State, now: () => Date): PublicJwk[] {
  const time = databaseTime(state, now);
  const signing = signingAlgorithms.flatMap((algorithm) => newestActive(state, algorithm, now) ?? []);
  const others = [...state.held.values()].filter((key) => {
    if (key.revoked || signing.includes(key)) return false;
    const lifeMs = key.algorithm === statementAlgorithm ? statementLifeMs : tokenLifeMs;
    return key.retiredAtMs === null || time < key.retiredAtMs + lifeMs;
  });
  return [...signing, ...others.reverse()].map((key) => key.pair.publicJwk);
}

async function read(
  db: Executor,
  keks: Keks,
  now: () => Date,
  known: ReadonlyMap<string, Held>,
  refuse: (kid: string, cause: unknown) => void,
): Promise<State> {
  const rows = await db
    .select({ key: signingKeys, clockMs: sql<string>`floor(extract(epoch from clock_timestamp()) * 1000)::text` })
    .from(signingKeys)
    .orderBy(asc(signingKeys.signsFrom), asc(signingKeys.createdAt), asc(signingKeys.kid));
  const held = new Map<string, Held>();
  for (const { key } of rows) {
    try {
      const pair = known.get(key.kid)?.pair ?? openByEither(keks, (kek) => openKeyPair(kek, key.kid, key.privateKey));
      held.set(key.kid, hold(pair, key));
    } catch (cause) {
      refuse(key.kid, cause);
    }
  }
  const clock = rows.at(-1)?.clockMs;
  return { held, clockAheadMs: clock === undefined ? 0 : Number(clock) - now().getTime() };
}

function hold(pair: KeyPair, row: { signsFrom: Date; retiredAt: Date | null; revokedAt: Date | null }): Held {
  return {
    kid: pair.kid,
    algorithm: pair.algorithm,
    privateKey: pair.privateKey,
    publicKey: pair.publicKey,
    pair,
    revoked: row.revokedAt !== null,
    signsFromMs: row.signsFrom.getTime(),
    retiredAtMs: row.retiredAt?.getTime() ?? null,
  };
}

/** Tells all nodes, once the transaction is committed, to read the keys again. */
export const announceKeys = (tx: Tx): Promise<void> => notify(tx, keysChannel);

/** Everybody who changes keys holds this until the end of their transaction; read the keys in a later statement. */
export const lockKeys = (tx: Tx) =>
  tx.execute(sql`select pg_advisory_xact_lock(hashtextextended('writ:signing-keys', 0))`);

/** Inserts a key that signs after `aheadSeconds` (0: at once). Under `lockKeys`. */
export async function insertKey(tx: Tx, kek: Uint8Array, pair: KeyPair, aheadSeconds: number): Promise<void> {
  await tx.insert(signingKeys).values({
    kid: pair.kid,
    algorithm: pair.algorithm,
    publicJwk: pair.publicJwk,
    privateKey: sealKeyPair(kek, pair),
    signsFrom: sql`clock_timestamp() + make_interval(secs => ${aheadSeconds}::int)`,
  });
}

/** Nodes that start at once agree on one key for each algorithm, because they make them one after the other. */
async function makeFirstKeys(db: Db, kek: Uint8Array): Promise<void> {
  const missing = await missingAlgorithms(db);
  if (missing.length === 0) return;
  const pairs = await Promise.all(missing.map(makeKeyPair));
  await transaction(db, async (tx) => {
    await lockKeys(tx);
    const still = await missingAlgorithms(tx);
    for (const pair of pairs) if (still.includes(pair.algorithm)) await insertKey(tx, kek, pair, 0);
  });
}

async function missingAlgorithms(executor: Executor): Promise<SigningAlgorithm[]> {
  const rows = await executor
    .selectDistinct({ algorithm: signingKeys.algorithm })
    .from(signingKeys)
    .where(isNull(signingKeys.revokedAt));
  return signingAlgorithms.filter((algorithm) => !rows.some((row) => row.algorithm === algorithm));
}

/** Runs `work` one at a time; a call during a run waits for the next one, which all such calls share. */
function oneAtATime(work: () => Promise<void>): { run(): Promise<void>; idle(): Promise<void> } {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const start = (): Promise<void> => {
    const mine = work().finally(() => {
      if (running === mine) running = undefined;
    });
    running = mine;
    return mine;
  };
  const run = (): Promise<void> => {
    if (next !== undefined) return next;
    if (running === undefined) return start();
    next = running
      .catch(() => {})
      .then(() => {
        next = undefined;
        return start();
      });
    return next;
  };
  return { run, idle: async () => (next ?? running)?.catch(() => {}) };
}
