/**
 * What corporate identity providers send to a SCIM service provider, request by request: methods, paths, media types,
 * letter case, member order and quirks as their documentation and client sources show them. Tests and the demo replay
 * these, so that nothing depends on a spelling that only we would choose.
 */
import type { DirectoryKind } from '../../src/platform/db/schema.ts';

export interface IdpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below the SCIM base URL, query included. */
  path: string;
  headers: Record<string, string>;
  body?: string;
}

export interface IdpPerson {
  userName: string;
  externalId: string;
  givenName: string;
  familyName: string;
}

export interface IdpGroup {
  displayName: string;
  externalId: string;
}

/** One IdP's habits. What it never sends is absent. */
export interface Idp {
  name: string;
  kind: DirectoryKind;
  match(userName: string): IdpRequest;
  create(person: IdpPerson): IdpRequest;
  /** A change of the family name. */
  rename(id: string, person: IdpPerson, familyName: string): IdpRequest;
  deactivate(id: string, person: IdpPerson): IdpRequest;
  reactivate(id: string, person: IdpPerson): IdpRequest;
  remove?(id: string): IdpRequest;
  createGroup(group: IdpGroup): IdpRequest;
  renameGroup(id: string, group: IdpGroup, displayName: string, members: readonly string[]): IdpRequest;
  addMember(id: string, member: string, group: IdpGroup, members: readonly string[]): IdpRequest;
  removeMember(id: string, member: string, group: IdpGroup, members: readonly string[]): IdpRequest;
}

const urns = {
  user: 'urn:ietf:params:scim:schemas:core:2.0:User',
  enterprise: 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User',
  group: 'urn:ietf:params:scim:schemas:core:2.0:Group',
  patch: 'urn:ietf:params:scim:api:messages:2.0:PatchOp',
};

type Headers = Record<string, string>;
const request = (headers: Headers, method: IdpRequest['method'], path: string, body?: object): IdpRequest => ({
  method,
  path,
  headers,
  ...(body === undefined ? {} : { body: JSON.stringify(body) }),
});

const patch = (headers: Headers, path: string, ...Operations: object[]): IdpRequest =>
  request(headers, 'PATCH', path, { schemas: [urns.patch], Operations });

const filterBy = (attribute: string, operator: string, value: string): string =>
  `filter=${encodeURIComponent(`${attribute} ${operator} "${value}"`)}`;

const without = (members: readonly string[], member: string): string[] => members.filter((one) => one !== member);
const valuesOf = (members: readonly string[]): { value: string }[] => members.map((value) => ({ value }));
const group = ({ displayName, externalId }: IdpGroup, members: readonly string[], id?: string): object => ({
  schemas: [urns.group],
  ...(id === undefined ? {} : { id }),
  externalId,
  displayName,
  members: valuesOf(members),
});

const scimJson = { 'Content-Type': 'application/scim+json; charset=utf-8', Accept: 'application/scim+json' };
const plainJson = { 'Content-Type': 'application/json', Accept: 'application/json' };

const okta = { ...scimJson, 'User-Agent': 'Okta SCIM Client 1.0.0', 'Accept-Charset': 'utf-8' };
const oktaUser = (person: IdpPerson, active: boolean, id?: string): object => ({
  schemas: [urns.user],
  ...(id === undefined ? {} : { id }),
  userName: person.userName,
  name: { givenName: person.givenName, familyName: person.familyName },
  emails: [{ primary: true, value: person.userName, type: 'work' }],
  displayName: `${person.givenName} ${person.familyName}`,
  locale: 'en-US',
  externalId: person.externalId,
  groups: [],
  ...(id === undefined ? { password: '1mz050nq' } : {}),
  active,
});
const oktaMatch = (userName: string) =>
  request(okta, 'GET', `/Users?${filterBy('userName', 'eq', userName)}&startIndex=1&count=100`);

/** An app of the Okta Integration Network: state by PATCH without a path, profile by PUT. */
export const oktaOin: Idp = {
  name: 'Okta (OIN app)',
  kind: 'okta',
  match: oktaMatch,
  create: (person) => request(okta, 'POST', '/Users', oktaUser(person, true)),
  rename: (id, person, familyName) =>
    request(okta, 'PUT', `/Users/${id}`, oktaUser({ ...person, familyName }, true, id)),
  deactivate: (id) => patch(okta, `/Users/${id}`, { op: 'replace', value: { active: false } }),
  reactivate: (id) => patch(okta, `/Users/${id}`, { op: 'replace', value: { active: true } }),
  createGroup: (made) =>
    request(okta, 'POST', '/Groups', { schemas: [urns.group], displayName: made.displayName, members: [] }),
  renameGroup: (id, _group, displayName) => patch(okta, `/Groups/${id}`, { op: 'replace', value: { id, displayName } }),
  addMember: (id, member) =>
    patch(
      okta,
      `/Groups/${id}`,
      { op: 'remove', path: `members[value eq "${member}"]` },
      { op: 'add', path: 'members', value: [{ value: member, display: 'somebody' }] },
    ),
  removeMember: (id, member) => patch(okta, `/Groups/${id}`, { op: 'remove', path: `members[value eq "${member}"]` }),
};

/** A custom app of Okta's App Integration Wizard: everything by PUT. */
export const oktaAiw: Idp = {
  ...oktaOin,
  name: 'Okta (AIW app)',
  deactivate: (id, person) => request(okta, 'PUT', `/Users/${id}`, oktaUser(person, false, id)),
  reactivate: (id, person) => request(okta, 'PUT', `/Users/${id}`, oktaUser(person, true, id)),
  renameGroup: (id, made, displayName, members) =>
    request(okta, 'PUT', `/Groups/${id}`, group({ ...made, displayName }, members, id)),
  addMember: (id, member, made, members) =>
    request(okta, 'PUT', `/Groups/${id}`, group(made, [...without(members, member), member], id)),
  removeMember: (id, member, made, members) =>
    request(okta, 'PUT', `/Groups/${id}`, group(made, without(members, member), id)),
};

const entraUser = (person: IdpPerson): object => ({
  schemas: [urns.user, urns.enterprise],
  externalId: person.externalId,
  userName: person.userName,
  active: true,
  displayName: `${person.givenName} ${person.familyName}`,
  emails: [{ primary: true, type: 'work', value: person.userName }],
  meta: { resourceType: 'User' },
  name: {
    formatted: `${person.givenName} ${person.familyName}`,
    familyName: person.familyName,
    givenName: person.givenName,
  },
  title: null,
  roles: [],
});

/** Entra ID without a feature flag: capitalised `op`, one operation for each attribute, `active` as a string. */
export const entra: Idp = {
  name: 'Entra ID',
  kind: 'entra',
  match: (userName) => request(scimJson, 'GET', `/Users?${filterBy('userName', 'eq', userName)}`),
  create: (person) => request(scimJson, 'POST', '/Users', entraUser(person)),
  rename: (id, person, familyName) =>
    patch(
      scimJson,
      `/Users/${id}`,
      { op: 'Replace', path: 'name.familyName', value: familyName },
      { op: 'Replace', path: 'displayName', value: `${person.givenName} ${familyName}` },
      { op: 'Replace', path: 'emails[type eq "work"].value', value: person.userName },
      { op: 'Add', path: `${urns.enterprise}:department`, value: 'Sales' },
      { op: 'Add', path: `${urns.enterprise}:manager`, value: [{ $ref: null, value: 'b2f1' }] },
      { op: 'Add', path: 'roles[primary eq "True"].value', value: 'Seller' },
    ),
  deactivate: (id) => patch(scimJson, `/Users/${id}`, { op: 'Replace', path: 'active', value: 'False' }),
  reactivate: (id) => patch(scimJson, `/Users/${id}`, { op: 'Replace', path: 'active', value: 'True' }),
  remove: (id) => request(scimJson, 'DELETE', `/Users/${id}`),
  createGroup: (made) =>
    request(scimJson, 'POST', '/Groups', {
      schemas: [urns.group, 'http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group'],
      externalId: made.externalId,
      displayName: made.displayName,
      meta: { resourceType: 'Group' },
    }),
  renameGroup: (id, _group, displayName) =>
    patch(scimJson, `/Groups/${id}`, { op: 'Replace', path: 'displayName', value: displayName }),
  addMember: (id, member) =>
    patch(scimJson, `/Groups/${id}`, { op: 'Add', path: 'members', value: [{ $ref: null, value: member }] }),
  removeMember: (id, member) =>
    patch(scimJson, `/Groups/${id}`, { op: 'Remove', path: 'members', value: [{ $ref: null, value: member }] }),
};

/** Entra ID with `aadOptscim062020`: lower-case `op`, JSON booleans, path-less values with dotted and URN keys. */
export const entraAadOptscim: Idp = {
  ...entra,
  name: 'Entra ID (aadOptscim062020)',
  rename: (id, person, familyName) =>
    patch(scimJson, `/Users/${id}`, {
      op: 'replace',
      value: {
        'name.familyName': familyName,
        displayName: `${person.givenName} ${familyName}`,
        [`${urns.enterprise}:employeeNumber`]: '701984',
        'emails[type eq "work"].value': person.userName,
      },
    }),
  deactivate: (id) => patch(scimJson, `/Users/${id}`, { op: 'replace', path: 'active', value: false }),
  reactivate: (id) => patch(scimJson, `/Users/${id}`, { op: 'replace', path: 'active', value: true }),
  addMember: (id, member) =>
    patch(scimJson, `/Groups/${id}`, { op: 'add', path: 'members', value: [{ value: member }] }),
  removeMember: (id, member) =>
    patch(scimJson, `/Groups/${id}`, { op: 'remove', path: `members[value eq "${member}"]` }),
};

const commonUser = (person: IdpPerson, active: boolean): object => ({
  schemas: [urns.user],
  userName: person.userName,
  externalId: person.externalId,
  name: { givenName: person.givenName, familyName: person.familyName },
  emails: [{ value: person.userName, type: 'work', primary: true }],
  active,
});

export const oneLogin: Idp = {
  name: 'OneLogin',
  kind: 'onelogin',
  match: (userName) => request(plainJson, 'GET', `/Users?${filterBy('userName', 'eq', userName)}`),
  create: (person) =>
    request(plainJson, 'POST', '/Users', { ...commonUser(person, true), schemas: [urns.user, urns.enterprise] }),
  rename: (id, person, familyName) =>
    request(plainJson, 'PUT', `/Users/${id}`, commonUser({ ...person, familyName }, true)),
  deactivate: (id) => patch(plainJson, `/Users/${id}`, { op: 'replace', path: 'active', value: false }),
  reactivate: (id) => patch(plainJson, `/Users/${id}`, { op: 'replace', path: 'active', value: true }),
  remove: (id) => request(plainJson, 'DELETE', `/Users/${id}`),
  createGroup: (made) =>
    request(plainJson, 'POST', '/Groups', { schemas: [urns.group], displayName: made.displayName }),
  renameGroup: (id, _group, displayName) =>
    patch(plainJson, `/Groups/${id}`, { op: 'replace', path: 'displayName', value: displayName }),
  addMember: (id, member) =>
    patch(plainJson, `/Groups/${id}`, { op: 'add', path: 'members', value: { value: member } }),
  removeMember: (id, member) =>
    patch(plainJson, `/Groups/${id}`, { op: 'remove', path: 'members', value: [{ value: member }] }),
};

export const jumpCloud: Idp = {
  ...oneLogin,
  name: 'JumpCloud',
  kind: 'jumpcloud',
  create: (person) => request(scimJson, 'POST', '/Users', commonUser(person, true)),
  deactivate: (id, person) => request(plainJson, 'PUT', `/Users/${id}`, commonUser(person, false)),
  reactivate: (id, person) => request(plainJson, 'PUT', `/Users/${id}`, commonUser(person, true)),
  renameGroup: (id, made, displayName, members) =>
    request(plainJson, 'PUT', `/Groups/${id}`, group({ ...made, displayName }, members)),
  addMember: (id, member) =>
    patch(plainJson, `/Groups/${id}`, { op: 'add', path: 'members', value: [{ value: member }] }),
};

export const pingOne: Idp = {
  ...jumpCloud,
  name: 'PingOne',
  kind: 'ping',
  match: (userName) => request(scimJson, 'GET', `/Users?${filterBy('userName', 'Eq', userName)}`),
  removeMember: (id, member, _group, members) =>
    patch(scimJson, `/Groups/${id}`, { op: 'replace', path: 'members', value: valuesOf(without(members, member)) }),
};

export const google: Idp = {
  ...oneLogin,
  name: 'Google Workspace',
  kind: 'google',
  match: (userName) => request(scimJson, 'GET', `/Users?${filterBy('userName', 'eq', userName)}&startIndex=1&count=1`),
  rename: (id, person, familyName) =>
    patch(scimJson, `/Users/${id}`, {
      op: 'replace',
      value: { id, name: { givenName: person.givenName, familyName }, [urns.enterprise]: { department: 'Sales' } },
    }),
  deactivate: (id) =>
    patch(scimJson, `/Users/${id}`, { op: 'replace', value: { schemas: [urns.user], active: false } }),
  reactivate: (id) => patch(scimJson, `/Users/${id}`, { op: 'replace', value: { schemas: [urns.user], active: true } }),
};

export const rippling: Idp = {
  ...oneLogin,
  name: 'Rippling',
  kind: 'rippling',
  create: (person) =>
    request(plainJson, 'POST', '/Users', {
      ...commonUser(person, true),
      title: '',
      profileUrl: '',
      phoneNumbers: [{ type: 'work', value: '', primary: '' }],
      [urns.enterprise]: { department: '', employeeNumber: '', manager: { value: '' } },
    }),
  deactivate: (id) => patch(plainJson, `/Users/${id}`, { op: 'replace', value: { active: false } }),
  reactivate: (id) => patch(plainJson, `/Users/${id}`, { op: 'replace', value: { active: true } }),
};

export const authentik: Idp = {
  ...jumpCloud,
  name: 'authentik',
  kind: 'authentik',
  // It reads the configuration first, and finds its users by their stored ids.
  match: () => request(scimJson, 'GET', '/ServiceProviderConfig'),
  renameGroup: (id, made, displayName) =>
    patch(scimJson, `/Groups/${id}`, {
      op: 'replace',
      path: null,
      value: { schemas: [urns.group], id, externalId: made.externalId, displayName },
    }),
  addMember: (id, member) =>
    patch(scimJson, `/Groups/${id}`, { op: 'add', path: 'members', value: [{ value: member }] }),
};

export const idps: readonly Idp[] = [
  oktaOin,
  oktaAiw,
  entra,
  entraAadOptscim,
  oneLogin,
  jumpCloud,
  pingOne,
  google,
  rippling,
  authentik,
];

/** PATCH operations that all say: this person is gone. */
export const departureSpellings: [string, object[]][] = [
  ['path active, false', [{ op: 'replace', path: 'active', value: false }]],
  ['path active, "False"', [{ op: 'Replace', path: 'active', value: 'False' }]],
  ['path active, "false"', [{ op: 'replace', path: 'active', value: 'false' }]],
  ['path active, "FALSE"', [{ op: 'REPLACE', path: 'active', value: 'FALSE' }]],
  ['path Active', [{ op: 'Replace', path: 'Active', value: 'False' }]],
  ['path with spaces around', [{ op: 'replace', path: ' active ', value: ' false ' }]],
  ['path qualified', [{ op: 'replace', path: `${urns.user}:active`, value: false }]],
  ['path qualified in another case', [{ op: 'replace', path: `${urns.user.toUpperCase()}:Active`, value: false }]],
  ['path of the schema', [{ op: 'replace', path: urns.user, value: { active: false } }]],
  ['add', [{ op: 'add', path: 'active', value: false }]],
  ['Add', [{ op: 'Add', path: 'active', value: 'False' }]],
  ['remove', [{ op: 'remove', path: 'active' }]],
  ['without path', [{ op: 'replace', value: { active: false } }]],
  ['without path, string', [{ op: 'replace', value: { active: 'False' } }]],
  ['without path, add, Active', [{ op: 'Add', value: { Active: false } }]],
  ['without path, URN key', [{ op: 'replace', value: { [`${urns.user}:active`]: false } }]],
  ['without path, dotted URN key', [{ op: 'replace', value: { [`${urns.user}.active`]: false } }]],
  ['without path, URN object', [{ op: 'replace', value: { [urns.user]: { active: false } } }]],
  ['without path, in an array', [{ op: 'replace', value: [{ active: false }] }]],
  ['path null', [{ op: 'replace', path: null, value: { active: false } }]],
  ['path empty', [{ op: 'replace', path: '', value: { active: false } }]],
  ['value in an array', [{ op: 'replace', path: 'active', value: [false] }]],
  ['value in an object', [{ op: 'replace', path: 'active', value: { value: 'False' } }]],
  ['value in an object in an array', [{ op: 'replace', path: 'active', value: [{ value: false }] }]],
  [
    'beside others',
    [
      { op: 'replace', path: 'title', value: 'x' },
      { op: 'replace', path: 'active', value: false },
    ],
  ],
  [
    'beside nonsense',
    [
      { op: 'frobnicate', path: 7 },
      { op: 'replace', path: 'active', value: false },
    ],
  ],
  ['beside an unknown attribute', [{ op: 'replace', value: { active: false, shoeSize: 44 } }]],
  [
    'last word',
    [
      { op: 'replace', path: 'active', value: true },
      { op: 'replace', path: 'active', value: 'False' },
    ],
  ],
  [
    'after an unclear word',
    [
      { op: 'replace', path: 'active', value: 'no' },
      { op: 'replace', path: 'active', value: false },
    ],
  ],
  ['an unknown op', [{ op: 'update', path: 'active', value: false }]],
  ['both in one object', [{ op: 'replace', value: { active: true, Active: false } }]],
  ['members in another case', [{ OP: 'replace', Path: 'active', Value: false }]],
];
