/**
 * Who is listening: verifiers that hold a stream of the feed open under a name, kept in the database by the node that
 * serves them, so that a departure can say who was connected then. Best effort: nothing depends on it but receipts.
 */
import { type SQL, sql } from 'drizzle-orm';
import type { Db } from '../../platform/db/client.ts';

export interface FollowerName {
  apiId: string;
  verifier: string;
}

/** A stream is noted again this often. */
export const noteEverySeconds = 10;
/** Three times as long: a node that is late by a round or two has not lost its verifiers. */
const staleSeconds = 30;
/** What nodes that were killed have left. */
const forgottenSeconds = 3_600;

const columns = (followers: readonly FollowerName[]): SQL => sql`
  ${sql.param(followers.map(({ apiId }) => apiId))}::uuid[], ${sql.param(followers.map(({ verifier }) => verifier))}::text[]`;

/** Notes that these are connected to this node, and that those are no longer. */
export async function noteFollowers(
  db: Db,
  node: string,
  { seen, gone }: { seen: readonly FollowerName[]; gone: readonly FollowerName[] },
): Promise<void> {
  await db.execute(sql`
    with seen as (
      insert into followers (node, api_id, verifier, seen_at)
      select ${node}::uuid, s.api_id, s.verifier, clock_timestamp() from unnest(${columns(seen)}) as s (api_id, verifier)
      on conflict (node, api_id, verifier) do update set seen_at = excluded.seen_at
    )
    delete from followers f
    where f.node = ${node}::uuid
        and (f.api_id, f.verifier) in (select g.api_id, g.verifier from unnest(${columns(gone)}) as g (api_id, verifier))
      or f.node <> ${node}::uuid and f.seen_at < clock_timestamp() - make_interval(secs => ${forgottenSeconds}::int)`);
}

/** Those that are connected to any node, as `[{api, verifier}]` in jsonb. */
export const connectedVerifiers: SQL = sql`(
  select coalesce(jsonb_agg(jsonb_build_object('api', c.identifier, 'verifier', c.verifier)), '[]')
  from (
    select distinct a.identifier, f.verifier from followers f join apis a on a.id = f.api_id
    where f.seen_at > clock_timestamp() - make_interval(secs => ${staleSeconds}::int)
    order by a.identifier, f.verifier
  ) c
)`;
