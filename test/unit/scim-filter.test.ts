import { describe, expect, it } from 'vitest';
import { type Filter, parseFilter, parsePath } from '../../src/edges/scim/filter.ts';

const eq = (attribute: string, value: string | boolean | null): Filter => ({ op: 'eq', attribute, value });

describe('RFC 7644 §3.4.2.2 filters', () => {
  it.each<[string, Filter]>([
    ['userName eq "a@b"', eq('userName', 'a@b')],
    ['USERNAME Eq "a\\"]b"', eq('USERNAME', 'a"]b')],
    ['  active eq true ', eq('active', true)],
    ['urn:x:core:2.0:User:userName eq "x"', eq('urn:x:core:2.0:User:userName', 'x')],
    ['a GT -1.5e2', { op: 'gt', attribute: 'a', value: -150 }],
    ['id eq "1" AND b eq null', { op: 'and', terms: [eq('id', '1'), eq('b', null)] }],
    [
      'a pr or b pr and not (c pr)',
      {
        op: 'or',
        terms: [
          { op: 'pr', attribute: 'a' },
          {
            op: 'and',
            terms: [
              { op: 'pr', attribute: 'b' },
              { op: 'not', term: { op: 'pr', attribute: 'c' } },
            ],
          },
        ],
      },
    ],
    [
      '(a pr)and(not(b pr))',
      {
        op: 'and',
        terms: [
          { op: 'pr', attribute: 'a' },
          { op: 'not', term: { op: 'pr', attribute: 'b' } },
        ],
      },
    ],
    ['not eq "x"', eq('not', 'x')],
    [
      'emails[type eq "work"].value eq "x"',
      { op: 'some', attribute: 'emails', filter: { op: 'and', terms: [eq('type', 'work'), eq('value', 'x')] } },
    ],
    [
      'emails[ type eq "work" or value eq "x" ]',
      { op: 'some', attribute: 'emails', filter: { op: 'or', terms: [eq('type', 'work'), eq('value', 'x')] } },
    ],
  ])('%s', (text, expected) => expect(parseFilter(text)).toEqual(expected));

  it.each([
    '',
    ' ',
    'userName eq x',
    'userName eq "x" and',
    'userName eq "x"and id eq "y"',
    'not a pr',
    '()',
    'a pr)',
    'emails[type eq "work"',
    'a eq 1e999',
    'a eq 01',
    'userName eq "\\ud800"',
    'userName eq "x" "y"',
    'a'.repeat(5_000),
    `userName eq "${'('.repeat(300)}`,
  ])('refuses %j', (text) => expect(() => parseFilter(text)).toThrow('invalidFilter'));

  it('is linear: what held another parser for seconds takes no time', () => {
    const startedAt = performance.now();
    const texts = ['a['.repeat(2_000), '"\\'.repeat(2_000), `a eq ${'('.repeat(4_000)}`, 'a.'.repeat(2_000)];
    for (const text of [...texts, '('.repeat(4_000), 'not('.repeat(1_000), 'a pr or '.repeat(500)]) {
      expect(() => parseFilter(text)).toThrow();
    }
    expect(performance.now() - startedAt).toBeLessThan(200);
  });
});

describe('RFC 7644 §3.5.2 paths', () => {
  it.each<[string, unknown]>([
    ['userName', { attribute: 'userName' }],
    ['name.familyName', { attribute: 'name.familyName' }],
    ['members[value eq "1"]', { attribute: 'members', within: eq('value', '1') }],
    ['emails[type eq "work"].value', { attribute: 'emails', within: eq('type', 'work'), sub: 'value' }],
  ])('%s', (text, expected) => expect(parsePath(text)).toEqual(expected));
  it.each(['', '[', 'a b', 'emails[', 'emails[]', 'emails[type eq "work"]value', '"x"', 'é', 'a[b[c pr]]'])(
    'refuses %j',
    (text) => expect(() => parsePath(text)).toThrow('invalidPath'),
  );
});
