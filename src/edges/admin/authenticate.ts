/**
 * Who may call the administration API: bearers of `admin_tokens`, kept as SHA-256. A database that is away is an outage
 * and throws; it never looks like a wrong token.
 */
import { and, eq, ne } from 'drizzle-orm';
import type { Db } from '../../platform/db/client.ts';
import { transaction } from '../../platform/db/client.ts';
import { adminTokens } from '../../platform/db/schema.ts';
import { hashSecret, secretMatches } from '../../platform/keys/secret.ts';
import { EdgeRefusal } from './problem.ts';

/** RFC 6750 §2.1, with a bound: no token of ours is nearly this long. */
const bearer = /^bearer +([A-Za-z0-9._~+/-]{1,512}=*)$/i;

/**
 * The name of the administrator whose token `authorization` carries.
 * @throws EdgeRefusal `unauthenticated`, with the challenge of RFC 6750 §3: `invalid_token` only when a token was sent.
 */
export async function authenticateAdmin(db: Db, authorization: string | undefined): Promise<string> {
  const challenge = 'Bearer realm="Writ administration"';
  if (authorization === undefined) {
    throw new EdgeRefusal('unauthenticated', 'This call needs `Authorization: Bearer <administration token>`.', {
      headers: { 'www-authenticate': challenge },
    });
  }
  const token = bearer.exec(authorization)?.[1];
  const name = token === undefined ? null : await findHolder(db, token);
  if (name !== null) return name;
  throw new EdgeRefusal('unauthenticated', 'The administration token is not one of this server.', {
    headers: { 'www-authenticate': `${challenge}, error="invalid_token"` },
  });
}

async function findHolder(db: Db, token: string): Promise<string | null> {
  const [found] = await db
    .select({ hash: adminTokens.hash, name: adminTokens.name })
    .from(adminTokens)
    .where(eq(adminTokens.hash, hashSecret(token)));
  return found !== undefined && secretMatches(token, found.hash) ? found.name : null;
}

const bootstrap = 'bootstrap';

/**
 * Makes `token` the bootstrap token; the one before it is dead once this returns, or stays when this one does not replace
 * it. Answers whether `token` is good now. Nodes that start together with the same token agree: an insert that gives way on
 * any constraint, then an update, where one upsert could only name one of them.
 */
export async function ensureAdminToken(db: Db, token: string, { replaces = true } = {}): Promise<boolean> {
  const hash = hashSecret(token);
  await transaction(db, async (tx) => {
    await tx.insert(adminTokens).values({ hash, name: bootstrap }).onConflictDoNothing();
    if (!replaces) return;
    await tx
      .update(adminTokens)
      .set({ hash })
      .where(and(eq(adminTokens.name, bootstrap), ne(adminTokens.hash, hash)));
  });
  return (await findHolder(db, token)) !== null;
}
