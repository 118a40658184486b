import { describe, expect, test } from 'vitest';
import { createPaint, displayWidth, renderRecord, renderTable, textOf } from '../../src/cli/print.ts';
import { describeSpan, parseInstant } from '../../src/cli/time.ts';

const plain = createPaint({ isTTY: false }, {});
const columns = [
  { title: 'ID', value: (row: Record<string, unknown>) => textOf(row.id), isKept: true },
  { title: 'NAME', value: (row: Record<string, unknown>) => textOf(row.name) },
  { title: 'STATUS', value: (row: Record<string, unknown>) => textOf(row.status), style: () => 'green' as const },
];
const rows = [
  { id: '0001', name: 'a name that is longer than the terminal is wide', status: 'active' },
  { id: '0002', name: '日本', status: 'suspended' },
];

describe('a table', () => {
  test('is aligned and, without a width, cut nowhere', () => {
    expect(renderTable(rows, columns, undefined, plain).split('\n')).toEqual([
      'ID    NAME                                             STATUS',
      '0001  a name that is longer than the terminal is wide  active',
      '0002  日本                                             suspended',
    ]);
  });

  test('fits a width by cutting what is longest, never what people copy', () => {
    const lines = renderTable(rows, columns, 40, plain).split('\n');
    expect(lines[1]).toBe('0001  a name that is longer …  active');
    expect(Math.max(...lines.map(displayWidth))).toBeLessThanOrEqual(40);
    expect(renderTable(rows, columns, 5, plain)).toContain('0001');
  });

  test('shows control characters instead of obeying them', () => {
    const [, line] = renderTable([{ id: '1', name: '\u001b[2Jgone\nnext' }], columns, undefined, plain).split('\n');
    expect(line).toContain('\\u001b[2Jgone\\u000anext');
  });

  test('has colours on a terminal only, and not with NO_COLOR', () => {
    const onTerminal = (env: NodeJS.ProcessEnv) => renderTable(rows, columns, 80, createPaint({ isTTY: true }, env));
    expect(onTerminal({})).toContain('\u001b[32mactive');
    expect(onTerminal({ NO_COLOR: '1' })).not.toContain('\u001b');
    expect(renderTable(rows, columns, 80, plain)).not.toContain('\u001b');
  });
});

test('a record is a line each member: references by name and id, members of members to copy one by one', () => {
  const record = {
    live: false,
    owner: { id: 'p1', userName: 'maria' },
    intents: [],
    expiresAt: null,
    credential: { jwks: { keys: [{ kty: 'EC', kid: 'k1' }] } },
    feedCredentials: { clientId: 'c1', clientSecret: 's1' },
  };
  expect(renderRecord(record, plain).split('\n')).toEqual([
    'live                            no',
    'owner                           maria (p1)',
    'intents                         -',
    'expires at                      -',
    'credential jwks                 keys=k1',
    'feed credentials client id      c1',
    'feed credentials client secret  s1',
  ]);
});

describe('instants and spans', () => {
  const now = new Date('2026-11-25T12:00:00Z');

  test.each([
    ['90d', 'ahead', '2027-02-23T12:00:00.000Z'],
    ['24h', 'ago', '2026-11-24T12:00:00.000Z'],
    ['2027-01-31', 'ahead', '2027-01-31T00:00:00.000Z'],
    ['2027-01-31T12:00:00+02:00', 'ahead', '2027-01-31T10:00:00.000Z'],
  ] as const)('%s %s', (text, direction, expected) => {
    expect(parseInstant(text, now, direction)).toBe(expected);
  });

  test.each(['tomorrow', '2027-01-31T12:00:00', '90 d', '-1d', '2027-02-31T99:00:00Z'])('%s is refused', (text) => {
    expect(() => parseInstant(text, now, 'ahead')).toThrow(/is no instant/);
  });

  test.each([
    [43, '43 ms'],
    [1_240, '1.2 s'],
    [298_000, '4 min 58 s'],
    [3_600_000, '1 h'],
    [1_051_200_000, '12 d 4 h'],
  ])('%i ms are %s', (ms, expected) => {
    expect(describeSpan(ms)).toBe(expected);
  });
});
