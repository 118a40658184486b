/** Standing grants: which intents an agent may use. A write action of a granted intent still waits for an approval. */
import { and, eq, inArray, sql } from 'drizzle-orm';
import type { Executor, Tx } from '../../platform/db/client.ts';
import { agentIntents, intents } from '../../platform/db/schema.ts';

export interface KnownIntent {
  id: string;
  /** Of the APIs where it can be done. */
  environments: string[];
}

/** Those of the named intents that exist, by name. */
export async function readIntents(executor: Executor, names: readonly string[]): Promise<Map<string, KnownIntent>> {
  if (names.length === 0) return new Map();
  const rows = await executor
    .select({
      name: intents.taskIntent,
      id: intents.id,
      environments: sql<string[]>`coalesce((
        select jsonb_agg(distinct a.environment)
        from intent_apis ia join apis a on a.id = ia.api_id where ia.intent_id = intents.id), '[]')`,
    })
    .from(intents)
    .where(inArray(intents.taskIntent, [...new Set(names)]));
  return new Map(rows.map(({ name, ...intent }) => [name, intent]));
}

/** Names of what the agent may use, in order. */
export async function readGrants(tx: Tx, agentId: string): Promise<string[]> {
  const rows = await tx
    .select({ name: intents.taskIntent })
    .from(agentIntents)
    .innerJoin(intents, eq(intents.id, agentIntents.intentId))
    .where(eq(agentIntents.agentId, agentId));
  return rows.map(({ name }) => name).sort();
}

export async function grant(tx: Tx, agentId: string, intentIds: readonly string[]): Promise<void> {
  if (intentIds.length === 0) return;
  await tx
    .insert(agentIntents)
    .values(intentIds.map((intentId) => ({ agentId, intentId })))
    .onConflictDoNothing();
}

export async function withdraw(tx: Tx, agentId: string, intentIds: readonly string[]): Promise<void> {
  if (intentIds.length === 0) return;
  await tx
    .delete(agentIntents)
    .where(and(eq(agentIntents.agentId, agentId), inArray(agentIntents.intentId, [...intentIds])));
}
