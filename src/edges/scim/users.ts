/**
 * `/Users`. What a request says about the person being there is read off the raw body first (`departure.ts`) and decides
 * alone whether they are active; the rest of the body is the rest of the state.
 */
import { groupsOf } from '../../domain/people/groups.ts';
import { managerValue, namesOf } from '../../domain/people/managers.ts';
import { type Person, type PersonState, readPerson } from '../../domain/people/people.ts';
import * as provisioning from '../../domain/people/provisioning.ts';
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
  queryOf,
  readChange,
  readingOf,
  readJson,
  type ScimContext,
  type ScimDeps,
} from './call.ts';
import { type Departure, readBoolean, readDeparture } from './departure.ts';
import { ScimRefusal, toFailure } from './errors.ts';
import { applyPatch, readOperations } from './patch.ts';
import { type Projection, project, readProjection, sends } from './projection.ts';
import { type Resource, readResource } from './resource.ts';
import { userSchema } from './schema.ts';
import { noteEffect, noteRefusal } from './trace.ts';
import { etagOf, renderUser, toResource, toState } from './wire.ts';

const maxOperations = 250;

/** One query for the groups of all of them, and one for their managers, of those that are asked for. */
export async function renderUsers(
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
  return isKnown(c, person) ? notModified(c, person) : answerUser(deps, c, person);
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
  const state = toState(readResource(userSchema, body, readingOf(c)), departure !== 'leaves');
  const person = await provisioning.createPerson(deps.db, c.get('act'), directoryOf(c).id, state);
  noteEffect(c.get('trace'), person.version === 1 ? 'created' : 'returned');
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
        ? readResource(userSchema, body, readingOf(c))
        : applyPatch(userSchema, toResource(current), readOperations(body, maxOperations), readingOf(c));
    // A word on `active` that only the schema's reader understood must not be answered with 200 and dropped.
    const active = departure === 'unsaid' ? (readBoolean(resource.active) ?? current.active) : departure === 'returns';
    return toState(resource, active);
  };
  const seen: Person[] = [];
  const traced = (current: Person): PersonState => {
    seen.push(current);
    try {
      return merge(current);
    } catch (error) {
      // A departure is answered well all the same; why the rest was not done is told here alone.
      noteRefusal(c.get('trace'), toFailure(error));
      throw error;
    }
  };
  const { person, offboarding } = await provisioning.changePerson(
    deps.db,
    c.get('act'),
    { directoryId: directoryOf(c).id, id },
    { ...leaverRequest(c), leaves: departure === 'leaves' },
    traced,
  );
  noteChange(c, seen.at(-1), person);
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
  if (c.get('agentsStopped') !== null) noteEffect(c.get('trace'), 'offboarded');
  noteEffect(c.get('trace'), 'deleted');
  noteOffboarding(c, offboarding);
  return c.body(null, 204);
}

function noteChange(c: ScimContext, before: Person | undefined, after: Person): void {
  const returns = before?.active === false && after.active;
  const changed = before?.version === after.version ? 'nothing' : returns ? 'returned' : 'changed';
  noteEffect(c.get('trace'), c.get('agentsStopped') === null ? changed : 'offboarded');
}

function noteOffboarding(c: ScimContext, receipt: string | null): void {
  if (receipt !== null) noteOffboardings(c, [{ receipt, agents: c.get('agentsStopped') }]);
}
