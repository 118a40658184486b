/** A directory's SCIM tokens beside the one that its IdP has: when each ends, and temporary ones for a test. */
import { and, asc, eq, inArray, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { type Db, type Executor, transaction } from '../../platform/db/client.ts';
import { directories, directoryTokens } from '../../platform/db/schema.ts';
import { hashSecret, makeSecret } from '../../platform/keys/secret.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';

export interface TokenView {
  createdAt: Date;
  /** `null`: never. */
  expiresAt: Date | null;
}

const isExpired = sql`${directoryTokens.expiresAt} <= clock_timestamp()`;

/** The tokens that work, oldest first, by directory. */
export async function tokensOf(executor: Executor, ids: readonly string[]): Promise<Map<string, TokenView[]>> {
  if (ids.length === 0) return new Map();
  const rows = await executor
    .select({
      directoryId: directoryTokens.directoryId,
      createdAt: directoryTokens.createdAt,
      expiresAt: directoryTokens.expiresAt,
    })
    .from(directoryTokens)
    .where(and(inArray(directoryTokens.directoryId, [...ids]), sql`(${isExpired}) is not true`))
    .orderBy(asc(directoryTokens.createdAt));
  const byDirectory = Map.groupBy(rows, ({ directoryId }) => directoryId);
  return new Map(
    [...byDirectory].map(([id, tokens]) => [id, tokens.map(({ createdAt, expiresAt }) => ({ createdAt, expiresAt }))]),
  );
}

/** One more token, which ends by itself; the others are as they were. @throws WritError `not_found`. */
export async function addTemporaryToken(
  db: Db,
  act: Act,
  id: string,
  ttlSeconds: number,
): Promise<{ scimToken: string; expiresAt: Date }> {
  const scimToken = makeSecret('writ_scim');
  return transaction(db, async (tx) => {
    const [known] = await tx
      .select({ id: directories.id })
      .from(directories)
      .where(eq(directories.id, id))
      .for('share');
    if (known === undefined) throw new WritError('not_found', 'no such directory');
    await tx.delete(directoryTokens).where(and(eq(directoryTokens.directoryId, id), isExpired));
    const [made] = await tx
      .insert(directoryTokens)
      .values({
        hash: hashSecret(scimToken),
        directoryId: id,
        expiresAt: sql`clock_timestamp() + make_interval(secs => ${ttlSeconds}::int)`,
      })
      .returning();
    if (made?.expiresAt == null) throw new Error('the insert returned no token');
    const details = { directory: id, ttlSeconds };
    await audit.append(tx, act, [{ kind: 'directory.token_added', outcome: 'done', details }]);
    return { scimToken, expiresAt: made.expiresAt };
  });
}
