/**
 * What a directory does to people: create, change, delete. Each is one transaction, and each change is made under the
 * person's owner lock to the state read after it, so that an unrelated change cannot bring a leaver back. The step from
 * live to not live, by whichever request, is an offboarding and happens in the same transaction; the step back is only
 * recorded: what stopped with a person stays stopped.
 */
import { isDeepStrictEqual } from 'node:util';
import { and, eq, isNull, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import { constraintName, type Db, type Executor, type Tx, transaction } from '../../platform/db/client.ts';
import { changeOwners } from '../../platform/db/locks.ts';
import { groupMembers, people } from '../../platform/db/schema.ts';
import type { Act } from '../audit/append.ts';
import * as audit from '../audit/append.ts';
import { endRightsOf, endTokensOf } from './group-rights.ts';
import { type LeaverRequest, latestOffboarding, offboard } from './offboard.ts';
import { type Person, type PersonState, readPerson } from './people.ts';
import { requiresGroup } from './required-group.ts';

/** The request by which a directory changes a person. */
export interface ChangeRequest extends LeaverRequest {
  /** The request says that this person is gone: that much of it is done whatever becomes of the rest. */
  leaves: boolean;
}

export interface Changed {
  person: Person;
  /** The receipt of this departure, or of the earlier one that this request repeats. */
  offboarding: string | null;
}

const maxAttempts = 3;

const isTaken = (error: unknown): boolean => constraintName(error) === 'people_user_name';
const taken = (cause: unknown) =>
  new WritError('conflict', 'userName: this directory has another user of that name', { cause });

/**
 * Makes a person, or brings back one whom the directory had deactivated: the one of that `externalId`, renamed, or else
 * the one of that `userName`. Some directories create whoever they have assigned anew without looking first. It is the
 * return that a PATCH would be, and brings no agent back.
 * @throws WritError `conflict` when the `userName` is that of somebody active.
 */
export async function createPerson(db: Db, act: Act, directoryId: string, state: PersonState): Promise<Person> {
  const known = await bringBackKnown(db, act, directoryId, state);
  if (known !== null) return known;
  for (let attempt = 0; ; attempt++) {
    try {
      return await insertPerson(db, act, directoryId, state);
    } catch (error) {
      if (!isTaken(error)) throw error;
      const find: Find = (executor) => findNamesake(executor, directoryId, state.userName);
      const namesake = await find(db);
      const isInUse = namesake !== undefined && (namesake.active || !state.active);
      if (isInUse || attempt === maxAttempts) throw taken(error);
      const returned = namesake && (await bringBack(db, act, namesake, state, find));
      // Otherwise the name has passed on since the insert.
      if (returned) return returned;
    }
  }
}

/** `null`: nobody returns who is known by that `externalId`, or not under that name. */
async function bringBackKnown(db: Db, act: Act, directoryId: string, state: PersonState): Promise<Person | null> {
  const { externalId } = state;
  if (externalId === null || !state.active) return null;
  const find: Find = (executor) => findKnown(executor, directoryId, externalId);
  const person = await find(db);
  if (person === undefined || person.active) return null;
  try {
    return await bringBack(db, act, person, state, find);
  } catch (error) {
    // Whoever has the name is the better known one.
    if (isTaken(error)) return null;
    throw error;
  }
}

const insertPerson = (db: Db, act: Act, directoryId: string, state: PersonState): Promise<Person> =>
  transaction(db, async (tx) => {
    const [person] = await tx
      .insert(people)
      .values({ ...state, directoryId, excluded: requiresGroup(directoryId) })
      .returning()
      .prepare('insert_person')
      .execute();
    if (person === undefined) throw new Error('the insert returned no person');
    const { active, excluded } = person;
    const details = { directory: directoryId, userName: person.userName, active, ...(excluded ? { excluded } : {}) };
    await audit.append(tx, act, [{ kind: 'person.created', outcome: 'done', person: person.id, details }]);
    return person;
  });

/** How somebody is found, without and under their lock. */
type Find = (executor: Executor) => Promise<Person | undefined>;

/** `null`: they are back already, or are not found that way any more. */
async function bringBack(db: Db, act: Act, { id }: Person, state: PersonState, find: Find): Promise<Person | null> {
  return changeOwners(db, [id], async (tx) => {
    const current = await find(tx);
    if (current?.id !== id || current.active) return null;
    const person = await write(tx, current, state);
    const details = { directory: person.directoryId, changed: differences(stateOf(current), stateOf(person)) };
    const kind = person.live ? 'person.returned' : 'person.changed';
    await audit.append(tx, act, [{ kind, outcome: 'done', person: id, details }]);
    return person;
  });
}

/** The one whom the directory knows by this `externalId`. It may repeat, and then says of nobody who they are. */
async function findKnown(executor: Executor, directoryId: string, externalId: string): Promise<Person | undefined> {
  const [person, another] = await executor
    .select()
    .from(people)
    .where(and(eq(people.directoryId, directoryId), eq(people.externalId, externalId), isNull(people.deletedAt)))
    .limit(2)
    .prepare('people_of_external_id')
    .execute();
  return another === undefined ? person : undefined;
}

async function findNamesake(executor: Executor, directoryId: string, userName: string): Promise<Person | undefined> {
  const hasName = sql`lower(${people.userName}) = lower(${userName})`;
  const [person] = await executor
    .select()
    .from(people)
    .where(and(eq(people.directoryId, directoryId), hasName, isNull(people.deletedAt)));
  return person;
}

const stateOf = ({ userName, externalId, displayName, active, attributes }: Person): PersonState => ({
  userName,
  externalId,
  displayName,
  active,
  attributes,
});

/** Names of what differs; audit entries carry no values of people's attributes. */
function differences(before: PersonState, after: PersonState): string[] {
  const flat = ({ attributes, ...state }: PersonState): Record<string, unknown> => ({ ...attributes, ...state });
  const [old, next] = [flat(before), flat(after)];
  return [...new Set([...Object.keys(old), ...Object.keys(next)])].filter(
    (name) => !isDeepStrictEqual(old[name], next[name]),
  );
}

async function write(tx: Tx, current: Person, state: Partial<PersonState>): Promise<Person> {
  const [person] = await tx
    .update(people)
    .set({ ...state, version: sql`${people.version} + 1`, updatedAt: sql`clock_timestamp()` })
    .where(eq(people.id, current.id))
    .returning()
    .prepare('write_person')
    .execute();
  if (person === undefined) throw new Error('the update returned no person');
  return person;
}

/** Writes the state; of a leaver whose new `userName` is taken, only the departure. */
async function writeState(tx: Tx, current: Person, next: PersonState, leaves: boolean): Promise<Person> {
  if (!leaves || next.userName === current.userName) return write(tx, current, next);
  try {
    // A savepoint: the failed update must not take the transaction with it.
    return await tx.transaction((savepoint) => write(savepoint, current, next));
  } catch (error) {
    if (!isTaken(error)) throw error;
    return write(tx, current, { active: false });
  }
}

/** What `merge` makes of the current state. A leaver leaves, whatever `merge` makes of the rest. */
function decide(current: Person, merge: (current: Person) => PersonState, leaves: boolean): PersonState {
  if (!leaves) return merge(current);
  try {
    return { ...merge(current), active: false };
  } catch {
    return { ...stateOf(current), active: false };
  }
}

/**
 * Changes a person to what the pure function `merge` makes of the current state; what `merge` throws refuses the change,
 * unless the request says that the person leaves.
 * @throws WritError `not_found`; `conflict` when the new `userName` is taken.
 */
export async function changePerson(
  db: Db,
  act: Act,
  { directoryId, id }: { directoryId: string; id: string },
  request: ChangeRequest,
  merge: (current: Person) => PersonState,
): Promise<Changed> {
  try {
    return await changeOwners(db, [id], async (tx) => {
      const current = await readPerson(tx, directoryId, id);
      if (current === null) throw new WritError('not_found', 'no such user');
      const next = decide(current, merge, request.leaves);
      if (differences(stateOf(current), next).length === 0) {
        return { person: current, offboarding: request.leaves ? await findOffboarding(tx, id) : null };
      }
      const person = await writeState(tx, current, next, request.leaves);
      const changed = differences(stateOf(current), stateOf(person));
      return { person, offboarding: await record(tx, act, current, person, changed, request) };
    });
  } catch (error) {
    if (isTaken(error)) throw taken(error);
    throw error;
  }
}

const findOffboarding = async (tx: Tx, id: string): Promise<string | null> =>
  (await latestOffboarding(tx, id))?.id ?? null;

/** The audit record of a change, and the offboarding if it is one; the last thing in its transaction. */
async function record(
  tx: Tx,
  act: Act,
  before: Person,
  after: Person,
  changed: string[],
  request: ChangeRequest,
): Promise<string | null> {
  const leaves = before.live && !after.live;
  const returns = !before.live && after.live;
  const others = changed.filter((name) => name !== 'active');
  if (!leaves || others.length > 0) {
    const kind = returns ? 'person.returned' : 'person.changed';
    const details = { directory: after.directoryId, changed: leaves ? others : changed };
    await audit.append(tx, act, [{ kind, outcome: 'done', person: after.id, details }]);
  }
  if (leaves) return (await offboard(tx, act, after, request)).id;
  return request.leaves ? findOffboarding(tx, after.id) : null;
}

/** Makes a person a tombstone and ends their memberships. @throws WritError `not_found`, also the second time. */
export async function deletePerson(
  db: Db,
  act: Act,
  { directoryId, id }: { directoryId: string; id: string },
  request: LeaverRequest,
): Promise<{ offboarding: string | null }> {
  return changeOwners(db, [id], async (tx) => {
    const current = await readPerson(tx, directoryId, id);
    if (current === null) throw new WritError('not_found', 'no such user');
    await tx
      .update(people)
      .set({
        active: false,
        deletedAt: sql`clock_timestamp()`,
        version: sql`${people.version} + 1`,
        updatedAt: sql`clock_timestamp()`,
      })
      .where(and(eq(people.id, id), eq(people.directoryId, directoryId)));
    const endsRights = await endRightsOf(tx, id);
    await tx.delete(groupMembers).where(eq(groupMembers.personId, id));
    if (current.live) return { offboarding: (await offboard(tx, act, current, request)).id };
    const details = { directory: directoryId, changed: ['deleted'] };
    const offboarding = await findOffboarding(tx, id);
    await audit.append(tx, act, [{ kind: 'person.changed', outcome: 'done', person: id, details }]);
    // Agents in quarantine go on reading, but no longer what was kept for the groups.
    if (endsRights) await endTokensOf(tx, [id]);
    return { offboarding };
  });
}
