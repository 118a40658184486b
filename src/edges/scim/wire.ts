/** People and groups in their wire form (RFC 7643 §4), and back. Names are crossed here, once. */
import type { Group, Member } from '../../domain/people/groups.ts';
import { managerValue } from '../../domain/people/managers.ts';
import type { Person, PersonState } from '../../domain/people/people.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { scimUrns } from '../../protocol.ts';
import { isObject } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import { optionalName, type Resource, requireName } from './resource.ts';

/** All attributes of one person, as JSON text; PATCH after PATCH must not pile up more. */
const maxAttributesLength = 256 * 1024;

export const etagOf = ({ version }: { version: number }): string => `W/"${version}"`;

const metaOf = (resourceType: 'User' | 'Group', resource: Person | Group, location: string): Resource => ({
  resourceType,
  created: resource.createdAt.toISOString(),
  lastModified: resource.updatedAt.toISOString(),
  location,
  version: etagOf(resource),
});

/** The resource of a person as PATCH sees it. */
export const toResource = ({ userName, externalId, displayName, active, attributes }: PersonState): Resource => ({
  userName,
  ...(externalId === null ? {} : { externalId }),
  ...(displayName === null ? {} : { displayName }),
  active,
  ...attributes,
});

/** The state of a person that a resource describes. Whether they are active is told by `departure.ts` alone. */
export function toState(resource: Resource, active: boolean): PersonState {
  const { userName: _userName, externalId: _externalId, displayName, active: _active, ...attributes } = resource;
  if (JSON.stringify(attributes).length > maxAttributesLength) {
    throw new ScimRefusal('invalidValue', `the resource has more than ${maxAttributesLength} characters`);
  }
  return {
    userName: requireName(resource, 'userName'),
    externalId: optionalName(resource, 'externalId'),
    displayName: typeof displayName === 'string' ? displayName : null,
    active,
    attributes,
  };
}

const referTo = (base: string, kind: 'Users' | 'Groups', { id, display }: Member, type: string): Resource => ({
  value: id,
  $ref: `${base}/${kind}/${id}`,
  display,
  type,
});

/**
 * The enterprise extension with its manager as a reference (RFC 7643 §4.3). A value that is not the id of somebody here
 * is sent back as it came: the IdP may know them before they come.
 */
function renderEnterprise(base: string, person: Person, names: ReadonlyMap<string, string>): Resource | undefined {
  const extension = person.attributes[scimUrns.enterpriseUser];
  if (!isObject(extension)) return undefined;
  const value = managerValue(person.attributes);
  if (value === null) return extension;
  const id = canonicalId(value) ?? '';
  const displayName = names.get(id);
  if (displayName === undefined) return { ...extension, manager: { value } };
  return { ...extension, manager: { value, $ref: `${base}/Users/${id}`, displayName } };
}

/** `base` is the absolute URL of `/scim/v2`; `managers` how those managers are called that are people here, by id. */
export function renderUser(
  base: string,
  person: Person,
  groups: readonly Member[],
  managers: ReadonlyMap<string, string>,
): Resource {
  const enterprise = renderEnterprise(base, person, managers);
  return {
    schemas: enterprise === undefined ? [scimUrns.user] : [scimUrns.user, scimUrns.enterpriseUser],
    id: person.id,
    ...toResource(person),
    ...(enterprise === undefined ? {} : { [scimUrns.enterpriseUser]: enterprise }),
    ...(groups.length === 0 ? {} : { groups: groups.map((group) => referTo(base, 'Groups', group, 'direct')) }),
    meta: metaOf('User', person, `${base}/Users/${person.id}`),
  };
}

export function renderGroup(base: string, group: Group, members: readonly Member[]): Resource {
  return {
    schemas: [scimUrns.group],
    id: group.id,
    ...(group.externalId === null ? {} : { externalId: group.externalId }),
    displayName: group.displayName,
    members: members.map((member) => referTo(base, 'Users', member, 'User')),
    meta: metaOf('Group', group, `${base}/Groups/${group.id}`),
  };
}
