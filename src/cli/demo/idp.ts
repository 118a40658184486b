/**
 * The corporate IdP of the demo: what Okta (an app of its integration network) and Entra ID send to a SCIM service
 * provider when somebody joins and when somebody leaves, with their own media types, letter case and quirks. Only the
 * network in between is missing: the requests are replayed from here.
 */
import { scimUrns } from '../../protocol.ts';

export interface IdpRequest {
  method: 'POST' | 'PATCH';
  /** Below the SCIM base URL. */
  path: string;
  headers: Record<string, string>;
  body: object;
}

export interface IdpPerson {
  userName: string;
  externalId: string;
  givenName: string;
  familyName: string;
}

export interface Idp {
  name: string;
  kind: 'okta' | 'entra';
  create(person: IdpPerson): IdpRequest;
  deactivate(id: string): IdpRequest;
}

const scimJson = { 'Content-Type': 'application/scim+json; charset=utf-8', Accept: 'application/scim+json' };
const oktaHeaders = { ...scimJson, 'User-Agent': 'Okta SCIM Client 1.0.0', 'Accept-Charset': 'utf-8' };

const patch = (id: string, headers: Record<string, string>, operation: object): IdpRequest => ({
  method: 'PATCH',
  path: `/Users/${id}`,
  headers,
  body: { schemas: [scimUrns.patchOp], Operations: [operation] },
});

/** Sends a password that nobody asked for, and says that somebody left without naming a path. */
export const okta: Idp = {
  name: 'Okta',
  kind: 'okta',
  create: (person) => ({
    method: 'POST',
    path: '/Users',
    headers: oktaHeaders,
    body: {
      schemas: [scimUrns.user],
      userName: person.userName,
      name: { givenName: person.givenName, familyName: person.familyName },
      emails: [{ primary: true, value: person.userName, type: 'work' }],
      displayName: `${person.givenName} ${person.familyName}`,
      locale: 'en-US',
      externalId: person.externalId,
      groups: [],
      password: '1mz050nq',
      active: true,
    },
  }),
  deactivate: (id) => patch(id, oktaHeaders, { op: 'replace', value: { active: false } }),
};

/** Writes `op` with a capital letter, and the boolean as a string. */
export const entra: Idp = {
  name: 'Entra ID',
  kind: 'entra',
  create: (person) => ({
    method: 'POST',
    path: '/Users',
    headers: scimJson,
    body: {
      schemas: [scimUrns.user, scimUrns.enterpriseUser],
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
    },
  }),
  deactivate: (id) => patch(id, scimJson, { op: 'Replace', path: 'active', value: 'False' }),
};
