/** `/Groups`. Members are never read, changed and written back: requests become deltas (`members.ts`). */
import * as groups from '../../domain/people/groups.ts';
import { WritError } from '../../errors.ts';
import {
  answer,
  baseOf,
  checkVersion,
  directoryOf,
  idOf,
  queryOf,
  readJson,
  type ScimContext,
  type ScimDeps,
} from './call.ts';
import { isObject } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import type { Comparison } from './filter.ts';
import { bareName, listResponse, readListRequest, stringOf, unsupported } from './list.ts';
import { patchGroup, readGroupState, readMembers } from './members.ts';
import { readOperations } from './patch.ts';
import { project, readProjection, sends } from './projection.ts';
import { readResource } from './resource.ts';
import { groupSchema } from './schema.ts';
import { etagOf, renderGroup } from './wire.ts';

/** authentik sends one operation for each member; the size of the body is what bounds them. */
const maxOperations = 20_000;

function toCondition({ attribute, value, within }: Comparison): groups.GroupCondition {
  const name = bareName(groupSchema.urn, attribute);
  if (within !== undefined) {
    const [term, ...more] = within;
    if (name !== 'members' || term?.attribute.toLowerCase() !== 'value' || more.length > 0)
      throw unsupported(attribute);
    return { field: 'member', value: stringOf(term) };
  }
  switch (name) {
    case 'id':
      return { field: 'id', value: stringOf({ attribute, value }) };
    case 'externalid':
      return { field: 'externalId', value: stringOf({ attribute, value }) };
    case 'displayname':
      return { field: 'displayName', value: stringOf({ attribute, value }) };
    case 'members':
    case 'members.value':
      return { field: 'member', value: stringOf({ attribute, value }) };
    default:
      throw unsupported(attribute);
  }
}

export async function listGroups(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const { comparisons, startIndex, window } = readListRequest(queryOf(c));
  const found = await groups.findGroups(deps.db, directoryOf(c).id, comparisons.map(toCondition), window);
  const resources = await render(deps, c, found.groups);
  return answer(c, listResponse(resources, found.total, startIndex));
}

/** Members are read only when they are sent: Entra ID excludes them, and a group may have tens of thousands. */
async function render(deps: ScimDeps, c: ScimContext, found: groups.Group[]): Promise<Record<string, unknown>[]> {
  const projection = readProjection(groupSchema, queryOf(c));
  const ids = sends(projection, 'members') ? found.map(({ id }) => id) : [];
  const members = await groups.membersOf(deps.db, ids);
  return found.map((group) => project(renderGroup(baseOf(deps), group, members.get(group.id) ?? []), projection));
}

async function answerGroup(
  deps: ScimDeps,
  c: ScimContext,
  group: groups.Group,
  status: 200 | 201 = 200,
): Promise<Response> {
  const [resource = {}] = await render(deps, c, [group]);
  c.header('ETag', etagOf(group));
  if (status === 201) c.header('Location', `${baseOf(deps)}/Groups/${group.id}`);
  return answer(c, resource, status);
}

export async function getGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const group = await groups.readGroup(deps.db, directoryOf(c).id, idOf(c));
  if (group === null) throw new WritError('not_found', 'no such group');
  return answerGroup(deps, c, group);
}

/** The body of a POST or PUT; members apart from the rest. */
function readGroupBody(body: unknown): { state: groups.GroupState; members: string[] } {
  if (!isObject(body)) throw new ScimRefusal('invalidSyntax', 'body: a JSON object is expected');
  const isMembers = (name: string) => bareName(groupSchema.urn, name) === 'members';
  const entries = Object.entries(body);
  const rest = Object.fromEntries(entries.filter(([name]) => !isMembers(name)));
  const members = entries.filter(([name]) => isMembers(name)).flatMap(([, value]) => readMembers(value));
  return { state: readGroupState(readResource(groupSchema, rest)), members };
}

export async function createGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const { state, members } = readGroupBody(await readJson(c));
  const group = await groups.createGroup(deps.db, c.get('act'), directoryOf(c).id, state, members);
  return answerGroup(deps, c, group, 201);
}

export async function replaceGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const where = { directoryId: directoryOf(c).id, id: idOf(c) };
  const { state, members } = readGroupBody(await readJson(c));
  const group = await groups.changeGroup(deps.db, c.get('act'), where, (current) => {
    checkVersion(c, current);
    return { ...state, members: { base: 'clear', add: members, remove: [] } };
  });
  return answerGroup(deps, c, group);
}

/** 204 unless the request asks for attributes (RFC 7644 §3.5.2): the answer would repeat every member. */
export async function patchGroupById(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const where = { directoryId: directoryOf(c).id, id: idOf(c) };
  const operations = readOperations(await readJson(c), maxOperations);
  const group = await groups.changeGroup(deps.db, c.get('act'), where, (current) => {
    checkVersion(c, current);
    return patchGroup(current, operations);
  });
  if (readProjection(groupSchema, queryOf(c)).mode === 'only') return answerGroup(deps, c, group);
  c.header('ETag', etagOf(group));
  return c.body(null, 204);
}

export async function deleteGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const where = { directoryId: directoryOf(c).id, id: idOf(c) };
  await groups.deleteGroup(deps.db, c.get('act'), where, (current) => checkVersion(c, current));
  return c.body(null, 204);
}
