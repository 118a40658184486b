import { describe, expect, it } from 'vitest';
import { parseApiIdentifier, spellingsOf } from '../../src/domain/intents/apis.ts';

describe('API identifiers', () => {
  it.each([
    'https://crm.example.com',
    'https://crm.example.com/',
    'https://crm.example.com/v2/tickets',
    'https://crm.example.com/v2/',
    'https://crm.example.com:8443/v2',
    'https://xn--bcher-kva.example/',
    'https://[2001:db8::1]/crm',
    'https://crm.example.com/a%20b',
    'http://localhost:4010',
    'http://127.0.0.1:4010/crm',
    'http://[::1]:4010',
  ])('%s is kept as it is', (text) => {
    expect(parseApiIdentifier(text)).toBe(text);
  });

  it.each([
    ['', 'printable'],
    ['crm', 'https URL'],
    ['javascript:1', 'https URL'],
    ['javascript://crm.example.com/%0aalert(1)', 'https URL'],
    ['data:text/html,x', 'https URL'],
    ['urn:example:crm', 'https URL'],
    ['file:///etc/passwd', 'https URL'],
    ['//crm.example.com', 'https URL'],
    ['https://', 'https URL'],
    ['https:crm.example.com', 'normal form'],
    ['https:///crm.example.com', 'normal form'],
    ['http://crm.example.com', 'loopback'],
    ['http://localhost.example.com', 'loopback'],
    ['http://127.0.0.1.example.com', 'loopback'],
    ['http://0.0.0.0', 'loopback'],
    ['https://user@crm.example.com', 'user information'],
    ['https://user:secret@crm.example.com', 'user information'],
    ['https://@crm.example.com', 'user information'],
    ['https://crm.example.com?', 'query'],
    ['https://crm.example.com/?tenant=1', 'query'],
    ['https://crm.example.com#', 'fragment'],
    ['https://crm.example.com/#top', 'fragment'],
    ['https://crm.example.com\n', 'printable'],
    ['https://crm.example.com\u0000', 'printable'],
    [' https://crm.example.com', 'printable'],
    ['https://crm.exa\tmple.com', 'printable'],
    ['https://bücher.example', 'printable'],
    ['https://crm.example.com\\v2', 'normal form'],
    ['https://CRM.example.com', 'normal form; write https://crm.example.com/'],
    ['HTTPS://crm.example.com', 'normal form'],
    ['https://crm.example.com:443', 'normal form'],
    ['https://crm.example.com/a/../b', 'normal form'],
    ['https://crm.example.com/a/%2e%2e/b', 'normal form'],
    ['http://127.1:4010', 'normal form'],
    [`https://crm.example.com/${'a'.repeat(600)}`, 'longer than 512'],
  ])('%j is refused: %s', (text, why) => {
    expect(() => parseApiIdentifier(text)).toThrow(why);
  });

  it('a bare origin has a second spelling, with or without the slash; a path has none', () => {
    expect(spellingsOf('https://crm.example.com')).toEqual(['https://crm.example.com', 'https://crm.example.com/']);
    expect(spellingsOf('https://crm.example.com/')).toEqual(['https://crm.example.com/', 'https://crm.example.com']);
    expect(spellingsOf('https://crm.example.com/v2/')).toEqual(['https://crm.example.com/v2/']);
  });
});
