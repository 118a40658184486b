/**
 * Lists of users, of groups and of both, by GET or by `POST …/.search` (RFC 7644 §3.4.2, §3.4.3): one way for all. The
 * filter and the order go to the database, a page comes back; nothing is sifted here.
 */
import {
  byCreation,
  type Either,
  type Found,
  findBoth,
  findGroups,
  findPeople,
  type Order,
  type Paging,
} from '../../domain/people/search.ts';
import type { Condition } from '../../domain/people/search-conditions.ts';
import { answer, baseOf, directoryOf, queryOf, readJson, type ScimContext, type ScimDeps } from './call.ts';
import { openCursor, sealCursor, type Walk } from './cursor.ts';
import { type Filter, parseFilter } from './filter.ts';
import { type Meaning, toCondition, toSortKey } from './filter-terms.ts';
import { renderGroups } from './groups.ts';
import {
  countedAtMost,
  cursorResponse,
  type ListRequest,
  listResponse,
  readListRequest,
  readSearchRequest,
} from './list.ts';
import { toProjection } from './projection.ts';
import type { Resource } from './resource.ts';
import { groupSchema, type ResourceSchema, userSchema } from './schema.ts';
import { renderUsers } from './users.ts';

/** The types that an endpoint searches. */
type Types = readonly [ResourceSchema, ...ResourceSchema[]];

export const onlyUsers: Types = [userSchema];
export const onlyGroups: Types = [groupSchema];
export const allTypes: Types = [userSchema, groupSchema];

export const answerList = (deps: ScimDeps, c: ScimContext, types: Types): Promise<Response> =>
  answerRequest(deps, c, types, readListRequest(queryOf(c)));

export async function answerSearch(deps: ScimDeps, c: ScimContext, types: Types): Promise<Response> {
  return answerRequest(deps, c, types, readSearchRequest(await readJson(c)));
}

async function answerRequest(deps: ScimDeps, c: ScimContext, types: Types, request: ListRequest): Promise<Response> {
  const filter = request.filter === null ? null : parseFilter(request.filter);
  const walk = walkOf(c, types, request);
  const { cursor, count, startIndex } = request;
  const walked = cursor === null || cursor === '' ? null : openCursor(deps.cursorKey, walk, cursor, count, deps.now());
  const { total, items, next } = await find(deps, c, types, filter, {
    order: orderOf(deps, types, request),
    from: walked === null ? { offset: cursor === null ? startIndex - 1 : 0 } : { after: walked.after },
    limit: count,
    total: walked?.total,
    countAtMost: cursor === null ? undefined : countedAtMost,
  });
  const resources = await render(deps, c, items, request);
  if (cursor === null) return answer(c, listResponse(resources, total ?? 0, startIndex));
  const state = next === null ? null : { after: next, count, total };
  const nextCursor = state === null ? null : sealCursor(deps.cursorKey, walk, state, deps.now());
  return answer(c, cursorResponse(resources, total, nextCursor));
}

const walkOf = (c: ScimContext, types: Types, { filter, sortBy, isDescending }: ListRequest): Walk => ({
  directoryId: directoryOf(c).id,
  types: types.map(({ name }) => name),
  filter: filter ?? '',
  sortBy: (sortBy ?? '').toLowerCase(),
  isDescending,
});

const meaningOf = (deps: ScimDeps, schema: ResourceSchema, types: Types): Meaning => ({
  schema,
  others: types.filter((other) => other !== schema),
  base: baseOf(deps),
});

/** RFC 7644 §3.4.2.3: `sortOrder` says nothing without `sortBy`. */
function orderOf(deps: ScimDeps, types: Types, { sortBy, isDescending }: ListRequest): Order {
  return sortBy === null ? byCreation : { by: toSortKey(meaningOf(deps, types[0], types), sortBy), isDescending };
}

async function find(
  deps: ScimDeps,
  c: ScimContext,
  types: Types,
  filter: Filter | null,
  paging: Paging,
): Promise<Found<Either>> {
  const { id } = directoryOf(c);
  const conditionFor = (schema: ResourceSchema): Condition | null =>
    filter === null ? null : toCondition(meaningOf(deps, schema, types), filter);
  if (types === allTypes) {
    const conditions = { person: conditionFor(userSchema), group: conditionFor(groupSchema) };
    return await findBoth(deps.db, id, conditions, paging);
  }
  const condition = conditionFor(types[0]);
  if (types[0] === userSchema) {
    const found = await findPeople(deps.db, id, condition, paging);
    return { ...found, items: found.items.map((person) => ({ kind: 'person', person })) };
  }
  const found = await findGroups(deps.db, id, condition, paging);
  return { ...found, items: found.items.map((group) => ({ kind: 'group', group })) };
}

/** In the order in which they were found. */
async function render(
  deps: ScimDeps,
  c: ScimContext,
  items: readonly Either[],
  request: ListRequest,
): Promise<Resource[]> {
  const people = items.flatMap((item) => (item.kind === 'person' ? [item.person] : []));
  const groups = items.flatMap((item) => (item.kind === 'group' ? [item.group] : []));
  const users = people.length === 0 ? [] : await renderUsers(deps, c, people, toProjection(userSchema, request));
  const teams = groups.length === 0 ? [] : await renderGroups(deps, groups, toProjection(groupSchema, request));
  if (teams.length === 0 || users.length === 0) return [...users, ...teams];
  const byId = new Map([...users, ...teams].map((resource) => [resource.id, resource]));
  return items
    .map((item) => byId.get(item.kind === 'person' ? item.person.id : item.group.id))
    .filter((resource) => resource !== undefined);
}
