import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { accessTokenType, introspectBy, revokeBy } from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  detail,
  exchangeToken,
  type Form,
  must,
  readIntent,
  signJwt,
  type World,
  writeIntent,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

const task = 'exchange.work';
const jwt = 'urn:ietf:params:oauth:token-type:jwt';
let writ: TestWrit;
let world: World;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  const other = { identifier: 'https://other.example.com', name: 'Other', environment: 'production' };
  must(await writ.admin('POST', '/apis', other));
  const intent = { taskIntent: task, description: 'Work', apis: [crm, other.identifier], actions: ['read', 'list'] };
  must(await writ.admin('POST', '/intents', { ...intent, risk: 'read', datatypes: ['ticket', 'note'] }));
  must(await writ.admin('PATCH', `/agents/${world.triage.id}`, { intents: [readIntent, task] }));
});
afterAll(() => writ.close());

const tokenOf = (answer: Answer): string => must(answer).body.access_token;
const claimsOf = (answer: Answer) => decodeToken(tokenOf(answer)).claims;

function expectRefusal(answer: Answer, error: string, reason?: string): void {
  expect([answer.status, answer.body.error, answer.body.reason]).toEqual([400, error, reason]);
}

describe('RFC 8693 §2: the request', () => {
  let token: string;
  beforeEach(async () => {
    token = tokenOf(await askToken(writ, world.triage, { scope: task }));
  });

  test('§2.1: what is required, and the types that are known', async () => {
    const exchange = (form: Form) => exchangeToken(writ, world.triage, token, form);
    for (const form of [
      { subject_token: '' },
      { subject_token_type: '' },
      { subject_token_type: 'urn:ietf:params:oauth:token-type:id_token' },
      { subject_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' },
      { requested_token_type: 'urn:ietf:params:oauth:token-type:id_token' },
      { requested_token_type: 'urn:ietf:params:oauth:token-type:saml2' },
      { subject_token: [token, token] },
      { subject_token_type: [accessTokenType, jwt] },
    ]) {
      expectRefusal(await exchange(form as Form), 'invalid_request');
    }
    for (const form of [
      {},
      { subject_token_type: jwt },
      { requested_token_type: accessTokenType },
      { requested_token_type: jwt },
    ]) {
      expect(must(await exchange(form as Form)).body).toMatchObject({
        issued_token_type: accessTokenType,
        token_type: 'Bearer',
      });
    }
  });

  test('§2.1: an actor token is the agent’s own, alive, and named with its type', async () => {
    const own = tokenOf(await askToken(writ, world.triage, { scope: readIntent }));
    const others = tokenOf(await askToken(writ, world.billing, { scope: readIntent }));
    const exchange = (form: Form) => exchangeToken(writ, world.triage, token, form);
    expectRefusal(await exchange({ actor_token: own }), 'invalid_request');
    expectRefusal(await exchange({ actor_token_type: accessTokenType }), 'invalid_request');
    expectRefusal(await exchange({ actor_token: own, actor_token_type: 'urn:x' }), 'invalid_request');
    for (const actor of [others, 'garbage', `${own}x`]) {
      const answer = await exchange({ actor_token: actor, actor_token_type: accessTokenType });
      expectRefusal(answer, 'invalid_request', 'subject_token_invalid');
    }
    const good = await exchange({ actor_token: own, actor_token_type: accessTokenType });
    expect(claimsOf(good).epochs).toMatchObject({
      [decodeToken(own).claims.jti]: 0,
      [decodeToken(token).claims.jti]: 0,
    });
    must(await revokeBy(writ, world.triage, own));
    const late = await exchange({ actor_token: own, actor_token_type: accessTokenType });
    expectRefusal(late, 'invalid_request', 'subject_token_invalid');
    expect((await introspectBy(writ, world.triage, tokenOf(good))).body).toEqual({ active: false });
  });

  test('§2.2.2: a subject token that is none of ours, or no longer one, is invalid_request', async () => {
    const [header = '', claims = '', signature = ''] = token.split('.');
    const { header: head, claims: body } = decodeToken(token);
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const forged = (changes: object, other: object = {}) =>
      signJwt(world.triage.privateKey, { ...head, ...other }, { ...body, ...changes });
    for (const subject of [
      'garbage',
      'a.b.c',
      '..',
      `${header}.${claims}.`,
      `${header}.${claims}`,
      `${token}.x`,
      `${token}A`,
      `${header}.${encode({ ...body, exp: body.exp + 1 })}.${signature}`,
      `${encode({ ...head, alg: 'none' })}.${claims}.`,
      `${encode({ alg: 'none', typ: 'at+jwt', kid: head.kid })}.${claims}.${signature}`,
      `${encode({ ...head, typ: 'JWT' })}.${claims}.${signature}`,
      `${encode({ ...head, kid: randomUUID() })}.${claims}.${signature}`,
      forged({}),
      forged({ iss: 'https://evil.example' }),
      forged({ nonce: 'x' }, { typ: 'JWT' }),
      'x'.repeat(30_000),
      `${encode({ ...head, deep: 'x' })}.${'['.repeat(9_000)}.${signature}`,
    ]) {
      expectRefusal(await exchangeToken(writ, world.triage, subject), 'invalid_request', 'subject_token_invalid');
    }
  });

  test('§2.2.2: a token of another Writ, by the same keys or not, is foreign', async () => {
    await using other = await startWrit();
    const there = await createWorld(other);
    const subject = tokenOf(await askToken(other, there.triage, { scope: readIntent }));
    expectRefusal(await exchangeToken(writ, world.triage, subject), 'invalid_request', 'subject_token_invalid');
  });
});

describe('RFC 8693 §2.2, §4.1: an agent narrows its own token', () => {
  test('sub stays, act names the agent, life and dependencies are carried on', async () => {
    const subject = tokenOf(await askToken(writ, world.triage, { scope: task }));
    const before = decodeToken(subject).claims;
    const answer = await exchangeToken(writ, world.triage, subject, {
      authorization_details: detail(task, { actions: ['read'], datatypes: ['note'], identifier: 'N-1' }),
    });
    const after = claimsOf(answer);
    expect(after).toMatchObject({
      sub: world.triage.id,
      client_id: world.triage.id,
      aud: crm,
      act: { sub: world.triage.id },
    });
    expect(after.exp).toBeLessThanOrEqual(before.exp);
    expect(after.epochs).toEqual({ ...before.epochs, [before.jti]: 0 });
    expect(after.jti).not.toBe(before.jti);
    expect(answer.body.scope).toBeUndefined();
    // Narrowed once more; what was given up does not come back.
    const again = await exchangeToken(writ, world.triage, tokenOf(answer));
    expect(claimsOf(again).authorization_details).toEqual(after.authorization_details);
    expect(claimsOf(again).act).toEqual({ sub: world.triage.id });
    expect(claimsOf(again).epochs).toMatchObject({ ...after.epochs, [after.jti]: 0 });
    for (const members of [{ actions: ['list'] }, { datatypes: ['ticket'] }, { identifier: 'N-2' }]) {
      const wider = await exchangeToken(writ, world.triage, tokenOf(answer), {
        authorization_details: detail(task, { actions: ['read'], ...members }),
      });
      expectRefusal(wider, 'invalid_authorization_details', 'exceeds_subject_token');
    }
  });

  test('what is asked by scope is the whole intent, or refused', async () => {
    const whole = tokenOf(await askToken(writ, world.triage, { scope: task }));
    expect(must(await exchangeToken(writ, world.triage, whole, { scope: task })).body.scope).toBe(task);
    for (const members of [{ actions: ['read'] }, { datatypes: ['note'] }, { identifier: 'N-1' }]) {
      const part = tokenOf(await askToken(writ, world.triage, { authorization_details: detail(task, members) }));
      expectRefusal(
        await exchangeToken(writ, world.triage, part, { scope: task }),
        'invalid_scope',
        'exceeds_subject_token',
      );
      expect(must(await exchangeToken(writ, world.triage, part)).body.scope).toBeUndefined();
    }
  });

  test('nothing is added that the subject token does not have, though the agent has it', async () => {
    const subject = tokenOf(await askToken(writ, world.triage, { scope: readIntent }));
    expectRefusal(
      await exchangeToken(writ, world.triage, subject, { scope: task }),
      'invalid_scope',
      'exceeds_subject_token',
    );
    for (const [name, code] of [
      [task, 'invalid_authorization_details'],
      [writeIntent, 'invalid_authorization_details'],
      ['nothing', 'invalid_authorization_details'],
    ] as const) {
      const answer = await exchangeToken(writ, world.triage, subject, { authorization_details: detail(name) });
      expectRefusal(answer, code, 'exceeds_subject_token');
    }
    const elsewhere = await exchangeToken(writ, world.triage, subject, { resource: 'https://other.example.com' });
    expectRefusal(elsewhere, 'invalid_target', 'exceeds_subject_token');
    const empty = await exchangeToken(writ, world.triage, subject, { authorization_details: '[]' });
    expectRefusal(empty, 'invalid_authorization_details', 'details_invalid');
  });
});
