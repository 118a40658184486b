import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chain, genesis } from '../../src/audit/chain.ts';
import { createCounters } from '../../src/audit/counters.ts';
import type { Act, AuditEvent } from '../../src/domain/audit/append.ts';
import { columnsOf, compose, macOf, readBody } from '../../src/domain/audit/compose.ts';

const macKey = randomBytes(32);
const act: Act = {
  node: { id: randomUUID(), macKey },
  by: { type: 'agent', id: randomUUID() },
  requestId: 'r1',
  from: '192.0.2.1',
};
const at = new Date('2026-11-25T07:41:00.123Z');

const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const text = fc.string({ unit: 'binary' });
const event: fc.Arbitrary<AuditEvent> = fc
  .record({
    kind: fc.constantFrom('token.issued', 'token.refused', 'agent.created'),
    outcome: fc.constantFrom('done', 'refused'),
    agent: optional(fc.oneof(fc.uuid(), text)),
    person: optional(fc.oneof(fc.uuid(), text)),
    intent: optional(text),
    jti: optional(text),
    expiresAt: optional(fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('2100-01-01') })),
    dependsOn: optional(fc.array(text)),
    reason: optional(text),
    details: optional(fc.dictionary(text, fc.jsonValue())),
  })
  .map((members) => Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as never);

describe('an entry', () => {
  it('has its members in one order, and leaves out what the event lacks', () => {
    const row = compose(act, 7, at, {
      details: { a: 1 },
      reason: 'because',
      jti: 'j',
      outcome: 'done',
      kind: 'token.issued',
      expiresAt: new Date('2026-11-25T07:46:00Z'),
    });
    expect(row.body).toBe(
      `{"node":"${act.node.id}","counter":7,"at":"2026-11-25T07:41:00.123Z","kind":"token.issued",` +
        `"by":{"type":"agent","id":"${act.by.id}"},"from":"192.0.2.1","requestId":"r1","outcome":"done","jti":"j",` +
        `"expiresAt":"2026-11-25T07:46:00.000Z","reason":"because","details":{"a":1}}`,
    );
    expect(row.mac).toEqual(createHmac('sha256', macKey).update(row.body).digest());
  });

  it('reads back as what was recorded, and its columns follow from its body alone', () => {
    fc.assert(
      fc.property(event, fc.integer({ min: 1 }), (one, counter) => {
        const { body, mac, ...columns } = compose(act, counter, at, one);
        const read = readBody(body);
        expect(read).toEqual(
          JSON.parse(
            JSON.stringify({ node: act.node.id, counter, at, by: act.by, from: act.from, requestId: 'r1', ...one }),
          ),
        );
        expect(read && columnsOf(read)).toEqual(columns);
        expect(mac).toHaveLength(32);
      }),
    );
  });

  it('is another text for another event, counter, instant or act', () => {
    fc.assert(
      fc.property(event, event, (a, b) => {
        fc.pre(JSON.stringify(a) !== JSON.stringify(b));
        const [left, right] = [compose(act, 1, at, a), compose(act, 1, at, b)];
        const same = (x: AuditEvent) => JSON.stringify(Object.entries(x).sort(([k], [l]) => (k < l ? -1 : 1)));
        expect(left.body === right.body).toBe(same(a) === same(b));
      }),
    );
    const one: AuditEvent = { kind: 'token.issued', outcome: 'done' };
    const bodies = [
      compose(act, 1, at, one),
      compose(act, 2, at, one),
      compose(act, 1, new Date(0), one),
      compose({ ...act, from: null }, 1, at, one),
      compose({ ...act, requestId: 'r2' }, 1, at, one),
      compose({ ...act, by: { ...act.by, type: 'system' } }, 1, at, one),
      compose({ ...act, node: { id: randomUUID(), macKey } }, 1, at, one),
    ].map((row) => row.body);
    expect(new Set(bodies).size).toBe(bodies.length);
  });

  it('has another MAC and another hash when any byte of its body is another', () => {
    fc.assert(
      fc.property(event, fc.nat(), fc.integer({ min: 1, max: 127 }), (one, where, flip) => {
        const row = compose(act, 1, at, one);
        const bytes = Buffer.from(row.body, 'utf8');
        const place = where % bytes.length;
        bytes[place] = (bytes[place] ?? 0) ^ flip;
        const changed = bytes.toString('utf8');
        fc.pre(Buffer.from(changed, 'utf8').equals(bytes));
        expect(macOf(macKey, changed)).not.toEqual(row.mac);
        expect(chain(genesis, { ...row, body: changed }).hash).not.toEqual(chain(genesis, row).hash);
      }),
    );
  });

  it('cannot lend bytes of its body to its MAC', () => {
    const whole = chain(genesis, { body: '{"a":1}x', mac: Buffer.from('mac') });
    const moved = chain(genesis, { body: '{"a":1}', mac: Buffer.from('xmac') });
    expect(whole.hash).not.toEqual(moved.hash);
  });

  it.each(['', 'null', '[]', '"x"', '{', '{"node":1}'])('reads no body from %j', (broken) => {
    expect(readBody(broken)).toBeNull();
  });
});

describe('counters', () => {
  it('any order without a gap is whole, and what was left out is named', () => {
    const length = 12;
    fc.assert(
      fc.property(
        fc.shuffledSubarray(
          Array.from({ length }, (_, index) => index + 1),
          { minLength: 1 },
        ),
        (order) => {
          const counters = createCounters();
          for (const [index, counter] of order.entries()) expect(counters.see('n', counter, index + 1)).toBe(true);
          const missing = counters.gaps().flatMap(({ from, to }) => {
            return Array.from({ length: to - from + 1 }, (_, index) => from + index);
          });
          const top = Math.max(...order);
          expect(counters.last('n')).toBe(top);
          const expected = Array.from({ length: top }, (_, index) => index + 1).filter((one) => !order.includes(one));
          expect(missing.sort((a, b) => a - b)).toEqual(expected);
          for (const counter of order) expect(counters.see('n', counter, 99)).toBe(false);
        },
      ),
    );
  });
});
