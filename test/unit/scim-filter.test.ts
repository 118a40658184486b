import { describe, expect, it } from 'vitest';
import { parseFilter, parsePath } from '../../src/edges/scim/filter.ts';

describe('RFC 7644 §3.4.2.2 filters', () => {
  it.each<[string, unknown]>([
    ['userName eq "a@b"', [{ attribute: 'userName', value: 'a@b' }]],
    ['USERNAME Eq "a\\"]b"', [{ attribute: 'USERNAME', value: 'a"]b' }]],
    ['  active eq true ', [{ attribute: 'active', value: true }]],
    [
      'urn:ietf:params:scim:schemas:core:2.0:User:userName eq "x"',
      [{ attribute: 'urn:ietf:params:scim:schemas:core:2.0:User:userName', value: 'x' }],
    ],
    [
      'id eq "1" AND externalId eq null',
      [
        { attribute: 'id', value: '1' },
        { attribute: 'externalId', value: null },
      ],
    ],
    [
      'emails[type eq "work"].value eq "x"',
      [
        {
          attribute: 'emails',
          value: null,
          within: [
            { attribute: 'type', value: 'work' },
            { attribute: 'value', value: 'x' },
          ],
        },
      ],
    ],
    [
      'emails[type eq "work" and value eq "x"]',
      [
        {
          attribute: 'emails',
          value: null,
          within: [
            { attribute: 'type', value: 'work' },
            { attribute: 'value', value: 'x' },
          ],
        },
      ],
    ],
  ])('%s', (text, expected) => expect(parseFilter(text)).toEqual(expected));

  it.each([
    '',
    ' ',
    'userName',
    'userName eq',
    'userName eq x',
    'userName eq "x',
    'userName eq "x" or id eq "y"',
    'not (id eq "x")',
    'userName sw "x"',
    'userName eq "x" and',
    'userName eq "x"and id eq "y"',
    'emails[type eq "work"',
    'userName eq "\\u0000"',
    'userName eq "\\ud800"',
    'userName eq "x" "y"',
    '(((((userName eq "x")))))',
    'a'.repeat(5_000),
    'x eq "1" and '.repeat(99),
    `userName eq "${'('.repeat(300)}`,
  ])('refuses %j', (text) => expect(() => parseFilter(text)).toThrow('invalidFilter'));

  it('is linear: what held another parser for seconds takes no time', () => {
    const startedAt = performance.now();
    for (const text of ['a['.repeat(2_000), '"\\'.repeat(2_000), `a eq ${'('.repeat(4_000)}`, 'a.'.repeat(2_000)]) {
      expect(() => parseFilter(text)).toThrow();
    }
    expect(performance.now() - startedAt).toBeLessThan(200);
  });
});

describe('RFC 7644 §3.5.2 paths', () => {
  it.each<[string, unknown]>([
    ['userName', { attribute: 'userName' }],
    ['name.familyName', { attribute: 'name.familyName' }],
    ['members[value eq "1"]', { attribute: 'members', within: [{ attribute: 'value', value: '1' }] }],
    [
      'emails[type eq "work"].value',
      { attribute: 'emails', within: [{ attribute: 'type', value: 'work' }], sub: 'value' },
    ],
  ])('%s', (text, expected) => expect(parsePath(text)).toEqual(expected));
  it.each(['', '[', 'a b', 'emails[', 'emails[]', 'emails[type eq "work"]value', '"x"', 'é'])('refuses %j', (text) =>
    expect(() => parsePath(text)).toThrow('invalidPath'),
  );
});
