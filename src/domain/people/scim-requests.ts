/**
 * The last SCIM requests of each directory and what they did: for an administrator who asks why somebody did not come, or
 * did not leave. Names, never values. Best effort, on purpose: no request waits for its row or fails with it. Also owns
 * `directories.last_contact_at`, and the end of a silence (its beginning: `directory-alarms.ts`).
 */
import { and, desc, eq, lt, sql } from 'drizzle-orm';
import { type Db, type Executor, isOutage, type Tx, transaction } from '../../platform/db/client.ts';
import { scimRequests } from '../../platform/db/schema.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import { getDirectory } from './directories.ts';

/** What is kept of one request; without values of anybody's attributes. */
export interface ScimRequest {
  directoryId: string;
  requestId: string;
  method: string;
  path: string;
  status: number;
  scimType: string | null;
  detail: string | null;
  /** Parts that were left aside, by name. */
  ignored: string[];
  effect: string | null;
  tookMs: number;
  userAgent: string | null;
}

export interface ScimRequestView extends ScimRequest {
  id: number;
  at: Date;
}

/** Of a directory; older ones are deleted. */
const keptRequests = 200;
const batchSize = 100;
const maxWaiting = 2_000;
/** `last_contact_at` is not exact to more than this. */
const contactSeconds = 10;

interface Waiting {
  request: ScimRequest;
  /** By a monotonic clock, in milliseconds: the database makes an instant of the age. */
  notedAt: number;
}

export interface RequestLog {
  /** Never waits, never throws. */
  note(request: ScimRequest): void;
  /** Writes a batch of what waits. `true`: another whole batch does. */
  write(): Promise<boolean>;
  /** Writes all that waits, if the database takes it. */
  flush(): Promise<void>;
  /** Never written, since the start of the process. */
  dropped(): number;
}

export interface RequestLogParts {
  db: Db;
  /** Who records that a directory is heard again. */
  act: Act;
  log: { warn(members: object, message: string): void };
}

/**
 * The rows that wait to be written: once a second by whoever calls `write`, and whenever a whole batch has come. When the
 * database is slow or away they go on waiting, and beyond a bound the oldest are dropped: the newest say more about what
 * is wrong now.
 */
export function createRequestLog({ db, act, log }: RequestLogParts): RequestLog {
  let waiting: Waiting[] = [];
  let dropped = 0;
  let running: Promise<boolean> | null = null;
  const bound = (): void => {
    const excess = Math.max(0, waiting.length - maxWaiting);
    waiting = waiting.slice(excess);
    dropped += excess;
  };
  /** Whether it was written. */
  const writeNext = async (): Promise<boolean> => {
    const batch = waiting.splice(0, batchSize);
    if (batch.length === 0) return true;
    try {
      await writeBatch(db, act, batch);
      return true;
    } catch (error) {
      // What cannot be written for any other reason would stand in the way for good.
      if (isOutage(error)) waiting = [...batch, ...waiting];
      else dropped += batch.length;
      bound();
      log.warn({ err: error, rows: batch.length }, 'SCIM requests could not be recorded');
      return false;
    }
  };
  const write = (): Promise<boolean> => {
    running ??= writeNext().finally(() => {
      running = null;
    });
    return running;
  };
  return {
    note(request) {
      waiting.push({ request, notedAt: performance.now() });
      if (waiting.length > maxWaiting) bound();
      if (waiting.length % batchSize === 0) void write();
    },
    write: async () => (await write()) && waiting.length >= batchSize,
    flush: async () => {
      await running;
      while (waiting.length > 0 && (await write()));
    },
    dropped: () => dropped,
  };
}

/** PostgreSQL's text holds neither NUL nor half a character. */
const clean = (text: string): string => text.replaceAll('\0', '').toWellFormed();

async function writeBatch(db: Db, act: Act, batch: readonly Waiting[]): Promise<void> {
  const now = performance.now();
  const rows = batch.map(({ request, notedAt }) => ({ ...request, age_seconds: (now - notedAt) / 1_000 }));
  const directories = [...new Set(batch.map(({ request }) => request.directoryId))].sort();
  const json = JSON.stringify(rows, (_name, value: unknown) => (typeof value === 'string' ? clean(value) : value));
  await transaction(db, async (tx) => {
    await tx.execute(sql`
      insert into scim_requests
        (directory_id, at, request_id, method, path, status, scim_type, detail, ignored, effect, took_ms, user_agent)
      select r."directoryId", statement_timestamp() - make_interval(secs => r.age_seconds), r."requestId", r.method, r.path,
        r.status, r."scimType", r.detail, array(select jsonb_array_elements_text(r.ignored)), r.effect, r."tookMs",
        r."userAgent"
      from jsonb_to_recordset(${json}::text::jsonb) as r (
        "directoryId" uuid, age_seconds float8, "requestId" text, method text, path text, status int, "scimType" text,
        detail text, ignored jsonb, effect text, "tookMs" float8, "userAgent" text)
      order by r.age_seconds desc`);
    await prune(tx, directories);
    await noteContact(tx, act, directories);
  });
}

/** Two index look-ups a directory. Another node may be at it as well: what it has taken is its own to delete. */
const prune = (tx: Tx, directories: readonly string[]) =>
  tx.execute(sql`
    delete from scim_requests where id in (
      select old.id
      from jsonb_array_elements_text(${JSON.stringify(directories)}::text::jsonb) as d (id)
      cross join lateral (
        select id from scim_requests r where r.directory_id = d.id::uuid order by r.id desc offset ${keptRequests - 1}::int limit 1
      ) kept
      join scim_requests old on old.directory_id = d.id::uuid and old.id < kept.id
      for update of old skip locked
    )`);

/** At most one update a directory and ten seconds, whatever the number of nodes; the first after a silence ends it. */
async function noteContact(tx: Tx, act: Act, directories: readonly string[]): Promise<void> {
  const heard = await tx.execute<{ id: string; name: string; silentSince: string | null }>(sql`
    with due as (
      select id, silent_since from directories
      where id in (select d::uuid from jsonb_array_elements_text(${JSON.stringify(directories)}::text::jsonb) as d)
        and (silent_since is not null or last_contact_at is null
          or last_contact_at < statement_timestamp() - make_interval(secs => ${contactSeconds}::int))
      order by id for no key update skip locked
    )
    update directories d set last_contact_at = statement_timestamp(), silent_since = null
    from due where d.id = due.id
    returning d.id, d.name, to_char(due.silent_since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "silentSince"`);
  const returned = [...heard].filter(({ silentSince }) => silentSince !== null);
  await audit.append(
    tx,
    act,
    returned.map(({ id, name, silentSince }) => ({
      kind: 'directory.heard_again',
      outcome: 'done',
      details: { directory: id, name, silentSince },
    })),
  );
}

/** Newest first. @throws WritError `not_found`. */
export async function listRequests(
  executor: Executor,
  directoryId: string,
  page: PageRequest,
): Promise<Page<ScimRequestView>> {
  await getDirectory(executor, directoryId);
  const [before] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 1);
  const ofDirectory = eq(scimRequests.directoryId, directoryId);
  const rows = await executor
    .select()
    .from(scimRequests)
    .where(before === undefined ? ofDirectory : and(ofDirectory, lt(scimRequests.id, toId(before))))
    .orderBy(desc(scimRequests.id))
    .limit(page.limit + 1);
  return toPage(rows, page.limit, (row) => [row.id]);
}

/** What is no id of a row comes before all of them. */
const toId = (part: string | number): number => (Number.isSafeInteger(part) ? Number(part) : 0);
