/**
 * What nobody would notice by themselves: an IdP that used to sync and has fallen silent, and a SCIM token that is about
 * to expire. Each is recorded and logged once, by whichever node sees it first; both are in the metrics while they last.
 * A silence ends with the next request (`scim-requests.ts`), or when the setting no longer makes it one.
 */
import { sql } from 'drizzle-orm';
import { type Db, type Tx, transaction } from '../../platform/db/client.ts';
import type { Act, AuditEvent } from '../audit/append.ts';
import * as audit from '../audit/append.ts';

export interface DirectoryAlarms {
  /** Directories that are silent. */
  silent: number;
  /** Seconds since the contact that lies longest back, of those whose silence is watched. */
  contactAge: number;
  /** Tokens that expire soon. */
  expiring: number;
  /** Departures that wait for a confirmation (`mass-departure.ts`). */
  unconfirmed: number;
}

/** Two weeks before, or a quarter of its life when that is shorter. */
const warnDays = 14;
/** Tokens that live no longer were made for one use (the doctor's), and their end is meant. */
export const temporarySeconds = 600;

const isOverdue = sql`coalesce(last_contact_at < statement_timestamp() - make_interval(secs => silence_after_seconds), false)`;
const expiresSoon = sql`t.expires_at > statement_timestamp()
  and t.expires_at - t.created_at > make_interval(secs => ${temporarySeconds + 1}::int)
  and t.expires_at - least(make_interval(days => ${warnDays}::int), (t.expires_at - t.created_at) / 4) <= statement_timestamp()`;

type Warn = (members: object, message: string) => void;

/** Raises the alarms that are due, and says how things stand. */
export async function watchDirectories(db: Db, act: Act, warn: Warn): Promise<DirectoryAlarms> {
  const [standing] = await db.execute<Record<keyof DirectoryAlarms | 'due', number>>(sql`
    select count(*) filter (where silent_since is not null)::int as silent,
      coalesce(max(extract(epoch from statement_timestamp() - last_contact_at))
        filter (where silence_after_seconds is not null), 0)::float8 as "contactAge",
      (select count(*) from directory_tokens t where ${expiresSoon})::int as expiring,
      (select count(*) from offboardings where confirmation = 'needed')::int as unconfirmed,
      (count(*) filter (where (silent_since is null) = ${isOverdue})
        + (select count(*) from directory_tokens t where t.warned_at is null and ${expiresSoon}))::int as due
    from directories`);
  if (standing === undefined) throw new Error('the directories could not be counted');
  const { due, ...alarms } = standing;
  if (due === 0) return alarms;
  const events = await transaction(db, async (tx) => {
    const raised = [...(await fallSilent(tx)), ...(await warnOfExpiry(tx))];
    await audit.append(tx, act, raised);
    return raised;
  });
  for (const { kind, details } of events) warn({ event: kind, ...details }, messages[kind] ?? kind);
  const silent = alarms.silent + events.filter(({ kind }) => kind === 'directory.silent').length;
  return { ...alarms, silent };
}

const messages: Partial<Record<AuditEvent['kind'], string>> = {
  'directory.silent': 'an identity provider that used to sync has fallen silent',
  'directory.token_expiring': 'a SCIM token is about to expire: its identity provider will be refused',
};

async function fallSilent(tx: Tx): Promise<AuditEvent[]> {
  const rows = await tx.execute<{ id: string; name: string; lastContactAt: string; isOver: boolean }>(sql`
    update directories set silent_since = case when silent_since is null then statement_timestamp() end
    where (silent_since is null) = ${isOverdue}
    returning id, name, silent_since is null as "isOver",
      to_char(last_contact_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "lastContactAt"`);
  return [...rows]
    .filter(({ isOver }) => !isOver)
    .map(({ id, name, lastContactAt }) => ({
      kind: 'directory.silent',
      outcome: 'done',
      details: { directory: id, name, lastContactAt },
    }));
}

async function warnOfExpiry(tx: Tx): Promise<AuditEvent[]> {
  const rows = await tx.execute<{ id: string; name: string; expiresAt: string }>(sql`
    update directory_tokens t set warned_at = statement_timestamp()
    from directories d
    where d.id = t.directory_id and t.warned_at is null and ${expiresSoon}
    returning d.id, d.name, to_char(t.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "expiresAt"`);
  return [...rows].map(({ id, name, expiresAt }) => ({
    kind: 'directory.token_expiring',
    outcome: 'done',
    details: { directory: id, name, expiresAt },
  }));
}
