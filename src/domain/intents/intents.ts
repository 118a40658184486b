/**
 * The catalogue of intents: named tasks, what is done in them, to what, and at which APIs. An intent is never deleted
 * and never changed: agents, approvals and the audit log name it, and mean what it said. What risk `read` promises
 * (read actions only) the database itself holds.
 */
import { and, asc, eq, gt, inArray } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { constraintName, type Db, type Executor, transaction } from '../../platform/db/client.ts';
import { apis, groupIntents, intentApis, intents } from '../../platform/db/schema.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import type { Action, Risk } from '../../protocol.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import { findApis, spellingsOf } from './apis.ts';

export interface NewIntent {
  taskIntent: string;
  description: string;
  /** Identifiers of registered APIs. */
  apis: string[];
  actions: Action[];
  datatypes: string[];
  risk: Risk;
}

export interface IntentView extends NewIntent {
  id: string;
  /** Ids of the groups that it is kept for; none: it is anybody's. */
  groups: string[];
  createdAt: Date;
}

/** @throws WritError `invalid_request` naming each unknown API, `conflict` when the name is taken. */
export async function createIntent(db: Db, act: Act, input: NewIntent): Promise<IntentView> {
  const { apis: identifiers, ...columns } = input;
  try {
    return await transaction(db, async (tx) => {
      const known = await findApis(tx, identifiers);
      const unknown = identifiers.filter((each) => !known.some((api) => spellingsOf(each).includes(api.identifier)));
      if (unknown.length > 0) throw new WritError('invalid_request', `apis: not registered: ${unknown.join(', ')}`);
      const [intent] = await tx.insert(intents).values(columns).returning();
      if (intent === undefined) throw new Error('the insert returned no intent');
      await tx.insert(intentApis).values(known.map((api) => ({ intentId: intent.id, apiId: api.id })));
      const view = { ...intent, apis: known.map((api) => api.identifier).sort() };
      const { createdAt, ...details } = view;
      await audit.append(tx, act, [{ kind: 'intent.created', outcome: 'done', intent: intent.taskIntent, details }]);
      return { ...details, groups: [], createdAt };
    });
  } catch (error) {
    const refusals: Record<string, () => WritError> = {
      intents_task_intent_key: () =>
        new WritError('conflict', `taskIntent: there is already an intent named ${input.taskIntent}`, { cause: error }),
      intents_check: () => new WritError('invalid_request', 'risk: read admits only read actions', { cause: error }),
    };
    throw refusals[constraintName(error) ?? '']?.() ?? error;
  }
}

/** @throws WritError `not_found`. */
export async function getIntent(executor: Executor, id: string): Promise<IntentView> {
  const rows = await executor.select().from(intents).where(eq(intents.id, id));
  const [intent] = await withPlaces(executor, rows);
  if (intent === undefined) throw new WritError('not_found', 'no such intent');
  return intent;
}

/** By name. */
export async function listIntents(
  executor: Executor,
  filter: { taskIntent?: string | undefined },
  page: PageRequest,
): Promise<Page<IntentView>> {
  const [after] = page.cursor === undefined ? [] : decodeCursor(page.cursor, 1);
  const rows = await executor
    .select()
    .from(intents)
    .where(
      and(
        after === undefined ? undefined : gt(intents.taskIntent, String(after)),
        filter.taskIntent === undefined ? undefined : eq(intents.taskIntent, filter.taskIntent),
      ),
    )
    .orderBy(asc(intents.taskIntent))
    .limit(page.limit + 1);
  return toPage(await withPlaces(executor, rows), page.limit, (intent) => [intent.taskIntent]);
}

/** With the APIs where it is done, and the groups that it is kept for. */
async function withPlaces(executor: Executor, rows: (typeof intents.$inferSelect)[]): Promise<IntentView[]> {
  if (rows.length === 0) return [];
  const ids = rows.map((row) => row.id);
  const links = await executor
    .select({ intentId: intentApis.intentId, identifier: apis.identifier })
    .from(intentApis)
    .innerJoin(apis, eq(apis.id, intentApis.apiId))
    .where(inArray(intentApis.intentId, ids))
    .orderBy(asc(apis.identifier));
  const kept = await executor
    .select()
    .from(groupIntents)
    .where(inArray(groupIntents.intentId, ids))
    .orderBy(asc(groupIntents.groupId));
  const apisOf = Map.groupBy(links, (link) => link.intentId);
  const groupsOf = Map.groupBy(kept, (link) => link.intentId);
  return rows.map((row) => ({
    ...row,
    apis: (apisOf.get(row.id) ?? []).map((link) => link.identifier),
    groups: (groupsOf.get(row.id) ?? []).map((link) => link.groupId),
  }));
}
