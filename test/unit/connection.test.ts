import { describe, expect, test } from 'vitest';
import { constraintName, isOutage, sqlState } from '../../src/platform/db/client.ts';
import { mendStartup, startupPadding } from '../../src/platform/db/startup.ts';
import { parseTls } from '../../src/platform/db/tls.ts';

function startup(parameters: Record<string, string>): Buffer {
  const text = Object.entries(parameters)
    .map(([name, value]) => `${name}\0${value}\0`)
    .join('');
  const body = Buffer.concat([Buffer.from([0, 3, 0, 0]), Buffer.from(text), Buffer.from([0])]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length + 4);
  return Buffer.concat([length, body]);
}

describe('mendStartup', () => {
  const plain = startup({ user: 'writ', database: 'writ', application_name: 'writ' });
  const padded = startup({ user: 'writ', database: 'writ', ...startupPadding, application_name: 'writ' });

  test('takes the padding out, and what an earlier connection left before it', () => {
    expect(mendStartup(padded)).toEqual(plain);
    expect(mendStartup(Buffer.concat([Buffer.from('Q\0\0\0\x0dselect 1\0'), padded]))).toEqual(plain);
    expect(mendStartup(Buffer.concat([padded, padded]))).toEqual(plain);
  });

  test('leaves everything else as it is', () => {
    const cancel = Buffer.from([0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2]);
    for (const bytes of [cancel, plain, Buffer.alloc(0), Buffer.concat([padded, cancel])]) {
      expect(mendStartup(bytes)).toBe(bytes);
    }
  });
});

describe('parseTls', () => {
  const address = 'postgres://u:p%40w@one:5432,two:5433/writ';

  test.each([
    [address, address, undefined],
    [`${address}?sslmode=disable`, address, undefined],
    [`${address}?sslmode=require`, address, { rejectUnauthorized: false }],
    [`${address}?ssl=true`, address, { rejectUnauthorized: false }],
    [`${address}?sslmode=prefer`, address, { rejectUnauthorized: false }],
    [`${address}?sslmode=verify-full`, address, { rejectUnauthorized: true }],
    [`${address}?sslrootcert=system`, address, { rejectUnauthorized: true }],
    [
      `${address}?target_session_attrs=primary&sslmode=verify-ca`,
      `${address}?target_session_attrs=primary`,
      { rejectUnauthorized: true, checkServerIdentity: expect.any(Function) },
    ],
  ])('%s', (text, url, tls) => {
    expect(parseTls(text)).toEqual({ url, tls });
  });

  test('a certificate that cannot be read is an error, not plain text', () => {
    expect(() => parseTls(`${address}?sslmode=verify-full&sslrootcert=/nowhere.pem`)).toThrow(/nowhere/);
  });
});

describe('what went wrong', () => {
  const postgres = (code: string): Error => Object.assign(new Error('x'), { code, severity: 'ERROR' });
  const wrap = (cause: unknown): Error => new Error('Failed query', { cause: new Error('again', { cause }) });

  test.each(['08006', '53300', '57P01', '57014', '58030', 'XX000', '55P03', '40001', '40P01', '25006', '25P03'])(
    '%s is an outage',
    (code) => {
      expect(isOutage(wrap(postgres(code)))).toBe(true);
      expect(sqlState(wrap(postgres(code)))).toBe(code);
    },
  );

  test.each(['23505', '22P02', '42P01', '23514', 'P0001'])('%s is not', (code) => {
    expect(isOutage(wrap(postgres(code)))).toBe(false);
  });

  test.each(['ECONNREFUSED', 'EPIPE', 'CONNECT_TIMEOUT', 'CONNECTION_CLOSED', 'ERR_SOCKET_CLOSED'])(
    '%s is an outage without an SQLSTATE',
    (code) => {
      const error = wrap(Object.assign(new Error('x'), { code }));
      expect(isOutage(error)).toBe(true);
      expect(sqlState(error)).toBeUndefined();
    },
  );

  test('every address of a host that refused is one outage', () => {
    const refused = Object.assign(new Error('x'), { code: 'ECONNREFUSED' });
    expect(isOutage(wrap(new AggregateError([refused, refused])))).toBe(true);
  });

  test('anything else is a fault', () => {
    const loop: { cause?: unknown } = {};
    loop.cause = loop;
    for (const value of [undefined, null, 'text', 7, new TypeError('x'), {}, loop]) expect(isOutage(value)).toBe(false);
  });

  test('finds the constraint', () => {
    expect(constraintName(wrap(Object.assign(postgres('23505'), { constraint_name: 'one' })))).toBe('one');
    expect(constraintName(wrap(postgres('23505')))).toBeUndefined();
  });
});
