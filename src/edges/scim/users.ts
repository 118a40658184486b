/**
 * `/Users`. What a request says about the person being there is read off the raw body first (`departure.ts`) and decides
 * alone whether they are active; the rest of the body is the rest of the state.
 */
import { groupsOf } from '../../domain/people/groups.ts';
import { managerValue, namesOf } from '../../domain/people/managers.ts';
import {
  findPeople,
  type Person,
  type PersonCondition,
  type PersonState,
  readPerson,
} from '../../domain/people/people.ts';
import * as provisioning from '../../domain/people/provisioning.ts';
import { WritError } from '../../errors.ts';
import {
  answer,
  baseOf,
  checkVersion,
  directoryOf,
  idOf,
  queryOf,
  readChange,
  readJson,
  type ScimContext,
  type ScimDeps,
} from './call.ts';
import { type Departure, readBoolean, readDeparture } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import type { Comparison } from './filter.ts';
import { bareName, listResponse, readListRequest, stringOf, unsupported } from './list.ts';
import { applyPatch, readOperations } from './patch.ts';
import { type Projection, project, readProjection, sends } from './projection.ts';
import { type Resource, readResource } from './resource.ts';
import { userSchema } from './schema.ts';
import { etagOf, renderUser, toResource, toState } from './wire.ts';

const maxOperations = 250;

function toCondition({ attribute, value, within }: Comparison): PersonCondition {
  const name = bareName(userSchema.urn, attribute);
  if (within !== undefined) {
    if (name !== 'emails') throw unsupported(attribute);
    const condition: PersonCondition = { field: 'email', value: null, type: null };
    for (const term of within) {
      const member = term.attribute.toLowerCase();
      if (member !== 'value' && member !== 'type') throw unsupported(`${attribute}.${term.attribute}`);
      if (condition[member] !== null) throw unsupported(attribute);
      condition[member] = stringOf(term);
    }
    return condition;
  }
  switch (name) {
    case 'id':
      return { field: 'id', value: stringOf({ attribute, value }) };
    case 'username':
      return { field: 'userName', value: stringOf({ attribute, value }) };
    case 'externalid':
      return { field: 'externalId', value: stringOf({ attribute, value }) };
    case 'displayname':
      return { field: 'displayName', value: stringOf({ attribute, value }) };
    case 'emails':
    case 'emails.value':
      return { field: 'email', value: stringOf({ attribute, value }), type: null };
    case 'active': {
      const active = readBoolean(value);
      if (active === null) throw unsupported(attribute);
      return { field: 'active', value: active };
    }
    default:
      throw unsupported(attribute);
  }
}

export async function listUsers(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const { comparisons, startIndex, window } = readListRequest(queryOf(c));
  const projection = readProjection(userSchema, queryOf(c));
  const { total, people } = await findPeople(deps.db, directoryOf(c).id, comparisons.map(toCondition), window);
  const resources = await renderUsers(deps, c, people, projection);
  return answer(c, listResponse(resources, total, startIndex));
}

/** One query for the groups of all of them, and one for their managers, of those that are asked for. */
async function renderUsers(
  deps: ScimDeps,
  c: ScimContext,
  people: readonly Person[],
  projection: Projection,
): Promise<Resource[]> {
  const ids = sends(projection, 'groups') ? people.map(({ id }) => id) : [];
  const [groups, managers] = await Promise.all([groupsOf(deps.db, ids), namesOfManagers(deps, c, people)]);
  return people.map((person) =>
    project(renderUser(baseOf(deps), person, groups.get(person.id) ?? [], managers), projection),
  );
}

const namesOfManagers = (deps: ScimDeps, c: ScimContext, people: readonly Person[]): Promise<Map<string, string>> =>
  namesOf(
    deps.db,
    directoryOf(c).id,
    people.map(({ attributes }) => managerValue(attributes)).filter((value) => value !== null),
  );

export async function getUser(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const person = await readPerson(deps.db, directoryOf(c).id, idOf(c));
  if (person === null) throw new WritError('not_found', 'no such user');
  return answerUser(deps, c, person);
}

async function answerUser(deps: ScimDeps, c: ScimContext, person: Person, status: 200 | 201 = 200): Promise<Response> {
  const projection = readProjection(userSchema, queryOf(c));
  const [resource = {}] =
    status === 201 ? [await renderNew(deps, c, person, projection)] : await renderUsers(deps, c, [person], projection);
  c.header('ETag', etagOf(person));
  if (status === 201) c.header('Location', `${baseOf(deps)}/Users/${person.id}`);
  return answer(c, resource, status);
}

/**
 * The answer to a creation names no groups, of which hardly anybody who has just come is in any, and does without the
 * manager's name if that cannot be read: it must not fail any more, for the retry would meet a conflict.
 */
async function renderNew(deps: ScimDeps, c: ScimContext, person: Person, projection: Projection): Promise<Resource> {
  const managers = await namesOfManagers(deps, c, [person]).catch(() => new Map<string, string>());
  return project(renderUser(baseOf(deps), person, [], managers), projection);
}

const refuseUnclear = (departure: Departure): void => {
  if (departure === 'unclear') throw new ScimRefusal('invalidValue', 'active: true or false is expected');
};

/**
 * POST. 201 also for somebody whom it brings back (RFC 7644 §3.3 has no other success, and IdPs take the id from it); 409
 * is left for a name that is in use (§3.3, `uniqueness`).
 */
export async function createUser(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const body = await readJson(c);
  const departure = readDeparture('POST', body);
  refuseUnclear(departure);
  const state = toState(readResource(userSchema, body), departure !== 'leaves');
  const person = await provisioning.createPerson(deps.db, c.get('act'), directoryOf(c).id, state);
  return answerUser(deps, c, person, 201);
}

/**
 * PUT and PATCH. Neither the schema, nor the rest of the body, nor a body that is not quite JSON, nor a stale If-Match
 * refuses a departure: RFC 7644 §3.5.2 would have the whole PATCH refused for one bad operation, and the leaver would
 * stay. Then the departure alone is applied, and the answer shows the state that came of it.
 */
export async function changeUser(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const id = idOf(c);
  const { method } = c.req;
  const { body, refusal } = await readChange(c);
  const departure = readDeparture(method, body);
  if (refusal !== null && departure !== 'leaves') throw refusal;
  const merge = (current: Person): PersonState => {
    if (refusal !== null) throw refusal;
    checkVersion(c, current);
    refuseUnclear(departure);
    const resource =
      method === 'PUT'
        ? readResource(userSchema, body)
        : applyPatch(userSchema, toResource(current), readOperations(body, maxOperations));
    // A word on `active` that only the schema's reader understood must not be answered with 200 and dropped.
    const active = departure === 'unsaid' ? (readBoolean(resource.active) ?? current.active) : departure === 'returns';
    return toState(resource, active);
  };
  const { person, offboarding } = await provisioning.changePerson(
    deps.db,
    c.get('act'),
    { directoryId: directoryOf(c).id, id },
    { ...leaverRequest(c), leaves: departure === 'leaves' },
    merge,
  );
  noteOffboarding(c, offboarding);
  return answerUser(deps, c, person);
}

/** Deletion is a departure too, so a stale If-Match does not refuse it. */
export async function deleteUser(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const { offboarding } = await provisioning.deletePerson(
    deps.db,
    c.get('act'),
    { directoryId: directoryOf(c).id, id: idOf(c) },
    leaverRequest(c),
  );
  noteOffboarding(c, offboarding);
  return c.body(null, 204);
}

const leaverRequest = (c: ScimContext) => ({
  method: c.req.method,
  requestedAt: c.get('requestedAt'),
  observe: (agents: number) => c.set('agentsStopped', agents),
});

function noteOffboarding(c: ScimContext, id: string | null): void {
  c.set('offboarding', id);
  if (id !== null) c.header('Writ-Offboarding', id);
}
