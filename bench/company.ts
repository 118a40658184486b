/** A Writ with something in it: one API, two intents, a directory, people, and as many agents as are wanted. */
import { randomBytes } from 'node:crypto';
import type { Sql } from 'postgres';
import { hashSecret } from '../src/platform/keys/secret.ts';
import { api, publicJwk, readIntent, searchIntent } from './callers.ts';
import type { Cores } from './machine.ts';
import { type Server, startServer } from './processes.ts';

export const secret = 'bench-client-secret-of-all-agents';
const adminToken = 'bench-administrator-token';

export interface Company {
  server: Server;
  sql: Sql;
  directory: { id: string; scimToken: string };
  feedCredentials: { clientId: string; clientSecret: string };
}

/** Starts a Writ on the empty database at `url` and fills its catalogue. `settings`: more of its environment. */
export async function openCompany(
  cores: Cores,
  folder: string,
  url: string,
  sql: Sql,
  settings: Record<string, string> = {},
): Promise<Company> {
  const server = await startServer(cores, folder, {
    name: 'Writ',
    module: '../src/main.ts',
    env: (issuer, port) => ({
      PORT: String(port),
      WRIT_ISSUER: issuer,
      DATABASE_URL: url,
      WRIT_KEK: randomBytes(32).toString('base64'),
      WRIT_ADMIN_TOKEN: adminToken,
      WRIT_LOG_LEVEL: 'warn',
      ...settings,
    }),
    probePath: '/readyz',
    // The log is sealed every half second.
    quietMs: 600,
  });
  const post = (path: string, body: object) => callAdmin(server.url, path, body);
  const { feedCredentials } = await post('/apis', { identifier: api, name: 'CRM', environment: 'production' });
  const common = { apis: [api], datatypes: ['ticket'], description: 'Work on incident tickets' };
  await post('/intents', { ...common, taskIntent: readIntent, actions: ['read', 'list'], risk: 'read' });
  await post('/intents', { ...common, taskIntent: searchIntent, actions: ['search'], risk: 'read' });
  const directory = await post('/directories', { name: 'bench', kind: 'generic' });
  return { server, sql, directory, feedCredentials };
}

async function callAdmin(url: string, path: string, body: object) {
  const response = await fetch(`${url}/api/v1${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}

export interface Staff {
  people: number;
  /** Of each of them. */
  agentsEach: number;
  credential: 'jwks' | 'secret';
  /** What each of the agents is granted; both intents when absent. */
  intents?: string[];
}

interface Index {
  name: string;
  definition: string;
}

/** From this many rows on it is faster to build the indexes anew. */
const manyAgents = 50_000;

/** All but those that hold a constraint. */
const findIndexes = (sql: Sql): Promise<Index[]> => sql<Index[]>`
  select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition from pg_index i
  where i.indrelid in ('people'::regclass, 'agents'::regclass, 'agent_intents'::regclass) and not i.indisunique`;

/**
 * Hires by SQL and returns the ids of the people. Triggers and foreign keys are left out while loading, for they cost most
 * of the time; that needs a superuser. What they would have set is set here.
 */
export async function hire({ sql, directory }: Company, staff: Staff): Promise<string[]> {
  const { people, agentsEach, credential, intents = [readIntent, searchIntent] } = staff;
  const indexes = people * agentsEach >= manyAgents ? await findIndexes(sql) : [];
  const jwks = credential === 'jwks' ? JSON.stringify({ keys: [publicJwk] }) : null;
  const hash = credential === 'secret' ? hashSecret(secret) : null;
  const hired = await sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica`;
    await tx`set local maintenance_work_mem = '512MB'`;
    for (const { name } of indexes) await tx.unsafe(`drop index ${name}`);
    await tx`
      create temporary table hired on commit drop as
      select gen_random_uuid() as id from generate_series(1, ${people}::int)`;
    await tx`
      insert into people (id, directory_id, user_name) select id, ${directory.id}::uuid, id || '@example.com' from hired`;
    await tx`
      with new as (
        insert into agents (id, name, owner_id, environment, path, credential_kind, jwks, secret_hash)
        select id, 'agent', owner_id, 'production', array[id], ${credential}, ${jwks}::text::jsonb, ${hash}
        from (select gen_random_uuid() as id, hired.id as owner_id
              from hired, generate_series(1, ${agentsEach}::int)) as agent
        returning id
      )
      insert into agent_intents (agent_id, intent_id) select new.id, intents.id from new, intents
      where task_intent = any (${intents}::text[])`;
    for (const { definition } of indexes) await tx.unsafe(definition);
    return await tx<{ id: string }[]>`select id from hired`;
  });
  await sql.unsafe('vacuum (analyze) people, agents, agent_intents');
  return hired.map(({ id }) => id);
}
