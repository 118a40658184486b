/**
 * Group PATCH as a delta of membership. Members never become elements of a resource that is read, changed and written:
 * a group may have tens of thousands, and two changes at once would lose some. Pure: operations in, one delta out.
 */
import type { GroupState, MemberDelta } from '../../domain/people/groups.ts';
import { isObject } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import { type Filter, parsePath } from './filter.ts';
import { valuesOf } from './filter-match.ts';
import { leaveAside, type Operation } from './patch.ts';
import { optionalName, plainReading, type Reading, type Resource, requireName, setAt } from './resource.ts';
import { groupSchema, locate } from './schema.ts';

/** Folds operations on members; the last word on each id counts. */
export interface MemberFold {
  base: 'keep' | 'clear';
  present: Map<string, boolean>;
}

const refuse = (detail: string) => new ScimRefusal('invalidValue', `members: ${detail}`);

/** One member as `{value}`, as `{$ref}`, or as the bare id. */
function readMember(member: unknown): string {
  if (typeof member === 'string') return member.toLowerCase();
  if (!isObject(member)) throw refuse('objects with a value are expected');
  const given = new Map(Object.entries(member).map(([name, value]) => [name.toLowerCase(), value]));
  const value = given.get('value');
  if (typeof value === 'string') return value.toLowerCase();
  const ref = given.get('$ref');
  const lastSegment = typeof ref === 'string' ? ref.split('/').at(-1) : undefined;
  if (lastSegment === undefined || lastSegment === '') throw refuse('a value is missing');
  return lastSegment.toLowerCase();
}

/** The ids in a value: a list, or one member. */
export const readMembers = (value: unknown): string[] =>
  value === null || value === undefined ? [] : (Array.isArray(value) ? value : [value]).map(readMember);

export function foldMembers(fold: MemberFold, op: Operation['op'], value: unknown): void {
  if (op === 'remove' && (value === null || value === undefined)) {
    // RFC 7644 §3.5.2.2: without a filter all elements go. An empty list in value names nobody.
    fold.base = 'clear';
    fold.present.clear();
    return;
  }
  const ids = readMembers(value);
  if (op === 'replace') {
    fold.base = 'clear';
    fold.present.clear();
  }
  for (const id of ids) fold.present.set(id, op !== 'remove');
}

export function toDelta({ base, present }: MemberFold): MemberDelta {
  const ids = [...present];
  return {
    base,
    add: ids.filter(([, isPresent]) => isPresent).map(([id]) => id),
    remove: ids.filter(([, isPresent]) => !isPresent).map(([id]) => id),
  };
}

/** `members[value eq "id"]`: to add it or to remove it; a member has nothing else that could change. */
function foldSelected(fold: MemberFold, op: Operation['op'], within: Filter): void {
  const ids = valuesOf(within, 'value');
  if (ids === null) throw new ScimRefusal('invalidPath', 'path: members are selected by value eq');
  if (op === 'replace') throw new ScimRefusal('mutability', 'members: a member is immutable');
  for (const id of ids) fold.present.set(id.toLowerCase(), op === 'add');
}

interface GroupFold {
  resource: Resource;
  members: MemberFold;
  reading: Reading;
}

function applyOne(fold: GroupFold, name: string, op: Operation['op'], value: unknown): void {
  const location = locate(groupSchema, name);
  // Unknown members are ignored; id, meta and schemas as well: Okta and authentik send them along.
  if (location === null) fold.reading.ignore(name);
  if (location === null || location.attribute === null) return;
  if (location.attribute.name === 'members') foldMembers(fold.members, op, value);
  else setAt(groupSchema, fold.resource, location, op === 'remove' ? null : value, 'replace');
}

function applyOperation(fold: GroupFold, { op, path, value }: Operation): void {
  if (path === null || locate(groupSchema, path)?.attribute === null) {
    if (op === 'remove') throw new ScimRefusal('noTarget', 'path: remove needs one');
    for (const members of Array.isArray(value) ? value : [value]) {
      if (!isObject(members)) throw new ScimRefusal('invalidValue', 'value: an object is expected');
      for (const [name, member] of Object.entries(members)) applyOne(fold, name, op, member);
    }
    return;
  }
  const { attribute: name, within, sub } = parsePath(path);
  const location = locate(groupSchema, name);
  if (location?.attribute == null) {
    leaveAside(fold.reading, name, 'Group has no such attribute');
    return;
  }
  const { attribute } = location;
  if (attribute.isReadOnly) throw new ScimRefusal('mutability', `${attribute.name}: is read-only`);
  if (op === 'remove' && attribute.isRequired) throw new ScimRefusal('mutability', `${attribute.name}: is required`);
  if (within !== undefined) {
    if (attribute.name !== 'members')
      throw new ScimRefusal('invalidPath', 'path: only members are selected by a filter');
    if (sub !== undefined) throw new ScimRefusal('mutability', 'members: a member is immutable');
    foldSelected(fold.members, op, within);
    return;
  }
  if (location.sub !== null) {
    if (location.sub.name !== 'value') throw new ScimRefusal('mutability', 'members: a member is immutable');
  }
  if (op !== 'remove' && value === undefined) throw new ScimRefusal('invalidValue', 'value: is missing');
  applyOne(fold, attribute.name, op, value);
}

/** The group after all operations. @throws ScimRefusal, then nothing is applied. */
export function patchGroup(
  current: GroupState,
  operations: readonly Operation[],
  reading: Reading = plainReading,
): GroupState & { members: MemberDelta } {
  const fold: GroupFold = {
    resource: { displayName: current.displayName, externalId: current.externalId ?? undefined },
    members: { base: 'keep', present: new Map() },
    reading,
  };
  for (const operation of operations) applyOperation(fold, operation);
  return { ...readGroupState(fold.resource), members: toDelta(fold.members) };
}

export const readGroupState = (resource: Resource): GroupState => ({
  displayName: requireName(resource, 'displayName'),
  externalId: optionalName(resource, 'externalId'),
});
