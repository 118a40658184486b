/** `/Groups`. Members are never read, changed and written back: requests become deltas (`members.ts`). */
import * as groups from '../../domain/people/groups.ts';
import { WritError } from '../../errors.ts';
import {
  answer,
  baseOf,
  checkVersion,
  directoryOf,
  idOf,
  isKnown,
  leaverRequest,
  noteOffboardings,
  notModified,
  type Offboarding,
  queryOf,
  readingOf,
  readJson,
  type ScimContext,
  type ScimDeps,
} from './call.ts';
import { isObject } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import { bareName } from './list.ts';
import { patchGroup, readGroupState, readMembers } from './members.ts';
import { readOperations } from './patch.ts';
import { type Projection, project, readProjection, sends } from './projection.ts';
import { type Resource, readResource } from './resource.ts';
import { groupSchema } from './schema.ts';
import { type Effect, noteEffect } from './trace.ts';
import { etagOf, renderGroup } from './wire.ts';

/** authentik sends one operation for each member; the size of the body is what bounds them. */
const maxOperations = 20_000;

/** Members are read only when they are sent: Entra ID excludes them, and a group may have tens of thousands. */
export async function renderGroups(
  deps: ScimDeps,
  found: readonly groups.Group[],
  projection: Projection,
): Promise<Resource[]> {
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
  const [resource = {}] = await renderGroups(deps, [group], readProjection(groupSchema, queryOf(c)));
  c.header('ETag', etagOf(group));
  if (status === 201) c.header('Location', `${baseOf(deps)}/Groups/${group.id}`);
  return answer(c, resource, status);
}

export async function getGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const group = await groups.readGroup(deps.db, directoryOf(c).id, idOf(c));
  if (group === null) throw new WritError('not_found', 'no such group');
  return isKnown(c, group) ? notModified(c, group) : answerGroup(deps, c, group);
}

/** The body of a POST or PUT; members apart from the rest. */
function readGroupBody(c: ScimContext, body: unknown): { state: groups.GroupState; members: string[] } {
  if (!isObject(body)) throw new ScimRefusal('invalidSyntax', 'body: a JSON object is expected');
  const isMembers = (name: string) => bareName(groupSchema.urn, name) === 'members';
  const entries = Object.entries(body);
  const rest = Object.fromEntries(entries.filter(([name]) => !isMembers(name)));
  const members = entries.filter(([name]) => isMembers(name)).flatMap(([, value]) => readMembers(value));
  return { state: readGroupState(readResource(groupSchema, rest, readingOf(c))), members };
}

export async function createGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const { state, members } = readGroupBody(c, await readJson(c));
  const group = await groups.createGroup(deps.db, c.get('act'), directoryOf(c).id, state, members);
  noteEffect(c.get('trace'), 'created');
  return answerGroup(deps, c, group, 201);
}

/** Who loses the group that the directory requires leaves with it. */
function noteOutcome(c: ScimContext, effect: Effect, offboardings: readonly Offboarding[]): void {
  noteOffboardings(c, offboardings);
  noteEffect(c.get('trace'), effect);
  for (const { agents } of offboardings) if (agents !== null) noteEffect(c.get('trace'), 'offboarded');
}

export async function replaceGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const where = { directoryId: directoryOf(c).id, id: idOf(c) };
  const { state, members } = readGroupBody(c, await readJson(c));
  let before = 0;
  const merge = (current: groups.Group) => {
    before = current.version;
    checkVersion(c, current);
    return { ...state, members: { base: 'clear' as const, add: members, remove: [] } };
  };
  const { group, offboardings } = await groups.changeGroup(deps.db, c.get('act'), where, merge, leaverRequest(c));
  noteOutcome(c, group.version === before ? 'nothing' : 'changed', offboardings);
  return answerGroup(deps, c, group);
}

/** 204 unless the request asks for attributes (RFC 7644 §3.5.2): the answer would repeat every member. */
export async function patchGroupById(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const where = { directoryId: directoryOf(c).id, id: idOf(c) };
  const operations = readOperations(await readJson(c), maxOperations);
  let before = 0;
  const merge = (current: groups.Group) => {
    before = current.version;
    checkVersion(c, current);
    return patchGroup(current, operations, readingOf(c));
  };
  const { group, offboardings } = await groups.changeGroup(deps.db, c.get('act'), where, merge, leaverRequest(c));
  noteOutcome(c, group.version === before ? 'nothing' : 'changed', offboardings);
  if (readProjection(groupSchema, queryOf(c)).mode === 'only') return answerGroup(deps, c, group);
  c.header('ETag', etagOf(group));
  return c.body(null, 204);
}

export async function deleteGroup(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const where = { directoryId: directoryOf(c).id, id: idOf(c) };
  const check = (current: groups.Group): void => checkVersion(c, current);
  const { offboardings } = await groups.deleteGroup(deps.db, c.get('act'), where, check, leaverRequest(c));
  noteOutcome(c, 'deleted', offboardings);
  return c.body(null, 204);
}
