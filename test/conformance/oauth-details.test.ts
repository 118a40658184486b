import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  detail,
  type Form,
  must,
  readIntent,
  type World,
  writeIntent,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

const ledger = 'https://ledger.example.com/v2/';
const sandbox = 'https://sandbox.example.com';
const foreignIntent = 'ledger.read';
const sandboxIntent = 'sandbox.read';

let writ: TestWrit;
let world: World;
let tester: Awaited<ReturnType<World['createAgent']>>;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  for (const [identifier, environment] of [
    [ledger, 'production'],
    [sandbox, 'sandbox'],
  ]) {
    must(await writ.admin('POST', '/apis', { identifier, name: identifier, environment }));
  }
  for (const [taskIntent, apis, actions, risk] of [
    [foreignIntent, [ledger], ['read'], 'read'],
    [sandboxIntent, [sandbox], ['read', 'list'], 'read'],
    ['sandbox.list', [sandbox, crm], ['list'], 'read'],
    ['sandbox.write', [sandbox], ['read', 'create'], 'write'],
  ]) {
    const intent = { taskIntent, description: 'x', apis, actions, datatypes: ['ticket', 'note'], risk };
    must(await writ.admin('POST', '/intents', intent));
  }
  const intents = [sandboxIntent, 'sandbox.list', 'sandbox.write'];
  tester = await world.createAgent({ owner: world.alice, environment: 'sandbox', intents });
});
afterAll(() => writ.close());

const ask = (form: Form): Promise<Answer> => askToken(writ, world.triage, form);
const askDetails = (text: string, form: Form = {}): Promise<Answer> => ask({ authorization_details: text, ...form });

function expectRefusal(answer: Answer, error: string, reason: string): void {
  expect([answer.status, answer.body.error, answer.body.reason]).toEqual([400, error, reason]);
  expect(answer.body.error_uri).toBe(`${writ.url}/oauth/errors/${reason}`);
  expect(answer.body.error_description).toMatch(/^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/);
}
const invalid = (answer: Answer) => expectRefusal(answer, 'invalid_authorization_details', 'details_invalid');

describe('RFC 8707 §2: resource', () => {
  test('a trailing slash on a bare origin is the same API, and aud is what was registered', async () => {
    for (const resource of [crm, `${crm}/`]) {
      const answer = must(await ask({ resource, scope: readIntent }));
      expect(decodeToken(answer.body.access_token).claims.aud).toBe(crm);
    }
  });

  test('nothing else is', async () => {
    for (const resource of [
      'https://unknown.example.com',
      'HTTPS://crm.example.com',
      'https://crm.example.com:443',
      `${crm}//`,
      `${crm}#x`,
      `${crm}/#x`,
      `${crm}?x=1`,
      `${crm}/path`,
      'https://x@crm.example.com',
      'http://crm.example.com',
      ledger.slice(0, -1),
      `${crm} ${ledger}`,
      'crm',
      'constructor',
      '__proto__',
      'x'.repeat(20_000),
    ]) {
      expectRefusal(await ask({ resource, scope: readIntent }), 'invalid_target', 'resource_unknown');
    }
  });

  test('a token is for one API', async () => {
    expectRefusal(await ask({ resource: [crm, ledger], scope: readIntent }), 'invalid_target', 'resource_unknown');
    expectRefusal(await ask({ resource: '', scope: readIntent }), 'invalid_target', 'resource_required');
    expect((await ask({ resource: [crm, crm], scope: readIntent })).status).toBe(200);
  });

  test('the one location of the details says it as well', async () => {
    const answer = must(await askDetails(detail(readIntent, { locations: [`${crm}/`] }), { resource: '' }));
    const { claims } = decodeToken(answer.body.access_token);
    expect([claims.aud, claims.authorization_details[0].locations]).toEqual([crm, [crm]]);
    const two = detail(readIntent, { locations: [crm, ledger] });
    expectRefusal(await askDetails(two, { resource: '' }), 'invalid_target', 'resource_required');
  });
});

describe('RFC 9396 §5: authorization_details that cannot be accepted', () => {
  const good = { type: 'agent_intent', task_intent: readIntent };
  const one = (members: object) => JSON.stringify([{ ...good, ...members }]);
  test.each([
    ['no JSON', 'garbage'],
    ['cut off', '[{"type":"agent_intent"'],
    ['something after it', `${JSON.stringify([good])} x`],
    ['an object', JSON.stringify(good)],
    ['a string', '"agent_intent"'],
    ['null', 'null'],
    ['an empty list', '[]'],
    ['a list of no objects', '["agent_intent"]'],
    ['a list in a list', JSON.stringify([[good]])],
    ['null in a list', '[null]'],
    ['an empty object', '[{}]'],
    ['no type', JSON.stringify([{ task_intent: readIntent }])],
    ['an unknown type', one({ type: 'payment_initiation' })],
    ['a type of another kind', one({ type: ['agent_intent'] })],
    ['an unknown type beside a good one', JSON.stringify([good, { type: 'x' }])],
    ['no task', JSON.stringify([{ type: 'agent_intent' }])],
    ['a task of another kind', one({ task_intent: { $ne: null } })],
    ['an empty task', one({ task_intent: '' })],
    ['an unknown member', one({ max_amount: 10 })],
    ['privileges, which the type does not know', one({ privileges: ['admin'] })],
    ['an unknown action', one({ actions: ['read', 'sudo'] })],
    ['no actions', one({ actions: [] })],
    ['an action alone', one({ actions: 'read' })],
    ['an action of another kind', one({ actions: [['read']] })],
    ['null for actions', one({ actions: null })],
    ['null for locations', one({ locations: null })],
    ['null for an identifier', one({ identifier: null })],
    ['a number for an identifier', one({ identifier: 4711 })],
    ['a list for an identifier', one({ identifier: ['INC-1'] })],
    ['an empty identifier', one({ identifier: '' })],
    ['a long identifier', one({ identifier: 'x'.repeat(513) })],
    ['a member twice', `[{"type":"agent_intent","task_intent":"${writeIntent}","task_intent":"${readIntent}"}]`],
    ['a member twice by escapes', `[{"type":"agent_intent","task_intent":"a","task\\u005fintent":"${readIntent}"}]`],
    ['a prototype', `[{"type":"agent_intent","task_intent":"${readIntent}","__proto__":{"actions":["delete"]}}]`],
    ['NUL', one({ identifier: 'a\0b' })],
    ['half a surrogate pair', `[{"type":"agent_intent","task_intent":"${readIntent}","identifier":"\\ud800"}]`],
    ['an infinite number', `[{"type":"agent_intent","task_intent":"${readIntent}","x":1e999}]`],
    ['a deep list', '['.repeat(5_000) + ']'.repeat(5_000)],
    ['a deep object', `${'[{"type":'.repeat(2_000)}1${'}]'.repeat(2_000)}`],
    ['a huge list', JSON.stringify(Array.from({ length: 400 }, () => good))],
    ['seventeen details', JSON.stringify(Array.from({ length: 17 }, () => good))],
    ['many actions', one({ actions: Array.from({ length: 65 }, () => 'read') })],
    ['a comma too many', '[{"type":"agent_intent",}]'],
    ['a comment', `/**/${JSON.stringify([good])}`],
    ['a byte order mark', `\uFEFF${JSON.stringify([good])}`],
  ])('%s', async (_name, text) => {
    invalid(await askDetails(text));
  });

  test('a deep one in every place of a good one', async () => {
    const deep = '['.repeat(5_000) + ']'.repeat(5_000);
    for (const name of ['actions', 'identifier', 'x']) {
      invalid(await askDetails(`[{"type":"agent_intent","task_intent":"${readIntent}","${name}":${deep}}]`));
    }
  });
});

describe('RFC 9396 §6, §7: what is asked and what is granted', () => {
  test('the answer and the token say what was granted, filled in', async () => {
    const answer = must(await askDetails(detail(readIntent, { actions: ['read', 'read'], identifier: 'INC-4711' })));
    const granted = [
      {
        type: 'agent_intent',
        task_intent: readIntent,
        actions: ['read'],
        locations: [crm],
        datatypes: ['ticket'],
        identifier: 'INC-4711',
      },
    ];
    expect(answer.body.authorization_details).toEqual(granted);
    expect(decodeToken(answer.body.access_token).claims.authorization_details).toEqual(granted);
    expect(answer.body.scope).toBeUndefined();
  });

  test('beyond the intent', async () => {
    const beyond = (members: object) => askDetails(detail(readIntent, members as Record<string, unknown>));
    const code = 'invalid_authorization_details';
    expectRefusal(await beyond({ actions: ['read', 'update'] }), code, 'details_exceed_intent');
    expectRefusal(await beyond({ datatypes: ['ticket', 'customer'] }), code, 'details_exceed_intent');
    expectRefusal(await beyond({ locations: [crm, ledger] }), code, 'details_exceed_intent');
    expectRefusal(await beyond({ locations: [ledger] }), code, 'details_exceed_intent');
    expectRefusal(await beyond({ locations: ['*'] }), code, 'details_exceed_intent');
    expectRefusal(await beyond({ datatypes: ['*'] }), code, 'details_exceed_intent');
  });

  test('one good detail does not carry a bad one', async () => {
    const [good] = JSON.parse(detail(readIntent));
    const both = JSON.stringify([good, { ...good, actions: ['delete'] }]);
    expectRefusal(await askDetails(both), 'invalid_authorization_details', 'details_exceed_intent');
    const unknown = JSON.stringify([good, { ...good, task_intent: 'nothing' }]);
    expectRefusal(await askDetails(unknown), 'invalid_authorization_details', 'intent_unknown');
  });

  test('unknown, not granted, at another API, in need of an approval', async () => {
    for (const name of [
      'nothing',
      'constructor',
      '__proto__ ',
      'INCIDENT_REMEDIATION.TICKET_READ',
      `${readIntent} x`,
    ]) {
      expectRefusal(await askDetails(detail(name)), 'invalid_authorization_details', 'intent_unknown');
    }
    expectRefusal(await askDetails(detail(foreignIntent)), 'invalid_authorization_details', 'intent_not_granted');
    const elsewhere = await ask({ resource: ledger, authorization_details: detail(readIntent) });
    expectRefusal(elsewhere, 'invalid_authorization_details', 'details_exceed_intent');
    for (const members of [{}, { actions: ['update'] }, { actions: ['read', 'update'] }]) {
      expectRefusal(await askDetails(detail(writeIntent, members)), 'access_denied', 'approval_required');
    }
  });
});

describe('RFC 6749 §3.3: scope', () => {
  test('the whole intent, or a refusal', async () => {
    const answer = must(await ask({ scope: `${readIntent} ${readIntent}` }));
    expect(answer.body.scope).toBe(readIntent);
    expect(answer.body.authorization_details).toHaveLength(1);
    expectRefusal(await ask({ scope: writeIntent }), 'access_denied', 'approval_required');
    expectRefusal(await ask({ scope: `${readIntent} ${writeIntent}` }), 'access_denied', 'approval_required');
    expectRefusal(await ask({ scope: `${readIntent} nothing` }), 'invalid_scope', 'intent_unknown');
    expectRefusal(await ask({ scope: foreignIntent }), 'invalid_scope', 'intent_not_granted');
    expectRefusal(await ask({ scope: readIntent, resource: ledger }), 'invalid_scope', 'details_exceed_intent');
  });

  test('characters that no scope has', async () => {
    for (const scope of [
      '"',
      '\\',
      `${readIntent}\n`,
      `${readIntent}\t${readIntent}`,
      'é',
      'openid',
      '*',
      'x'.repeat(30_000),
    ]) {
      expectRefusal(await ask({ scope }), 'invalid_scope', 'intent_unknown');
    }
  });

  test('beside details both count, and each is answered in its own code', async () => {
    const narrow = detail(readIntent, { actions: ['read'] });
    const both = must(await askDetails(narrow, { scope: readIntent }));
    expect(both.body.scope).toBe(readIntent);
    expect(both.body.authorization_details).toHaveLength(2);
    expectRefusal(await askDetails(narrow, { scope: 'nothing' }), 'invalid_scope', 'intent_unknown');
    expectRefusal(await askDetails(narrow, { scope: foreignIntent }), 'invalid_scope', 'intent_not_granted');
    expectRefusal(await askDetails(narrow, { scope: writeIntent }), 'access_denied', 'approval_required');
    expectRefusal(
      await askDetails(detail('x'), { scope: readIntent }),
      'invalid_authorization_details',
      'intent_unknown',
    );
  });

  test('two details of one intent do not add up to a scope', async () => {
    const [first] = JSON.parse(detail(readIntent, { actions: ['read', 'list'], identifier: 'A' }));
    const [second] = JSON.parse(detail(readIntent, { actions: ['search'] }));
    const answer = must(await askDetails(JSON.stringify([first, second])));
    expect(answer.body.scope).toBeUndefined();
  });
});

describe('RFC 6749 §3.3: no task named', () => {
  test('in production it has to be', async () => {
    expectRefusal(await ask({}), 'invalid_scope', 'intent_required');
    invalid(await ask({ authorization_details: '[]' }));
  });

  test('in a sandbox it is all read-only intents of the agent at that API, and no other', async () => {
    const answer = must(await askToken(writ, tester, { resource: sandbox }));
    expect(answer.body.scope.split(' ').sort()).toEqual(['sandbox.list', sandboxIntent]);
    for (const granted of answer.body.authorization_details) expect(granted.locations).toEqual([sandbox]);
    expect(decodeToken(answer.body.access_token).claims.task_intent).toBeUndefined();
    invalid(await askToken(writ, tester, { resource: sandbox, authorization_details: '[]' }));
  });

  test('an environment is a wall', async () => {
    expectRefusal(await askToken(writ, tester, {}), 'invalid_scope', 'environment_mismatch');
    expectRefusal(await askToken(writ, tester, { scope: readIntent }), 'invalid_scope', 'environment_mismatch');
    const details = { authorization_details: detail(readIntent) };
    expectRefusal(await askToken(writ, tester, details), 'invalid_authorization_details', 'environment_mismatch');
    expectRefusal(await ask({ resource: sandbox, scope: sandboxIntent }), 'invalid_scope', 'environment_mismatch');
    // An intent that lives on both sides takes nobody across.
    const across = detail('sandbox.list', { locations: [sandbox, crm] });
    const answer = await askToken(writ, tester, { resource: sandbox, authorization_details: across });
    expectRefusal(answer, 'invalid_authorization_details', 'details_exceed_intent');
  });

  test('a write needs an approval in every environment', async () => {
    const answer = await askToken(writ, tester, { resource: sandbox, scope: 'sandbox.write' });
    expectRefusal(answer, 'access_denied', 'approval_required');
  });

  test('an agent without a read-only intent there', async () => {
    const poor = await world.createAgent({ owner: world.alice, environment: 'sandbox', intents: ['sandbox.write'] });
    expectRefusal(await askToken(writ, poor, { resource: sandbox }), 'invalid_scope', 'intent_not_granted');
  });
});
