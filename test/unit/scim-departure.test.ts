import { describe, expect, it } from 'vitest';
import { type Departure, readDeparture } from '../../src/edges/scim/departure.ts';
import { departureSpellings } from '../support/idp.ts';

const urn = 'urn:ietf:params:scim:schemas:core:2.0:User';
const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';

describe('PATCH says that the person leaves', () => {
  it.each(departureSpellings)('%s', (_name, Operations) => {
    expect(readDeparture('PATCH', { Operations })).toBe('leaves');
    expect(readDeparture('PATCH', { schemas: 'nonsense', operations: Operations })).toBe('leaves');
  });
  it('even as a bare resource, or with one operation that is not in a list', () => {
    expect(readDeparture('PATCH', { active: false })).toBe('leaves');
    expect(readDeparture('PATCH', { Operations: { op: 'replace', path: 'active', value: false } })).toBe('leaves');
  });
});

describe('PATCH says something else', () => {
  const cases: [Departure, string, unknown[]][] = [
    ['returns', 'true', [{ op: 'replace', path: 'active', value: true }]],
    ['returns', '"True"', [{ op: 'Replace', path: 'active', value: 'True' }]],
    [
      'returns',
      'the last word',
      [
        { op: 'replace', path: 'active', value: false },
        { op: 'add', value: { active: true } },
      ],
    ],
    ['unsaid', 'another attribute', [{ op: 'replace', path: 'title', value: 'active' }]],
    ['unsaid', 'another that ends alike', [{ op: 'replace', path: 'inactive', value: false }]],
    ['unsaid', 'active of the extension', [{ op: 'replace', value: { [enterprise]: { active: false } } }]],
    ['unsaid', 'active of an element', [{ op: 'replace', path: 'emails', value: [{ active: false }] }]],
    ['unsaid', 'no objects', [1, 'active', null, [false]]],
    ['unclear', 'null', [{ op: 'replace', path: 'active', value: null }]],
    ['unclear', 'nothing', [{ op: 'replace', path: 'active' }]],
    ['unclear', '0', [{ op: 'replace', path: 'active', value: 0 }]],
    ['unclear', '"0"', [{ op: 'replace', path: 'active', value: '0' }]],
    ['unclear', '"no"', [{ op: 'replace', value: { active: 'no' } }]],
    ['unclear', 'two values', [{ op: 'replace', path: 'active', value: [false, true] }]],
    [
      'unclear',
      'beside true',
      [
        { op: 'add', path: 'active', value: 'x' },
        { op: 'add', path: 'active', value: true },
      ],
    ],
  ];
  it.each(cases)('%s: %s', (expected, _name, Operations) => {
    expect(readDeparture('PATCH', { Operations })).toBe(expected);
  });
});

describe('PUT and POST', () => {
  const cases: [Departure, unknown][] = [
    ['leaves', { userName: 'a', active: false }],
    ['leaves', { ACTIVE: 'False' }],
    ['leaves', { [`${urn}:active`]: 'false' }],
    ['leaves', { [urn]: { active: false } }],
    ['returns', { active: true }],
    ['returns', { active: 'True' }],
    ['unsaid', { userName: 'a' }],
    ['unsaid', { active: null }],
    ['unsaid', { [enterprise]: { active: false } }],
    ['unsaid', 'active'],
    ['unsaid', null],
    ['unclear', { active: 0 }],
    ['unclear', { active: '' }],
    ['unclear', { active: [] }],
  ];
  it.each(cases)('%s: %j', (expected, body) => {
    expect(readDeparture('PUT', body)).toBe(expected);
    expect(readDeparture('POST', body)).toBe(expected);
  });
  it('DELETE always says so', () => expect(readDeparture('DELETE', undefined)).toBe('leaves'));
});
