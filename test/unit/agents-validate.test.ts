import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { compare } from '../../src/domain/agents/changes.ts';
import { parseJwks } from '../../src/domain/agents/credentials.ts';
import { type AgentDraft, type Circumstances, checkReason, validateAgent } from '../../src/domain/agents/validate.ts';
import { canonicalId } from '../../src/platform/db/uuid.ts';
import { makeJwk } from '../support/agents.ts';

const rsa = (modulusLength: number, publicExponent = 65537) =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({ format: 'jwk' });
const rsa2048 = rsa(2048);
const ed25519 = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });
const privateEc = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const ec = makeJwk();

describe('key sets', () => {
  test.each([
    ['P-256', ec],
    ['P-256 named', { ...ec, kid: 'a', alg: 'ES256', use: 'sig' }],
    ['Ed25519', { ...ed25519, alg: 'Ed25519' }],
    ['Ed25519 by its older name', { ...ed25519, alg: 'EdDSA' }],
    ['RSA 2048', { ...rsa2048, alg: 'PS256' }],
  ])('%s is registered as it is', (_name, key) => {
    expect(parseJwks({ keys: [key] })).toEqual({ keys: [key] });
  });

  test('what a JWK may carry besides is not kept', () => {
    const key = { ...ec, x5u: 'http://169.254.169.254/', key_ops: ['verify'], ext: true };
    expect(parseJwks({ keys: [key] })).toEqual({ keys: [ec] });
  });

  test.each([
    ['no key', []],
    ['nine keys', Array.from({ length: 9 }, makeJwk)],
    [
      'two with one kid',
      [
        { ...ec, kid: 'a' },
        { ...makeJwk(), kid: 'a' },
      ],
    ],
    ['a private key', [privateEc]],
    ['a shared secret', [{ kty: 'oct', k: 'c2VjcmV0' }]],
    ['a shared secret without the secret', [{ kty: 'oct' }]],
    ['P-384', [generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' })]],
    ['secp256k1', [generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({ format: 'jwk' })]],
    ['X25519', [generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })]],
    ['Ed448', [generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' })]],
    ['RSA 1024', [rsa(1024)]],
    ['RSA with exponent 3', [rsa(2048, 3)]],
    ['RSA with exponent 1', [{ ...rsa2048, e: 'AQ' }]],
    ['a point beside the curve', [{ ...ec, y: ec.x }]],
    ['an encryption key', [{ ...ec, use: 'enc' }]],
    ['the algorithm of another kind', [{ ...ec, alg: 'RS256' }]],
    ['a symmetric algorithm', [{ ...rsa2048, alg: 'HS256' }]],
    ['an empty kid', [{ ...ec, kid: '' }]],
    ['a NUL in the kid', [{ ...ec, kid: 'a\0' }]],
    ['half a character in the kid', [{ ...ec, kid: 'a\ud800' }]],
    ['a number', [7]],
    ['an inherited name as kty', [{ kty: 'constructor' }]],
  ])('%s is refused', (_name, keys) => {
    expect(() => parseJwks({ keys })).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  });

  test('a private key is named as such, and not repeated', () => {
    const refusal = () => parseJwks({ keys: [privateEc] });
    expect(refusal).toThrow(/private key/);
    expect(refusal).not.toThrow(new RegExp(String(privateEc.d)));
  });
});

const now = new Date('2026-08-01T00:00:00Z');
const catalogue = new Map([['tickets.read', { environments: ['production'] }]]);
const draft: AgentDraft = {
  name: 'triage',
  description: 'Sorts\ntickets.',
  environment: 'production',
  project: null,
  expiresAt: null,
  credential: { secret: true },
  intents: [],
  leaverPolicy: null,
  deputyId: null,
};
const circumstances: Circumstances = { now, catalogue, ownerId: 'ada', isSubAgent: false };

describe('the whole agent', () => {
  test('names are trimmed, intents sorted and said once', () => {
    const given = { ...draft, name: ' triage ', intents: ['tickets.read', 'tickets.read'] };
    expect(validateAgent(given, circumstances)).toEqual({ ...draft, intents: ['tickets.read'] });
  });

  test.each<[string, Partial<AgentDraft>, string]>([
    ['an empty name', { name: '  ' }, 'name'],
    ['a long name', { name: 'a'.repeat(201) }, 'name'],
    ['a name of two lines', { name: 'a\nb' }, 'name'],
    ['a NUL in the description', { description: 'a\0b' }, 'description'],
    ['an escape sequence in the description', { description: '\u001b[2J' }, 'description'],
    ['an environment in capitals', { environment: 'Production' }, 'environment'],
    ['an expiry that has passed', { expiresAt: now }, 'expiresAt'],
    ['an expiry that is none', { expiresAt: new Date('never') }, 'expiresAt'],
    ['an unknown intent', { intents: ['tickets.delete'] }, 'tickets.delete'],
    ['the owner as deputy', { deputyId: 'ada' }, 'deputy'],
    ['an intent of another environment', { environment: 'staging', intents: ['tickets.read'] }, 'tickets.read'],
  ])('%s is refused by name', (_name, members, member) => {
    expect(() => validateAgent({ ...draft, ...members }, circumstances)).toThrow(
      expect.objectContaining({ code: 'invalid_request', detail: expect.stringContaining(member) }),
    );
  });

  test('a sub-agent has the policy and the deputy of its root', () => {
    const below = { ...circumstances, isSubAgent: true };
    expect(() => validateAgent({ ...draft, leaverPolicy: 'stop' }, below)).toThrow(/leaverPolicy/);
    expect(() => validateAgent({ ...draft, deputyId: 'grace' }, below)).toThrow(/deputy/);
    expect(validateAgent(draft, below)).toEqual(draft);
  });

  test('an expiry that stands already may have passed', () => {
    const expired = { ...draft, expiresAt: new Date('2026-07-01T00:00:00Z') };
    expect(validateAgent(expired, { ...circumstances, standingExpiry: expired.expiresAt })).toEqual(expired);
  });

  test.each(['', '   ', 'a\0b', 'a'.repeat(1001)])('%j is no reason', (reason) => {
    expect(() => checkReason(reason)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  });
});

describe('what a patch comes to', () => {
  const keyed: AgentDraft = { ...draft, credential: { jwks: { keys: [ec] } }, intents: ['a', 'b'] };
  test.each<[string, Partial<AgentDraft>, { members: string[]; endsTokens: boolean }]>([
    ['nothing', {}, { members: [], endsTokens: false }],
    ['the same keys', { credential: { jwks: { keys: [ec] } } }, { members: [], endsTokens: false }],
    ['a name', { name: 'other' }, { members: ['name'], endsTokens: false }],
    ['a further intent', { intents: ['a', 'b', 'c'] }, { members: ['intents'], endsTokens: false }],
    ['one intent less', { intents: ['a', 'c'] }, { members: ['intents'], endsTokens: true }],
    [
      'a further key',
      { credential: { jwks: { keys: [ec, makeJwk()] } } },
      { members: ['credential'], endsTokens: false },
    ],
    ['another key', { credential: { jwks: { keys: [makeJwk()] } } }, { members: ['credential'], endsTokens: true }],
    ['a secret', { credential: { secret: true } }, { members: ['credential'], endsTokens: true }],
  ])('%s', (_name, patch, expected) => {
    expect(compare(keyed, { ...keyed, ...patch }, patch)).toMatchObject(expected);
  });

  test('a secret for a secret is a new one', () => {
    const patch = { credential: { secret: true } } as const;
    expect(compare(draft, draft, patch)).toMatchObject({ members: ['credential'], endsTokens: true });
    expect(compare(draft, draft, {})).toMatchObject({ members: [], endsTokens: false });
  });
});

test('ids have one spelling, the one that locks are taken by', () => {
  const id = randomUUID();
  expect(canonicalId(id.toUpperCase())).toBe(id);
  for (const text of ['', `{${id}}`, id.replaceAll('-', ''), `${id}\n`, ` ${id}`]) expect(canonicalId(text)).toBeNull();
});
