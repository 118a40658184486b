/**
 * APIs: what agents call. An identifier is a URL that is parsed once, when it is registered, and from then on compared
 * as bytes (RFC 8707 §2, RFC 3986 §6.2.1), but for one trailing slash on a bare origin, which common clients add.
 * An API authenticates to Writ (feed, introspection, decisions) with its feed credentials, shown once, kept as a hash.
 * APIs are never deleted: tokens, intents and the audit log name them.
 */
import { asc, eq, gt, inArray, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { constraintName, type Db, type Executor, type Tx, transaction } from '../../platform/db/client.ts';
import { apis } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import { hashSecret, makeSecret, secretMatches } from '../../platform/keys/secret.ts';
import type { SigningAlgorithm } from '../../protocol.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';

export interface NewApi {
  identifier: string;
  name: string;
  environment: string;
  /** 30 to 900; 300 when absent. */
  tokenTtlSeconds?: number | undefined;
  scopes?: string[] | undefined;
  signingAlgorithm?: SigningAlgorithm | undefined;
  /** The agent that answers at this API, if one does: it may exchange the tokens that were made for it. */
  agent?: string | undefined;
}

export interface ApiView {
  id: string;
  identifier: string;
  name: string;
  environment: string;
  tokenTtlSeconds: number;
  scopes: string[];
  signingAlgorithm: SigningAlgorithm;
  agent: string | null;
  createdAt: Date;
  /** `clientSecret` only in the answer to the creation. */
  feedCredentials: { clientId: string };
}

const maxIdentifierLength = 512;
const isLoopback = (hostname: string): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);

/**
 * The identifier as it was written, if it can be one: https (http on loopback), a host, no user info, query or
 * fragment, and already in the form that a URL parser would give it, so that no two spellings mean the same API.
 * @throws WritError `invalid_request`.
 */
export function parseApiIdentifier(text: string): string {
  const refuse = (why: string) => new WritError('invalid_request', `identifier: ${why}`);
  if (text.length > maxIdentifierLength) throw refuse(`is longer than ${maxIdentifierLength} characters`);
  if (!/^[\x21-\x7e]+$/.test(text)) throw refuse('is not a URL of printable ASCII without spaces');
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) throw refuse('is not an https URL');
  if (url.username !== '' || url.password !== '' || text.includes('@')) throw refuse('has user information');
  if (text.includes('?')) throw refuse('has a query');
  if (text.includes('#')) throw refuse('has a fragment');
  if (url.protocol === 'http:' && !isLoopback(url.hostname))
    throw refuse('has to be https, unless the host is loopback');
  if (url.href !== text && url.href !== `${text}/`) throw refuse(`is not in normal form; write ${url.href}`);
  return text;
}

/** The identifier and, for a bare origin, its other spelling with or without the trailing slash. */
export function spellingsOf(identifier: string): string[] {
  const [, origin, slash] = /^(https?:\/\/[^/]+)(\/?)$/.exec(identifier) ?? [];
  if (origin === undefined) return [identifier];
  return slash === '' ? [identifier, `${origin}/`] : [identifier, origin];
}

/** @throws WritError `invalid_request`, `conflict` when the identifier, in either spelling, is taken. */
export async function createApi(
  db: Db,
  act: Act,
  input: NewApi,
): Promise<ApiView & { feedCredentials: { clientId: string; clientSecret: string } }> {
  const identifier = parseApiIdentifier(input.identifier);
  const clientSecret = makeSecret('writ_feed');
  return refuseBrokenRules(identifier, async () =>
    transaction(db, async (tx) => {
      await refuseOtherSpelling(tx, identifier);
      const [row] = await tx
        .insert(apis)
        .values({
          identifier,
          name: input.name,
          environment: input.environment,
          secretHash: hashSecret(clientSecret),
          agentId: input.agent ?? null,
          ...(input.tokenTtlSeconds === undefined ? {} : { tokenTtlSeconds: input.tokenTtlSeconds }),
          ...(input.scopes === undefined ? {} : { scopes: input.scopes }),
          ...(input.signingAlgorithm === undefined ? {} : { signingAlgorithm: input.signingAlgorithm }),
        })
        .returning();
      if (row === undefined) throw new Error('the insert returned no API');
      const { feedCredentials, createdAt, ...details } = viewOf(row);
      await audit.append(tx, act, [{ kind: 'api.created', outcome: 'done', details }]);
      return { ...details, createdAt, feedCredentials: { ...feedCredentials, clientSecret } };
    }),
  );
}

/** @throws WritError `not_found`, `invalid_request`. `agent: null`: no agent answers there any more. */
export async function changeApi(
  db: Db,
  act: Act,
  id: string,
  patch: { name?: string | undefined; tokenTtlSeconds?: number | undefined; agent?: string | null | undefined },
): Promise<ApiView> {
  const changes = {
    ...(patch.name === undefined ? {} : { name: patch.name }),
    ...(patch.tokenTtlSeconds === undefined ? {} : { tokenTtlSeconds: patch.tokenTtlSeconds }),
    ...(patch.agent === undefined ? {} : { agentId: patch.agent }),
  };
  if (Object.keys(changes).length === 0) return getApi(db, id);
  return refuseBrokenRules('', async () =>
    transaction(db, async (tx) => {
      const [row] = await tx.update(apis).set(changes).where(eq(apis.id, id)).returning();
      if (row === undefined) throw new WritError('not_found', 'no such API');
      await audit.append(tx, act, [{ kind: 'api.changed', outcome: 'done', details: { api: id, ...patch } }]);
      return viewOf(row);
    }),
  );
}

/** @throws WritError `not_found`. */
export async function getApi(executor: Executor, id: string): Promise<ApiView> {
  const [row] = await executor.select().from(apis).where(eq(apis.id, id));
  if (row === undefined) throw new WritError('not_found', 'no such API');
  return viewOf(row);
}

/** By identifier. */
export async function listApis(executor: Executor, page: PageRequest): Promise<Page<ApiView>> {
  const [after] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 1);
  const rows = await executor
    .select()
    .from(apis)
    .where(after === undefined ? undefined : gt(apis.identifier, String(after)))
    .orderBy(asc(apis.identifier))
    .limit(page.limit + 1);
  return toPage(rows.map(viewOf), page.limit, (api) => [api.identifier]);
}

/** Compared with when there is no such API, so that an unknown id takes as long as a wrong secret. */
const nobody = hashSecret('');

/** Which API these feed credentials belong to; `null`: none. An outage throws: it is not an answer. */
export async function authenticateApi(
  db: Db,
  clientId: string,
  secret: string,
): Promise<{ id: string; identifier: string } | null> {
  if (canonicalId(clientId) === null) return null;
  const [api] = await db
    .select({ id: apis.id, identifier: apis.identifier, secretHash: apis.secretHash })
    .from(apis)
    .where(eq(apis.clientId, clientId));
  const matches = secretMatches(secret, api?.secretHash ?? nobody);
  return api !== undefined && matches ? { id: api.id, identifier: api.identifier } : null;
}

/** Ids by identifier as registered, for the identifiers among `identifiers` that are known in either spelling. */
export async function findApis(
  executor: Executor,
  identifiers: readonly string[],
): Promise<{ id: string; identifier: string }[]> {
  const spellings = identifiers.flatMap(spellingsOf);
  return executor
    .select({ id: apis.id, identifier: apis.identifier })
    .from(apis)
    .where(inArray(apis.identifier, spellings));
}

/** Two spellings of one origin are two rows to the unique constraint: an advisory lock makes their creators take turns. */
async function refuseOtherSpelling(tx: Tx, identifier: string): Promise<void> {
  const [, other] = spellingsOf(identifier);
  if (other === undefined) return;
  const origin = identifier.replace(/\/$/, '');
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`api:${origin}`}, 0))`);
  const taken = await tx.select({ id: apis.id }).from(apis).where(eq(apis.identifier, other));
  if (taken.length > 0) throw new WritError('conflict', `identifier: it is already registered as ${other}`);
}

/** What the database refused, in the caller's words. */
async function refuseBrokenRules<T>(identifier: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const refusals: Record<string, () => WritError> = {
      apis_identifier_key: () =>
        new WritError('conflict', `identifier: ${identifier} is already registered`, { cause: error }),
      apis_agent_id_fkey: () => new WritError('invalid_request', 'agent: no such agent', { cause: error }),
      apis_environment_check: () =>
        new WritError('invalid_request', 'environment: lower-case letters, digits and dashes', { cause: error }),
      apis_token_ttl_seconds_check: () =>
        new WritError('invalid_request', 'tokenTtlSeconds: 30 to 900', { cause: error }),
    };
    throw refusals[constraintName(error) ?? '']?.() ?? error;
  }
}

const viewOf = (row: typeof apis.$inferSelect): ApiView => ({
  id: row.id,
  identifier: row.identifier,
  name: row.name,
  environment: row.environment,
  tokenTtlSeconds: row.tokenTtlSeconds,
  scopes: row.scopes,
  signingAlgorithm: row.signingAlgorithm,
  agent: row.agentId,
  createdAt: row.createdAt,
  feedCredentials: { clientId: row.clientId },
});

/** An API as a client of introspection. */
export interface ApiIdentity {
  id: string;
  identifier: string;
  clientId: string;
  secretHash: Buffer;
}

/** The API of these feed credentials, not authenticated yet; `null`: none. */
export async function findApiClient(executor: Executor, clientId: string): Promise<ApiIdentity | null> {
  if (canonicalId(clientId) === null) return null;
  const [api] = await executor
    .select({ id: apis.id, identifier: apis.identifier, clientId: apis.clientId, secretHash: apis.secretHash })
    .from(apis)
    .where(eq(apis.clientId, clientId));
  return api ?? null;
}
