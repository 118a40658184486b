/**
 * Directories: connected IdPs and the bearer tokens they speak SCIM with. A directory is never deleted, because people,
 * receipts and the audit log name it. Its tokens are random, kept as hashes, shown once; a rotation adds one and gives
 * the others an end. A token belongs to one directory, and that is all the SCIM edge knows about who is calling.
 */
import { and, asc, eq, gt, isNull, or, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { constraintName, type Db, type Executor, type Tx, transaction } from '../../platform/db/client.ts';
import { refuseStandby, requirePrimary, takesWrites } from '../../platform/db/durability.ts';
import { type DirectoryKind, directories, directoryTokens, groups } from '../../platform/db/schema.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import { hashSecret, makeSecret, secretMatches } from '../../platform/keys/secret.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import { applyRequiredGroup, countOutsiders } from './required-group.ts';

/** What an IdP is, as far as its SCIM habits differ. `generic` is any other that follows the RFCs. */
export const directoryKinds = [
  'okta',
  'entra',
  'onelogin',
  'jumpcloud',
  'ping',
  'google',
  'rippling',
  'authentik',
  'generic',
] as const satisfies readonly DirectoryKind[];

/** What an administrator sets; absent: as it is, or the default. */
export interface DirectorySettings {
  name?: string | undefined;
  kind?: DirectoryKind | undefined;
  /** Departures of more than this share of its people within an hour need a confirmation; `null`: never. */
  massDeparturePercent?: number | null | undefined;
  /** Whether agents are resources of its IdP as well, and in which environment those live that it makes. */
  scimAgents?: boolean | undefined;
  scimAgentsEnvironment?: string | undefined;
  /** Without a request for so long its IdP has fallen silent; `null`: never. */
  silenceAfterSeconds?: number | null | undefined;
  /** `null`: the rate of the server. */
  requestsPerMinute?: number | null | undefined;
}

export interface DirectoryView {
  id: string;
  name: string;
  kind: DirectoryKind;
  /** Id of the group without which nobody of it is live; `null`: none is required. */
  requiredGroup: string | null;
  massDeparturePercent: number | null;
  scimAgents: boolean;
  scimAgentsEnvironment: string;
  silenceAfterSeconds: number | null;
  requestsPerMinute: number | null;
  createdAt: Date;
  /** Of its last request, to ten seconds; `null`: there was none. */
  lastContactAt: Date | null;
  /** Since when its silence is an alarm. */
  silentSince: Date | null;
}

const toView = ({ requiredGroupId, ...directory }: typeof directories.$inferSelect): DirectoryView => ({
  ...directory,
  requiredGroup: requiredGroupId,
});

export interface NewToken {
  scimToken: string;
  /** `null`: it has no end. */
  scimTokenExpiresAt: Date | null;
}

/** `ttlSeconds`: absent, it has no end. */
async function addToken(tx: Tx, directoryId: string, ttlSeconds?: number): Promise<NewToken> {
  const scimToken = makeSecret('writ_scim');
  const end = sql`clock_timestamp() + make_interval(secs => ${ttlSeconds ?? 0}::int)`;
  const [added] = await tx
    .insert(directoryTokens)
    .values({ hash: hashSecret(scimToken), directoryId, expiresAt: ttlSeconds === undefined ? null : end })
    .returning({ expiresAt: directoryTokens.expiresAt });
  return { scimToken, scimTokenExpiresAt: added?.expiresAt ?? null };
}

const isTaken = (error: unknown): boolean => constraintName(error) === 'directories_name_key';
const taken = (name: string | undefined, cause: unknown) =>
  new WritError('conflict', `name: there is already a directory named ${name}`, { cause });

export interface NewDirectory extends DirectorySettings {
  name: string;
  kind: DirectoryKind;
  tokenTtlSeconds?: number | undefined;
}

/** `scimToken` is shown here and never again. @throws WritError `conflict` when the name is taken. */
export async function createDirectory(
  db: Db,
  act: Act,
  { tokenTtlSeconds, ...input }: NewDirectory,
): Promise<DirectoryView & NewToken> {
  try {
    return await transaction(db, async (tx) => {
      const [directory] = await tx.insert(directories).values(input).returning();
      if (directory === undefined) throw new Error('the insert returned no directory');
      const token = await addToken(tx, directory.id, tokenTtlSeconds);
      await audit.append(tx, act, [
        { kind: 'directory.created', outcome: 'done', details: { directory: directory.id, ...input } },
      ]);
      return { ...toView(directory), ...token };
    });
  } catch (error) {
    if (isTaken(error)) throw taken(input.name, error);
    throw error;
  }
}

export interface DirectoryChange extends DirectorySettings {
  requiredGroup?: string | null | undefined;
  /** People may leave by it. */
  confirm?: boolean | undefined;
}

/** `departed`: how many have left because they are not in the group that is required now. */
export interface ChangedDirectory extends DirectoryView {
  departed: number;
}

/**
 * Changes what is given. With a required group, whoever is not in it leaves, each by themselves, once the setting is
 * committed: if that fails half-way, the same call again does the rest. `requestedAt` is for their receipts.
 * @throws WritError `not_found`; `invalid_request` when the group is none of this directory; `conflict` when the name is
 *   taken, or when people would leave and that is not confirmed.
 */
export async function changeDirectory(
  db: Db,
  act: Act,
  id: string,
  change: DirectoryChange,
  requestedAt: Date,
): Promise<ChangedDirectory> {
  const directory = await writeSettings(db, act, id, change);
  if (change.requiredGroup === undefined) return { ...directory, departed: 0 };
  const request = { method: 'PATCH', requestedAt, isConfirmed: true };
  return { ...directory, departed: await applyRequiredGroup(db, act, id, directory.requiredGroup, request) };
}

async function writeSettings(db: Db, act: Act, id: string, change: DirectoryChange): Promise<DirectoryView> {
  const { requiredGroup, confirm, ...settings } = change;
  try {
    return await transaction(db, async (tx) => {
      // Not only against other changes: whoever relies on the required group holds the row until their commit.
      const [current] = await tx.select().from(directories).where(eq(directories.id, id)).for('update');
      if (current === undefined) throw new WritError('not_found', 'no such directory');
      if (typeof requiredGroup === 'string') {
        await requireMeant(tx, { id: requiredGroup, directoryId: id }, confirm === true);
      }
      const before = new Map<string, unknown>(Object.entries(current));
      const changed = Object.entries({ ...settings, requiredGroupId: requiredGroup }).filter(
        ([name, value]) => value !== undefined && before.get(name) !== value,
      );
      if (changed.length === 0) return toView(current);
      const to = Object.fromEntries(changed);
      const [directory] = await tx.update(directories).set(to).where(eq(directories.id, id)).returning();
      if (directory === undefined) throw new Error('the update returned no directory');
      const from = Object.fromEntries(changed.map(([name]) => [name, before.get(name)]));
      await audit.append(tx, act, [
        { kind: 'directory.changed', outcome: 'done', details: { directory: id, from, to } },
      ]);
      return toView(directory);
    });
  } catch (error) {
    if (isTaken(error)) throw taken(settings.name, error);
    throw error;
  }
}

async function requireMeant(tx: Tx, group: { id: string; directoryId: string }, isConfirmed: boolean): Promise<void> {
  const [known] = await tx
    .select({ id: groups.id })
    .from(groups)
    .where(and(eq(groups.id, group.id), eq(groups.directoryId, group.directoryId)));
  if (known === undefined) throw new WritError('invalid_request', 'requiredGroup: this directory has no such group');
  const outsiders = await countOutsiders(tx, group);
  if (outsiders === 0 || isConfirmed) return;
  const who =
    outsiders === 1
      ? '1 person is not in this group and leaves'
      : `${outsiders} people are not in this group and leave`;
  throw new WritError(
    'conflict',
    `requiredGroup: ${who} by it, with all their agents; send confirm: true if that is meant`,
  );
}

/**
 * A new SCIM token; the older ones end after `graceSeconds`, or when they would have anyway; 0: they are dead once this
 * returns. @throws WritError `not_found`.
 */
export async function rotateDirectoryToken(
  db: Db,
  act: Act,
  id: string,
  { graceSeconds, tokenTtlSeconds }: { graceSeconds: number; tokenTtlSeconds?: number | undefined },
): Promise<NewToken> {
  return transaction(db, async (tx) => {
    const locked = await tx
      .select({ id: directories.id })
      .from(directories)
      .where(eq(directories.id, id))
      .for('update');
    if (locked.length === 0) throw new WritError('not_found', 'no such directory');
    const ofDirectory = eq(directoryTokens.directoryId, id);
    const end = sql`clock_timestamp() + make_interval(secs => ${graceSeconds})`;
    await tx
      .update(directoryTokens)
      .set({ expiresAt: sql`least(${directoryTokens.expiresAt}, ${end})` })
      .where(ofDirectory);
    await tx.delete(directoryTokens).where(and(ofDirectory, sql`${directoryTokens.expiresAt} <= clock_timestamp()`));
    const token = await addToken(tx, id, tokenTtlSeconds);
    const details = { directory: id, graceSeconds, expiresAt: token.scimTokenExpiresAt?.toISOString() ?? null };
    await audit.append(tx, act, [{ kind: 'directory.token_rotated', outcome: 'done', details }]);
    return token;
  });
}

export interface AuthenticatedDirectory {
  id: string;
  name: string;
  kind: DirectoryKind;
  /** Where agents that the directory creates live; `null`: there are no agents for it. */
  agentsEnvironment: string | null;
  requiredGroupId: string | null;
  requestsPerMinute: number | null;
}

/**
 * Whose SCIM token this is; `null`: nobody's, or no longer. An outage throws: it is not an answer. Nor is what a standby
 * says: a token or a person that it does not know yet would be a refusal that an IdP believes.
 */
export async function authenticateDirectory(db: Db, token: string): Promise<AuthenticatedDirectory | null> {
  const [found] = await db
    .select({
      hash: directoryTokens.hash,
      id: directories.id,
      name: directories.name,
      kind: directories.kind,
      scimAgents: directories.scimAgents,
      scimAgentsEnvironment: directories.scimAgentsEnvironment,
      requiredGroupId: directories.requiredGroupId,
      requestsPerMinute: directories.requestsPerMinute,
      writes: takesWrites,
    })
    .from(directoryTokens)
    .innerJoin(directories, eq(directories.id, directoryTokens.directoryId))
    .where(
      and(
        eq(directoryTokens.hash, hashSecret(token)),
        or(isNull(directoryTokens.expiresAt), gt(directoryTokens.expiresAt, sql`clock_timestamp()`)),
      ),
    )
    .prepare('directory_of_token')
    .execute();
  if (found === undefined) {
    await requirePrimary(db);
    return null;
  }
  refuseStandby(found.writes);
  if (!secretMatches(token, found.hash)) return null;
  const { hash: _hash, writes: _writes, scimAgents, scimAgentsEnvironment, ...directory } = found;
  return { ...directory, agentsEnvironment: scimAgents ? scimAgentsEnvironment : null };
}

/** @throws WritError `not_found`. */
export async function getDirectory(executor: Executor, id: string): Promise<DirectoryView> {
  const [directory] = await executor.select().from(directories).where(eq(directories.id, id));
  if (directory === undefined) throw new WritError('not_found', 'no such directory');
  return toView(directory);
}

/** By name. */
export async function listDirectories(executor: Executor, page: PageRequest): Promise<Page<DirectoryView>> {
  const [after] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 1);
  const rows = await executor
    .select()
    .from(directories)
    .where(after === undefined ? undefined : gt(directories.name, String(after)))
    .orderBy(asc(directories.name))
    .limit(page.limit + 1);
  return toPage(rows.map(toView), page.limit, (row) => [row.name]);
}
