/**
 * How the connectors of identity providers speak SCIM: what each sends to test a connection, to match, create, change,
 * deactivate and reactivate a user, and to keep a group, as the vendors' documentation and client sources show it. Pure.
 */

/** The throwaway user and group; the ids are the server's, once it has made them. */
export interface Subject {
  userName: string;
  externalId: string;
  groupName: string;
  groupExternalId: string;
  userId: string;
  groupId: string;
}

export interface ScimCall {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below the base, query included. */
  path: string;
  body?: object;
}

export interface Habits {
  contentType: string;
  userAgent: string;
  /** What the console's button sends; `isEmpty`: the answer has to be 200 with an empty list. */
  test: { what: string; call: (subject: Subject) => ScimCall; isEmpty?: boolean }[];
  /** Absent: users are matched by the id that is stored. */
  match?: (subject: Subject) => ScimCall;
  create: (subject: Subject) => ScimCall;
  /** Gives the user another family name. */
  update: (subject: Subject, familyName: string) => ScimCall;
  deactivate: (subject: Subject) => ScimCall;
  reactivate: (subject: Subject) => ScimCall;
  createGroup: (subject: Subject) => ScimCall;
  addMember: (subject: Subject) => ScimCall;
  removeMember: (subject: Subject) => ScimCall;
  /** Okta never deletes a user. */
  deletesUsers: boolean;
}

const urns = {
  user: 'urn:ietf:params:scim:schemas:core:2.0:User',
  enterprise: 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User',
  group: 'urn:ietf:params:scim:schemas:core:2.0:Group',
  patch: 'urn:ietf:params:scim:api:messages:2.0:PatchOp',
};
const scimJson = 'application/scim+json; charset=utf-8';
const plainJson = 'application/json';

const get = (path: string): ScimCall => ({ method: 'GET', path });
const patch = (path: string, ...Operations: object[]): ScimCall => ({
  method: 'PATCH',
  path,
  body: { schemas: [urns.patch], Operations },
});
const search = (path: string, filter: string, more = ''): ScimCall =>
  get(`${path}?filter=${encodeURIComponent(filter)}${more}`);
const userPath = ({ userId }: Subject): string => `/Users/${userId}`;
const groupPath = ({ groupId }: Subject): string => `/Groups/${groupId}`;

const givenName = 'Writ';
export const familyName = 'Doctor';

const user = ({ userName, externalId }: Subject, more: object = {}): object => ({
  schemas: [urns.user],
  userName,
  externalId,
  name: { givenName, familyName },
  emails: [{ value: userName, type: 'work', primary: true }],
  active: true,
  ...more,
});
const group = ({ groupName, groupExternalId }: Subject, members: string[], more: object = {}): object => ({
  schemas: [urns.group],
  displayName: groupName,
  externalId: groupExternalId,
  members: members.map((value) => ({ value })),
  ...more,
});
const putUser = (subject: Subject, more: object): ScimCall => ({
  method: 'PUT',
  path: userPath(subject),
  body: user(subject, { id: subject.userId, ...more }),
});
const putGroup = (subject: Subject, members: string[]): ScimCall => ({
  method: 'PUT',
  path: groupPath(subject),
  body: group(subject, members, { id: subject.groupId }),
});
const setActive = (op: string, value: unknown) => (subject: Subject) =>
  patch(userPath(subject), { op, path: 'active', value });
const setActiveWithoutPath = (value: boolean) => (subject: Subject) =>
  patch(userPath(subject), { op: 'replace', value: { active: value } });
const readUsers = (query: string) => ({ what: 'reads a page of users', call: () => get(`/Users${query}`) });
const readConfiguration = {
  what: 'reads the configuration',
  call: () => get('/ServiceProviderConfig'),
};

const generic: Habits = {
  contentType: scimJson,
  userAgent: 'writ-doctor',
  test: [readConfiguration, readUsers('?startIndex=1&count=1')],
  match: ({ userName }) => search('/Users', `userName eq "${userName}"`),
  create: (subject) => ({ method: 'POST', path: '/Users', body: user(subject) }),
  update: (subject, name) => patch(userPath(subject), { op: 'replace', path: 'name.familyName', value: name }),
  deactivate: setActive('replace', false),
  reactivate: setActive('replace', true),
  createGroup: (subject) => ({ method: 'POST', path: '/Groups', body: group(subject, []) }),
  addMember: (subject) => patch(groupPath(subject), { op: 'add', path: 'members', value: [{ value: subject.userId }] }),
  removeMember: (subject) => patch(groupPath(subject), { op: 'remove', path: `members[value eq "${subject.userId}"]` }),
  deletesUsers: true,
};

const removeByValue = (subject: Subject) =>
  patch(groupPath(subject), { op: 'remove', path: 'members', value: [{ value: subject.userId }] });

const okta: Habits = {
  ...generic,
  userAgent: 'Okta SCIM Client 1.0.0',
  test: [
    readUsers('?startIndex=1&count=2'),
    { what: 'reads a page of groups', call: () => get('/Groups?startIndex=1&count=100') },
  ],
  match: ({ userName }) => search('/Users', `userName eq "${userName}"`, '&startIndex=1&count=100'),
  create: (subject) => ({
    method: 'POST',
    path: '/Users',
    body: user(subject, { groups: [], locale: 'en-US', displayName: `${givenName} ${familyName}` }),
  }),
  update: (subject, name) => putUser(subject, { groups: [], name: { givenName, familyName: name } }),
  deactivate: setActiveWithoutPath(false),
  reactivate: setActiveWithoutPath(true),
  addMember: (subject) =>
    patch(
      groupPath(subject),
      { op: 'remove', path: `members[value eq "${subject.userId}"]` },
      { op: 'add', path: 'members', value: [{ value: subject.userId, display: subject.userName }] },
    ),
  deletesUsers: false,
};

const entra: Habits = {
  ...generic,
  test: [
    {
      what: 'looks for a user by a random GUID',
      call: ({ externalId }) => search('/Users', `userName eq "${externalId}"`),
      isEmpty: true,
    },
    { what: 'reads the schemas', call: () => get('/Schemas') },
  ],
  create: (subject) => ({
    method: 'POST',
    path: '/Users',
    body: user(subject, {
      schemas: [urns.user, urns.enterprise],
      meta: { resourceType: 'User' },
      roles: [],
      title: null,
    }),
  }),
  update: (subject, name) =>
    patch(
      userPath(subject),
      { op: 'Replace', path: 'name.familyName', value: name },
      { op: 'Replace', path: 'emails[type eq "work"].value', value: subject.userName },
      { op: 'Add', path: `${urns.enterprise}:department`, value: 'Sales' },
    ),
  deactivate: setActive('Replace', 'False'),
  reactivate: setActive('Replace', 'True'),
  addMember: (subject) =>
    patch(groupPath(subject), { op: 'Add', path: 'members', value: [{ $ref: null, value: subject.userId }] }),
  removeMember: (subject) =>
    patch(groupPath(subject), { op: 'Remove', path: 'members', value: [{ $ref: null, value: subject.userId }] }),
};

const oneLogin: Habits = {
  ...generic,
  contentType: plainJson,
  test: [readUsers('?startIndex=1&count=1')],
  update: (subject, name) => putUser(subject, { name: { givenName, familyName: name } }),
  addMember: (subject) => patch(groupPath(subject), { op: 'add', path: 'members', value: { value: subject.userId } }),
  removeMember: removeByValue,
};

const putActive = (active: boolean) => (subject: Subject) => putUser(subject, { active });

const jumpCloud: Habits = {
  ...oneLogin,
  test: [readUsers('')],
  deactivate: putActive(false),
  reactivate: putActive(true),
  addMember: generic.addMember,
};

const ping: Habits = {
  ...jumpCloud,
  contentType: scimJson,
  test: [readUsers('?count=1')],
  match: ({ userName }) => search('/Users', `userName Eq "${userName}"`),
  removeMember: (subject) => patch(groupPath(subject), { op: 'replace', path: 'members', value: [] }),
};

const google: Habits = {
  ...generic,
  test: [readUsers('?startIndex=1&count=1')],
  match: ({ userName }) => search('/Users', `userName eq "${userName}"`, '&startIndex=1&count=1'),
  update: (subject, name) =>
    patch(userPath(subject), { op: 'replace', value: { id: subject.userId, name: { givenName, familyName: name } } }),
  deactivate: setActiveWithoutPath(false),
  reactivate: setActiveWithoutPath(true),
};

const rippling: Habits = {
  ...oneLogin,
  create: (subject) => ({
    method: 'POST',
    path: '/Users',
    body: user(subject, { title: '', profileUrl: '', [urns.enterprise]: { department: '', manager: { value: '' } } }),
  }),
  update: generic.update,
  deactivate: setActiveWithoutPath(false),
  reactivate: setActiveWithoutPath(true),
};

const { match: _byStoredId, ...matchless } = jumpCloud;
const authentik: Habits = {
  ...matchless,
  contentType: scimJson,
  test: [readConfiguration],
  createGroup: generic.createGroup,
  addMember: generic.addMember,
  removeMember: removeByValue,
};

/** Okta's app wizard sends everything by PUT: not another kind, but another sequence. */
export const oktaWizard: Habits = {
  ...okta,
  deactivate: putActive(false),
  reactivate: putActive(true),
  addMember: (subject) => putGroup(subject, [subject.userId]),
  removeMember: (subject) => putGroup(subject, []),
};

export const habits = {
  okta,
  entra,
  onelogin: oneLogin,
  jumpcloud: jumpCloud,
  ping,
  google,
  rippling,
  authentik,
  generic,
};
export type DoctorKind = keyof typeof habits;
export const doctorKinds = Object.keys(habits).filter((kind): kind is DoctorKind => kind in habits);
