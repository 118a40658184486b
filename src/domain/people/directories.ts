/**
 * Directories: connected IdPs and the bearer tokens they speak SCIM with. A directory is never deleted, because people,
 * receipts and the audit log name it. Its tokens are random, kept as hashes, shown once; a rotation adds one and gives
 * the others an end. A token belongs to one directory, and that is all the SCIM edge knows about who is calling.
 */
import { and, asc, eq, gt, isNull, or, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { constraintName, type Db, type Executor, transaction } from '../../platform/db/client.ts';
import { refuseStandby, requirePrimary, takesWrites } from '../../platform/db/durability.ts';
import { type DirectoryKind, directories, directoryTokens } from '../../platform/db/schema.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import { hashSecret, makeSecret, secretMatches } from '../../platform/keys/secret.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';

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

export interface DirectoryView {
  id: string;
  name: string;
  kind: DirectoryKind;
  createdAt: Date;
}

/** `scimToken` is shown here and never again. @throws WritError `conflict` when the name is taken. */
export async function createDirectory(
  db: Db,
  act: Act,
  input: { name: string; kind: DirectoryKind },
): Promise<DirectoryView & { scimToken: string }> {
  const scimToken = makeSecret('writ_scim');
  try {
    return await transaction(db, async (tx) => {
      const [directory] = await tx.insert(directories).values(input).returning();
      if (directory === undefined) throw new Error('the insert returned no directory');
      await tx.insert(directoryTokens).values({ hash: hashSecret(scimToken), directoryId: directory.id });
      await audit.append(tx, act, [
        { kind: 'directory.created', outcome: 'done', details: { directory: directory.id, ...input } },
      ]);
      return { ...directory, scimToken };
    });
  } catch (error) {
    if (constraintName(error) !== 'directories_name_key') throw error;
    throw new WritError('conflict', `name: there is already a directory named ${input.name}`, { cause: error });
  }
}

/**
 * A new SCIM token; the older ones end after `graceSeconds`, or when they would have anyway; 0: they are dead once this
 * returns. @throws WritError `not_found`.
 */
export async function rotateDirectoryToken(
  db: Db,
  act: Act,
  id: string,
  graceSeconds: number,
): Promise<{ scimToken: string }> {
  const scimToken = makeSecret('writ_scim');
  await transaction(db, async (tx) => {
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
    await tx.insert(directoryTokens).values({ hash: hashSecret(scimToken), directoryId: id });
    await audit.append(tx, act, [
      { kind: 'directory.token_rotated', outcome: 'done', details: { directory: id, graceSeconds } },
    ]);
  });
  return { scimToken };
}

/**
 * Whose SCIM token this is; `null`: nobody's, or no longer. An outage throws: it is not an answer. Nor is what a standby
 * says: a token or a person that it does not know yet would be a refusal that an IdP believes.
 */
export async function authenticateDirectory(
  db: Db,
  token: string,
): Promise<{ id: string; name: string; kind: DirectoryKind } | null> {
  const [found] = await db
    .select({
      hash: directoryTokens.hash,
      id: directories.id,
      name: directories.name,
      kind: directories.kind,
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
  return { id: found.id, name: found.name, kind: found.kind };
}

/** @throws WritError `not_found`. */
export async function getDirectory(executor: Executor, id: string): Promise<DirectoryView> {
  const [directory] = await executor.select().from(directories).where(eq(directories.id, id));
  if (directory === undefined) throw new WritError('not_found', 'no such directory');
  return directory;
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
  return toPage(rows, page.limit, (row) => [row.name]);
}
