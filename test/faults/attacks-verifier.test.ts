/** What a hostile token, a hostile feed, or a careless caller could make a verifier overlook. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VerifyError } from '../../src/sdk/api/errors.ts';
import { createRevocations } from '../../src/sdk/api/revocations.ts';
import { createVerifier, type Requirement, type Verifier } from '../../src/sdk/api/verify.ts';
import { audience, type FakeWrit, startFakeWrit } from '../support/fake-writ.ts';

let fake: FakeWrit;
let verifier: Verifier;
beforeAll(async () => {
  fake = await startFakeWrit();
  verifier = await createVerifier({
    issuer: fake.issuer,
    audience,
    credentials: { clientId: 'crm', clientSecret: 'secret' },
  });
  await verifier.ready();
});
afterAll(async () => {
  await verifier.close();
  await fake[Symbol.asyncDispose]();
});

const codeOf = (token: string, requirement?: Requirement): Promise<string> =>
  verifier.verify(token, requirement).then(
    () => 'passed',
    (error: VerifyError) => error.code,
  );

describe('a requirement that is no plain object asks for as much', () => {
  class Needed {
    readonly #intent: string;
    constructor(intent: string) {
      this.#intent = intent;
    }
    get intent(): string {
      return this.#intent;
    }
  }

  test('members that are inherited, or getters of a class', async () => {
    const token = fake.token();
    expect(await codeOf(token, new Needed('payroll.run'))).toBe('intent_missing');
    expect(await codeOf(token, Object.create({ action: 'delete' }))).toBe('action_not_granted');
    expect(await codeOf(token, Object.create({}, { intent: { value: 'payroll.run' } }))).toBe('intent_missing');
  });

  test('one that is there without a value is a fault, also when it cannot be enumerated', async () => {
    const token = fake.token();
    expect(await codeOf(token, Object.create({}, { identifier: { value: undefined } }))).toBe('verifier_fault');
    expect(await codeOf(token, Object.create({ identifer: 'INC-1' }))).toBe('verifier_fault');
  });
});

describe('hostile claims', () => {
  test('two grants never add up, nor does one at another API', async () => {
    const detail = (members: object) => ({
      type: 'agent_intent',
      task_intent: 'tickets',
      actions: ['read'],
      locations: [audience],
      datatypes: ['ticket'],
      ...members,
    });
    const token = fake.token({
      authorization_details: [
        detail({ actions: ['update'], locations: ['https://other.example'] }),
        detail({ actions: ['read'], identifier: 'INC-1' }),
        detail({ actions: ['update'], identifier: 'INC-2' }),
        detail({ task_intent: 'payroll', actions: ['delete'] }),
      ],
    });
    expect(await codeOf(token, { intent: 'tickets', action: 'update', identifier: 'INC-1' })).toBe(
      'identifier_not_granted',
    );
    expect(await codeOf(token, { intent: 'tickets', action: 'delete' })).toBe('action_not_granted');
    expect(await codeOf(token, { intent: 'tickets', action: 'update', identifier: 'INC-2' })).toBe('passed');
  });

  test('epochs and ids that are names of every object', async () => {
    const epochs = JSON.parse('{"__proto__": 1, "constructor": 0, "toString": 0}');
    expect(await codeOf(fake.token({ epochs }))).toBe('passed');
    expect(await codeOf(fake.token({ epochs: JSON.parse('{"__proto__": {"person-1": 9}}') }))).toBe('claims_invalid');
    expect(await codeOf(fake.token({ epochs: {} }))).toBe('claims_invalid');
    for (const epoch of [-1, 0.5, 2 ** 53, '9', null]) {
      expect(await codeOf(fake.token({ epochs: { a: epoch } }))).toBe('claims_invalid');
    }
    for (const kid of ['../../etc/passwd', '__proto__', 'constructor']) {
      expect(await codeOf(fake.token({}, { kid }))).toBe('key_unknown');
    }
  });

  test('times beyond every clock', async () => {
    const seconds = Math.floor(Date.now() / 1000);
    expect(await codeOf(fake.token({ iat: 1e300, exp: 1e300 }))).toBe('claims_invalid');
    // Signed by a server whose clock was an hour ahead: it would outlive its own revocation.
    expect(await codeOf(fake.token({ iat: seconds + 3600, exp: seconds + 3900 }))).toBe('claims_invalid');
    expect(await codeOf(fake.token({ iat: seconds + 60, exp: seconds + 960 }))).toBe('passed');
    expect(await codeOf(fake.token({ iat: -1e308, exp: 1e308 }))).toBe('claims_invalid');
    expect(await codeOf(fake.token({ exp: seconds + 901, iat: seconds }))).toBe('claims_invalid');
  });
});

describe('a hostile feed', () => {
  const open = () => {
    const revocations = createRevocations({ monotonic: () => 0 });
    const tell = (name: string, value: object) => revocations.apply({ name, data: JSON.stringify(value) });
    tell('snapshot', { seq: 1, revocations: [], keys: [], readAt: '', checkpoint: null });
    return { revocations, tell };
  };

  test('an event that names a subject and a key, or neither, is not applied by half', () => {
    const { revocations, tell } = open();
    for (const event of [
      { seq: 2, subject: 'person-1', epoch: 2, kid: 'k1' },
      { seq: 2, subject: 'person-1', epoch: 2, kid: 5 },
      { seq: 2, kid: 5 },
      { seq: 2, subject: '', epoch: 2 },
      { seq: 2 },
    ]) {
      expect(() => tell('revocation', event), JSON.stringify(event)).toThrow('cannot be read');
    }
    expect(revocations.appliedSeq()).toBe(1);
    tell('revocation', { seq: 2, subject: '__proto__', epoch: 2 });
    expect(revocations.isRevoked('j', [['__proto__', 1]])).toBe(true);
  });

  test('an epoch does not fall', () => {
    const { revocations, tell } = open();
    tell('revocation', { seq: 2, subject: 'person-1', epoch: 5 });
    tell('revocation', { seq: 3, subject: 'person-1', epoch: 1 });
    tell('revocation', { seq: 1, subject: 'person-1', epoch: 0 });
    expect(revocations.isRevoked('j', [['person-1', 4]])).toBe(true);
    expect(revocations.appliedSeq()).toBe(3);
  });
});
