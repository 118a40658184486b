import { describe, expect, it } from 'vitest';
import { patchGroup } from '../../src/edges/scim/members.ts';
import { applyPatch, type Operation, readOperations } from '../../src/edges/scim/patch.ts';
import { readResource } from '../../src/edges/scim/resource.ts';
import { userSchema } from '../../src/edges/scim/schema.ts';

const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
const work = { value: 'a@work', type: 'work', primary: true };
const home = { value: 'a@home', type: 'home' };
const ada = { userName: 'ada', title: 'Dr', name: { givenName: 'Ada', familyName: 'Byron' }, emails: [work, home] };
const apply = (...Operations: object[]) => applyPatch(userSchema, ada, readOperations({ Operations }, 250));

describe('RFC 7644 §3.5.2 on users', () => {
  it.each<[string, object, object]>([
    ['add sets a single value', { op: 'add', path: 'title', value: 'Prof' }, { title: 'Prof' }],
    ['replace of an unset attribute adds', { op: 'Replace', path: 'nickName', value: 'A' }, { nickName: 'A' }],
    [
      'replace merges a complex value',
      { op: 'replace', path: 'name', value: { familyName: 'L' } },
      { name: { givenName: 'Ada', familyName: 'L' } },
    ],
    [
      'a sub-attribute',
      { op: 'replace', path: 'Name.FamilyName', value: 'L' },
      { name: { givenName: 'Ada', familyName: 'L' } },
    ],
    [
      'without path, dotted',
      { op: 'replace', value: { 'name.familyName': 'L' } },
      { name: { givenName: 'Ada', familyName: 'L' } },
    ],
    ['null unassigns', { op: 'replace', path: 'title', value: null }, { title: undefined }],
    ['remove', { op: 'remove', path: 'title' }, { title: undefined }],
    ['remove of a sub-attribute', { op: 'remove', path: 'name.familyName' }, { name: { givenName: 'Ada' } }],
    ['remove of what is not there', { op: 'remove', path: 'nickName' }, {}],
    ['add appends', { op: 'add', path: 'emails', value: { value: 'x' } }, { emails: [work, home, { value: 'x' }] }],
    [
      'an equal element is no second one',
      { op: 'add', path: 'emails', value: [{ type: 'home', value: 'a@home' }] },
      {},
    ],
    [
      'a new primary ends the old',
      { op: 'add', path: 'emails', value: [{ value: 'x', primary: 'True' }] },
      { emails: [{ ...work, primary: false }, home, { value: 'x', primary: true }] },
    ],
    ['replace replaces the list', { op: 'replace', path: 'emails', value: [home] }, { emails: [home] }],
    ['an empty list unassigns', { op: 'replace', path: 'emails', value: [] }, { emails: undefined }],
    [
      'a filter selects',
      { op: 'replace', path: 'emails[type eq "WORK"].value', value: 'b@work' },
      { emails: [{ ...work, value: 'b@work' }, home] },
    ],
    ['a filter selects to remove', { op: 'remove', path: 'emails[type eq "work"]' }, { emails: [home] }],
    [
      'the whole grammar selects',
      { op: 'remove', path: 'emails[not (type eq "home" or primary eq false) and value sw "A@"]' },
      { emails: [home] },
    ],
    ['the element that is not primary', { op: 'remove', path: 'emails[primary ne true]' }, { emails: [work] }],
    ['what is not present', { op: 'remove', path: 'emails[not (primary pr)]' }, { emails: [work] }],
    ['nothing selected to remove', { op: 'remove', path: 'emails[type eq "other"]' }, {}],
    ['value names what to remove', { op: 'remove', path: 'emails', value: [{ value: 'a@home' }] }, { emails: [work] }],
    ['an empty value names nothing', { op: 'remove', path: 'emails', value: [{}] }, {}],
    [
      'add makes what the filter describes',
      { op: 'Add', path: 'phoneNumbers[type eq "mobile"].value', value: '1' },
      { phoneNumbers: [{ value: '1', type: 'mobile' }] },
    ],
    [
      'booleans in a filter as strings',
      { op: 'Add', path: 'roles[primary eq "True"].value', value: 'x' },
      { roles: [{ value: 'x', primary: true }] },
    ],
    [
      'the extension by URN path',
      { op: 'add', path: `${enterprise}:department`, value: 'x' },
      { [enterprise]: { department: 'x' } },
    ],
    [
      'the extension by URN key',
      { op: 'add', value: { [`${enterprise.toUpperCase()}:Department`]: 'x' } },
      { [enterprise]: { department: 'x' } },
    ],
    [
      'the extension as an object',
      { op: 'add', path: enterprise, value: { department: 'x' } },
      { [enterprise]: { department: 'x' } },
    ],
    [
      'manager as an array',
      { op: 'add', path: `${enterprise}:manager`, value: [{ value: '1', displayName: 'x' }] },
      { [enterprise]: { manager: { value: '1' } } },
    ],
    [
      'manager as a string',
      { op: 'add', path: `${enterprise}:manager`, value: '1' },
      { [enterprise]: { manager: { value: '1' } } },
    ],
    ['unknown members are ignored', { op: 'replace', value: { shoeSize: 44, id: 'x', meta: {}, schemas: [] } }, {}],
    ['the password is dropped', { op: 'replace', path: 'password', value: 'secret' }, {}],
  ])('%s', (_name, operation, expected) => {
    const patched = apply(operation);
    expect(patched).toEqual({ ...ada, ...expected });
    expect(Object.keys(patched).filter((name) => patched[name] === undefined)).toEqual([]);
  });

  it.each<[string, object]>([
    ['noTarget', { op: 'remove' }],
    ['noTarget', { op: 'replace', path: 'emails[type eq "other"].value', value: 'x' }],
    ['mutability', { op: 'remove', path: 'userName' }],
    ['mutability', { op: 'replace', path: 'id', value: 'x' }],
    ['mutability', { op: 'add', path: 'groups', value: [{ value: 'x' }] }],
    ['invalidPath', { op: 'replace', path: 'shoeSize', value: 44 }],
    ['invalidPath', { op: 'replace', path: 'title[value eq "x"]', value: 'x' }],
    ['invalidPath', { op: 'replace', path: 'emails[shoe eq "x"].value', value: 'x' }],
    ['invalidPath', { op: 'replace', path: 'emails[primary gt true].value', value: 'x' }],
    ['invalidPath', { op: 'replace', path: 'emails[value eq "x" or type eq "y"', value: 'x' }],
    ['invalidValue', { op: 'replace', path: 'title', value: { a: 1 } }],
    ['invalidValue', { op: 'replace', path: 'title' }],
    ['invalidValue', { op: 'replace', path: 'name', value: 'Ada' }],
    ['invalidValue', { op: 'replace', value: 'x' }],
    ['invalidSyntax', { op: 'set', path: 'title', value: 'x' }],
    ['invalidSyntax', { op: 'replace', value: { title: 'x', Title: 'y' } }],
  ])('%s: %j', (scimType, operation) => {
    expect(() => apply({ op: 'add', path: 'nickName', value: 'x' }, operation)).toThrow(scimType);
  });

  it('reads a resource: canonical names, no nulls, no password, nothing read-only, nothing unknown', () => {
    const body = {
      USERNAME: 'ada',
      title: null,
      roles: [],
      password: 'x',
      id: '1',
      groups: [{}],
      shoeSize: 44,
      emails: home,
    };
    expect(readResource(userSchema, body)).toEqual({ userName: 'ada', emails: [home] });
  });
});

describe('RFC 7644 §3.5.2 on groups', () => {
  const patch = (...operations: Operation[]) => patchGroup({ displayName: 'G', externalId: null }, operations);
  const op = (word: Operation['op'], path: string | null, value?: unknown): Operation => ({ op: word, path, value });

  it.each<[string, Operation[], object]>([
    ['a list', [op('add', 'members', [{ value: 'A' }, { $ref: null, value: 'b' }])], { add: ['a', 'b'] }],
    ['one object', [op('add', 'Members', { value: 'a' })], { add: ['a'] }],
    ['bare ids', [op('add', 'members', ['a', 'b'])], { add: ['a', 'b'] }],
    ['a reference', [op('add', 'members', [{ $ref: 'https://x/scim/v2/Users/a' }])], { add: ['a'] }],
    ['by filter', [op('remove', 'members[value eq "a"]')], { remove: ['a'] }],
    ['by one of several', [op('remove', 'members[value eq "a" or Value eq "B"]')], { remove: ['a', 'b'] }],
    ['by value', [op('remove', 'members', [{ value: 'a' }])], { remove: ['a'] }],
    ['nobody', [op('remove', 'members', [])], {}],
    ['everybody', [op('remove', 'members')], { base: 'clear' }],
    ['replacement', [op('replace', 'members', [{ value: 'a' }])], { base: 'clear', add: ['a'] }],
    ['without path', [op('add', null, { members: [{ value: 'a' }], id: 'x' })], { add: ['a'] }],
    [
      'remove, then add',
      [op('remove', 'members[value eq "a"]'), op('add', 'members', [{ value: 'a' }])],
      { add: ['a'] },
    ],
    [
      'one by one',
      [op('add', 'members', [{ value: 'a' }]), op('add', 'members', [{ value: 'b' }])],
      { add: ['a', 'b'] },
    ],
    ['URN', [op('add', 'urn:ietf:params:scim:schemas:core:2.0:Group:members', [{ value: 'a' }])], { add: ['a'] }],
  ])('%s', (_name, operations, expected) => {
    expect(patch(...operations).members).toEqual({ base: 'keep', add: [], remove: [], ...expected });
  });

  it('renames, by path and without one', () => {
    expect(patch(op('replace', 'displayName', 'H'))).toMatchObject({ displayName: 'H' });
    expect(patch(op('replace', null, { id: '1', displayName: 'H' }))).toMatchObject({ displayName: 'H' });
  });

  it.each<[string, Operation]>([
    ['mutability', op('remove', 'displayName')],
    ['mutability', op('replace', 'members[value eq "a"]', { value: 'b' })],
    ['invalidPath', op('remove', 'members[value sw "a"]')],
    ['invalidPath', op('remove', 'members[not (value eq "a")]')],
    ['invalidPath', op('add', 'owners', 'x')],
    ['invalidPath', op('remove', 'members[display eq "a"]')],
    ['invalidValue', op('add', 'members', [{}])],
    ['invalidValue', op('replace', 'displayName', null)],
    ['noTarget', op('remove', null, { members: [] })],
  ])('%s: %j', (scimType, operation) => expect(() => patch(operation)).toThrow(scimType));
});
