/**
 * What holds for the agents of an environment unless they say otherwise. An environment is a name that APIs and agents use;
 * one without a row has the defaults.
 */
import { sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { type Db, type Executor, transaction } from '../../platform/db/client.ts';
import { environments, type LeaverPolicy } from '../../platform/db/schema.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import { type Act, append } from '../audit/append.ts';

export interface Environment {
  name: string;
  /** Of agents that have none of their own. */
  leaverPolicy: LeaverPolicy;
  quarantineSeconds: number;
  handoverSeconds: number;
}

export const defaults = { leaverPolicy: 'stop', quarantineSeconds: 86_400, handoverSeconds: 604_800 } as const;

export interface EnvironmentRules {
  leaverPolicy: LeaverPolicy;
  /** Absent: the default. */
  quarantineSeconds?: number | undefined;
  handoverSeconds?: number | undefined;
}

const columns = {
  name: environments.name,
  leaverPolicy: environments.leaverPolicy,
  quarantineSeconds: environments.quarantineSeconds,
  handoverSeconds: environments.handoverSeconds,
};

/** Any name has rules; nobody has to make an environment first. */
export async function getEnvironment(executor: Executor, name: string): Promise<Environment> {
  const [row] = await executor.select(columns).from(environments).where(sql`${environments.name} = ${name}`);
  return row ?? { name, ...defaults };
}

/** Those that have rules of their own or an API, by name: an agent gets tokens in no other. */
export async function listEnvironments(executor: Executor, page: PageRequest): Promise<Page<Environment>> {
  const after = page.cursor === undefined ? '' : String(decodeCursor(page.cursor, 1)[0]);
  if (!/^([a-z][a-z0-9-]*)?$/.test(after)) throw new WritError('invalid_request', 'cursor: not a cursor of this list');
  const rows = await executor.execute<{ name: string } & Record<string, unknown>>(sql`
    select name from (select environment as name from apis union select name from environments) e
    where name collate "C" > ${after} order by name collate "C" limit ${page.limit + 1}`);
  const { items, nextCursor } = toPage([...rows], page.limit, ({ name }) => [name]);
  const own = await executor
    .select(columns)
    .from(environments)
    .where(sql`${environments.name} = any (${sql.param(items.map(({ name }) => name))}::text[])`);
  const byName = new Map(own.map((row) => [row.name, row]));
  return { items: items.map(({ name }) => byName.get(name) ?? { name, ...defaults }), nextCursor };
}

/** Sets the rules, whole. They are read when somebody leaves: what a departure has already done stays. */
export async function setEnvironment(db: Db, act: Act, name: string, rules: EnvironmentRules): Promise<Environment> {
  const { leaverPolicy, quarantineSeconds, handoverSeconds } = rules;
  const environment: Environment = {
    name,
    leaverPolicy,
    quarantineSeconds: quarantineSeconds ?? defaults.quarantineSeconds,
    handoverSeconds: handoverSeconds ?? defaults.handoverSeconds,
  };
  return transaction(db, async (tx) => {
    const { name: _, ...set } = environment;
    const written = await tx
      .insert(environments)
      .values(environment)
      .onConflictDoUpdate({
        target: environments.name,
        set,
        setWhere: sql`(environments.leaver_policy, environments.quarantine_seconds, environments.handover_seconds)
          is distinct from (excluded.leaver_policy, excluded.quarantine_seconds, excluded.handover_seconds)`,
      })
      .returning({ name: environments.name });
    if (written.length > 0) {
      await append(tx, act, [{ kind: 'environment.changed', outcome: 'done', details: { ...environment } }]);
    }
    return environment;
  });
}
