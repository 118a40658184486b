import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { VerifyError } from '../../src/sdk/api/errors.ts';
import { createEventParser } from '../../src/sdk/api/event-stream.ts';
import { createRevocations } from '../../src/sdk/api/revocations.ts';
import { createVerifier, type Verifier, type VerifierOptions } from '../../src/sdk/api/verify.ts';
import { audience, type FakeWrit, makeKey, startFakeWrit, until } from '../support/fake-writ.ts';

const write = { intent: 'incident.ticket', action: 'update' };
const read = { intent: 'incident.ticket', action: 'read' };
let fake: FakeWrit;
let opened: Verifier[];
/** Milliseconds that the verifiers' monotonic clock is ahead. */
let ahead: number;

async function open(options: Partial<VerifierOptions> = {}): Promise<Verifier> {
  const verifier = await createVerifier({
    issuer: fake.issuer,
    audience,
    credentials: { clientId: 'crm', clientSecret: 's3cret' },
    monotonic: () => performance.now() + ahead,
    ...options,
  });
  opened.push(verifier);
  return verifier;
}

const codeOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => 'passed',
    (error: unknown) => (error instanceof VerifyError ? error.code : `not a VerifyError: ${error}`),
  );

beforeEach(async () => {
  fake = await startFakeWrit();
  opened = [];
  ahead = 0;
});

afterEach(async () => {
  await Promise.all(opened.map((verifier) => verifier.close()));
  await fake[Symbol.asyncDispose]();
});

describe('what the feed says ends tokens, also those verified before', () => {
  test.each([
    ['the owner', { subject: 'person-1', epoch: 4 }],
    ['the agent', { subject: 'agent-1', epoch: 1 }],
    ['the token itself', { subject: 'token-1', epoch: 1 }],
    ['the token itself, whatever the number', { subject: 'token-1', epoch: 0 }],
  ])('%s', async (_name, event) => {
    const verifier = await open();
    await verifier.ready();
    const token = fake.token({ jti: 'token-1' });
    expect(await codeOf(verifier.verify(token, read))).toBe('passed');
    fake.feed.revoke(event);
    await until(async () => (await codeOf(verifier.verify(token, read))) === 'token_revoked');
    expect(await codeOf(verifier.verify(fake.token({ jti: 'token-1', scope: 'x' }), read))).toBe('token_revoked');
  });

  test('a token of the new epoch, or of somebody else, is untouched; an older event lowers nothing', async () => {
    const verifier = await open();
    await verifier.ready();
    fake.feed.revoke({ subject: 'person-1', epoch: 5 });
    const last = fake.feed.revoke({ subject: 'person-1', epoch: 4 });
    await until(() => fake.feed.acks.some(({ seq }) => seq === last));
    expect(await codeOf(verifier.verify(fake.token({ epochs: { 'person-1': 4 } })))).toBe('token_revoked');
    expect(await codeOf(verifier.verify(fake.token({ epochs: { 'person-1': 5 } })))).toBe('passed');
    expect(await codeOf(verifier.verify(fake.token({ epochs: { 'person-2': 0 } })))).toBe('passed');
  });

  test('a signing key, for tokens known and new', async () => {
    const verifier = await open();
    await verifier.ready();
    const token = fake.token();
    expect(await codeOf(verifier.verify(token))).toBe('passed');
    fake.feed.revoke({ kid: 'key-1' });
    await until(async () => (await codeOf(verifier.verify(token))) === 'key_revoked');
    expect(await codeOf(verifier.verify(fake.token()))).toBe('key_revoked');
    const later = await open();
    expect(await codeOf(later.verify(fake.token()))).toBe('key_revoked');
  });

  test('a remembered token still expires', async () => {
    let now = Date.now();
    const verifier = await open({ now: () => new Date(now) });
    const token = fake.token();
    expect(await codeOf(verifier.verify(token))).toBe('passed');
    now += 306_000;
    expect(await codeOf(verifier.verify(token))).toBe('token_expired');
  });
});

describe('the connection', () => {
  test('is resumed after the last event applied, and nothing is lost between', async () => {
    const verifier = await open();
    await verifier.ready();
    const first = fake.feed.revoke({ subject: 'person-7', epoch: 1 });
    await until(() => fake.feed.acks.some(({ seq }) => seq === first));
    fake.feed.cut();
    fake.feed.revoke({ subject: 'person-1', epoch: 4 });
    await until(async () => (await codeOf(verifier.verify(fake.token()))) === 'token_revoked');
    const resumed = fake.seen('/revocations').map(({ headers }) => headers['last-event-id']);
    expect(resumed).toEqual([undefined, String(first)]);
    // What was known before the cut is still known.
    expect(await codeOf(verifier.verify(fake.token({ epochs: { 'person-7': 0 } })))).toBe('token_revoked');
  });

  test('that lasted well by the verifier’s own clock is reopened at once, however often that has happened', async () => {
    const verifier = await open();
    await verifier.ready();
    for (let cut = 1; cut <= 8; cut++) {
      ahead += 10_000;
      fake.feed.cut();
      // Of eight that failed, the last would keep it waiting for longer than this waits.
      await until(() => fake.seen('/revocations').length === cut + 1 && fake.feed.connections() === 1);
      await until(() => verifier.staleness() < 1);
    }
  });

  test('comes back by itself through an outage', async () => {
    const problems: string[] = [];
    const verifier = await open({ onProblem: (problem) => problems.push(problem.message) });
    await verifier.ready();
    fake.feed.refusesWith = 503;
    fake.feed.cut();
    fake.feed.revoke({ subject: 'person-1', epoch: 4 });
    await until(() => fake.seen('/revocations').length >= 3);
    fake.feed.refusesWith = undefined;
    await until(async () => (await codeOf(verifier.verify(fake.token()))) === 'token_revoked', 5_000);
    expect(problems).toContain('The feed answered 503');
  });

  test('that lost an event is noticed by the heartbeat, and a snapshot mends it', async () => {
    const verifier = await open();
    await verifier.ready();
    fake.feed.revoke({ subject: 'person-1', epoch: 4 }, { lost: true });
    await until(async () => (await codeOf(verifier.verify(fake.token()))) === 'token_revoked');
    expect(fake.seen('/revocations').map(({ headers }) => headers['last-event-id'])).toEqual([undefined, undefined]);
  });

  test('that lost an event between two is noticed by the second', async () => {
    const verifier = await open();
    await verifier.ready();
    fake.feed.beats = false;
    fake.feed.revoke({ subject: 'person-1', epoch: 4 }, { lost: true });
    fake.feed.revoke({ subject: 'person-2', epoch: 1 });
    await until(async () => (await codeOf(verifier.verify(fake.token()))) === 'token_revoked');
    expect(fake.seen('/revocations')[1]?.headers['last-event-id']).toBeUndefined();
  });

  test.each([
    ['no JSON', 'event: revocation\ndata: {\n\n'],
    ['a shape that is unknown', 'event: revocation\ndata: {"seq":1,"subjects":["person-1"]}\n\n'],
    ['a snapshot with a hole', 'event: snapshot\ndata: {"seq":1,"revocations":[{}],"keys":[]}\n\n'],
  ])('that says what cannot be understood is opened anew: %s', async (_name, text) => {
    const verifier = await open();
    await verifier.ready();
    fake.feed.send(text);
    await until(() => fake.seen('/revocations').length === 2 && fake.feed.connections() === 1);
    expect(fake.seen('/revocations')[1]?.headers['last-event-id']).toBeUndefined();
    expect(await codeOf(verifier.verify(fake.token(), write))).toBe('passed');
  });

  test('that falls silent is given up and opened anew', async () => {
    const verifier = await open();
    await verifier.ready();
    fake.feed.beats = false;
    await until(() => fake.seen('/revocations').length === 2, 6_000);
    expect(fake.seen('/revocations')[1]?.headers['last-event-id']).toBe('0');
  });

  test('ends with close(), after which everything is refused', async () => {
    const verifier = await open();
    await verifier.ready();
    const token = fake.token();
    await verifier.verify(token);
    await verifier[Symbol.asyncDispose]();
    await until(() => fake.feed.connections() === 0);
    expect(await codeOf(verifier.verify(token))).toBe('feed_stale');
    expect(await codeOf(verifier.ready())).toBe('feed_stale');
  });
});

describe('acknowledgements', () => {
  test('name the verifier, and the newest stands for all before it', async () => {
    const verifier = await open({ verifierId: 'crm-api-1' });
    await verifier.ready();
    let last = 0;
    for (let n = 0; n < 200; n += 1) last = fake.feed.revoke({ subject: `person-${n + 100}`, epoch: 1 });
    await until(() => fake.feed.acks.at(-1)?.seq === last);
    expect(fake.feed.acks.at(-1)).toEqual({ seq: last, verifier: 'crm-api-1' });
    expect(fake.feed.acks.length).toBeLessThan(100);
    const seqs = fake.feed.acks.map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  });

  test('that fail are tried again, and hold nothing up', async () => {
    const verifier = await open();
    await verifier.ready();
    fake.feed.ackStatus = 503;
    const seq = fake.feed.revoke({ subject: 'person-1', epoch: 4 });
    await until(async () => (await codeOf(verifier.verify(fake.token()))) === 'token_revoked');
    fake.feed.ackStatus = 204;
    await until(() => fake.feed.acks.some((ack) => ack.seq === seq));
  });
});

describe('staleness', () => {
  test('is unknown before the first snapshot, and everything is refused', async () => {
    fake.feed.refusesWith = 503;
    const verifier = await open({ firstReadTimeoutSeconds: 0.1 });
    expect(verifier.staleness()).toBe(Number.POSITIVE_INFINITY);
    expect(await codeOf(verifier.verify(fake.token(), read))).toBe('feed_stale');
    expect(await codeOf(verifier.verify(fake.token(), write))).toBe('feed_stale');
    fake.feed.refusesWith = undefined;
    await verifier.ready();
    expect(await codeOf(verifier.verify(fake.token(), write))).toBe('passed');
    expect(verifier.staleness()).toBeLessThan(5);
  });

  test('a feed that refuses the credentials is told to who waits for it', async () => {
    fake.feed.refusesWith = 401;
    const verifier = await open();
    await expect(verifier.ready()).rejects.toMatchObject({ code: 'feed_stale', cause: { status: 401 } });
  });

  test('beyond the bound writes are refused and reads go on, until the feed is back', async () => {
    const verifier = await open({ maxStalenessSeconds: { write: 30 } });
    await verifier.ready();
    const [token, reader] = [fake.token(), fake.token({ authorization_details: [] })];
    fake.feed.refusesWith = 503;
    fake.feed.cut();
    await until(() => fake.feed.connections() === 0);
    ahead += 29_000;
    expect(await codeOf(verifier.verify(token, write))).toBe('passed');
    ahead += 2_000;
    const refusal = await verifier.verify(token, write).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'feed_stale', status: 503, wwwAuthenticate: undefined });
    expect((refusal as VerifyError).retryAfterSeconds).toBeGreaterThan(0);
    expect(await codeOf(verifier.verify(token, read))).toBe('passed');
    // No action named: what the token could be used for counts.
    expect(await codeOf(verifier.verify(token))).toBe('feed_stale');
    expect(await codeOf(verifier.verify(reader))).toBe('passed');
    // What is refused in any case is not told to come again.
    expect(await codeOf(verifier.verify(token, { action: 'delete' }))).toBe('action_not_granted');
    fake.feed.refusesWith = undefined;
    await until(async () => (await codeOf(verifier.verify(token, write))) === 'passed', 8_000);
  });

  test('a heartbeat ahead of what was sent does not count', () => {
    let clock = 0;
    const revocations = createRevocations({ monotonic: () => clock });
    const snapshot = { seq: 5, revocations: [], keys: [], readAt: '', checkpoint: null };
    revocations.apply({ name: 'snapshot', data: JSON.stringify(snapshot) });
    clock = 10_000;
    const beat = (seq: number): void => revocations.apply({ name: 'heartbeat', data: JSON.stringify({ seq }) });
    expect(() => beat(6)).toThrow('ahead');
    expect(revocations.staleness()).toBe(10);
    beat(5);
    expect(revocations.staleness()).toBe(0);
  });

  test('revocations are remembered for longer than any token lives, and not for ever', () => {
    let clock = 0;
    const revocations = createRevocations({ monotonic: () => clock });
    const apply = (name: string, value: object): void => revocations.apply({ name, data: JSON.stringify(value) });
    apply('snapshot', { seq: 1, revocations: [{ subject: 'a', epoch: 1 }], keys: ['k'] });
    clock = 1_000_000;
    apply('revocation', { seq: 2, subject: 'b', epoch: 1 });
    apply('heartbeat', { seq: 2 });
    expect(revocations.isRevoked('t', [['a', 0]])).toBe(true);
    clock = 1_900_000;
    apply('heartbeat', { seq: 2 });
    expect(revocations.isRevoked('t', [['a', 0]])).toBe(false);
    expect(revocations.isRevoked('t', [['b', 0]])).toBe(true);
    expect(revocations.isKeyDead('k')).toBe(true);
  });

  test('a snapshot that knows less, of a database that was set back, brings nothing back to life', () => {
    const revocations = createRevocations({ monotonic: () => 0 });
    const apply = (name: string, value: object): void => revocations.apply({ name, data: JSON.stringify(value) });
    const checkpoint = (number: number) => `e30.${Buffer.from(JSON.stringify({ number })).toString('base64url')}.c2ln`;
    const gone = [{ subject: 'a', epoch: 2 }];
    apply('snapshot', { seq: 7, revocations: gone, keys: ['k'], checkpoint: checkpoint(40) });
    apply('snapshot', { seq: 3, revocations: [], keys: [], checkpoint: checkpoint(12) });
    expect(revocations.isRevoked('t', [['a', 1]])).toBe(true);
    expect(revocations.isRevoked('t', [['a', 2]])).toBe(false);
    expect(revocations.isKeyDead('k')).toBe(true);
    expect(revocations.appliedSeq()).toBe(3);
    expect(revocations.checkpoint()).toBe(checkpoint(40));
    apply('heartbeat', { seq: 3, checkpoint: checkpoint(41) });
    expect(revocations.checkpoint()).toBe(checkpoint(41));
    apply('heartbeat', { seq: 3, checkpoint: 'not one' });
    expect(revocations.checkpoint()).toBe(checkpoint(41));
  });
});

describe('the event stream', () => {
  test('property: however it is cut and whichever line ends it uses, the events are the same', () => {
    const line = fc.string({ unit: fc.constantFrom('a', '{', '"', ':', ' ', 'ä'), maxLength: 12 });
    const event = fc.record({ name: fc.constantFrom('snapshot', 'heartbeat'), data: fc.array(line, { minLength: 1 }) });
    const end = fc.constantFrom('\n', '\r\n', '\r');
    fc.assert(
      fc.property(fc.array(event), end, fc.array(fc.nat(7)), (events, ending, cuts) => {
        const text = events
          .map(({ name, data }) => [': comment', `event: ${name}`, ...data.map((one) => `data: ${one}`), '', ''])
          .map((lines) => lines.join(ending))
          .join('');
        const parse = createEventParser(1_000_000);
        const parsed = [];
        let rest = `\ufeff${text}`;
        for (const size of cuts) {
          parsed.push(...parse(rest.slice(0, size)));
          rest = rest.slice(size);
        }
        parsed.push(...parse(rest));
        expect(parsed).toEqual(events.map(({ name, data }) => ({ name, data: data.join('\n') })));
      }),
    );
  });

  test('is bounded by event, not by connection', () => {
    const parse = createEventParser(100);
    for (let n = 0; n < 100; n += 1) expect(parse(`: ${'x'.repeat(50)}\ndata: ${'y'.repeat(50)}\n\n`)).toHaveLength(1);
    for (let n = 0; n < 100; n += 1) parse(': a comment to keep the connection open\n');
    parse(`data: ${'x'.repeat(80)}`);
    expect(() => parse('x'.repeat(80))).toThrow(RangeError);
  });
});

test('another node’s feed is used when it is named', async () => {
  const other = await startFakeWrit();
  other.feed.revoke({ subject: 'person-1', epoch: 4 });
  const verifier = await open({ feedUrl: `${other.issuer}/revocations` });
  expect(await codeOf(verifier.verify(fake.token()))).toBe('token_revoked');
  expect(await codeOf(verifier.verify(fake.token({}, {}, makeKey('key-1', 'ES256'))))).toBe('signature_invalid');
  expect(fake.seen('/revocations')).toEqual([]);
  await verifier.close();
  await other[Symbol.asyncDispose]();
});
