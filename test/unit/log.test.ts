import { expect, test } from 'vitest';
import { createLogger, type Logger } from '../../src/platform/http/log.ts';

/** What a logger writes while `work` uses it. */
function record(work: (log: Logger) => void): string {
  let text = '';
  const write = (line: string): void => {
    text += line;
  };
  work(createLogger('debug', { write }));
  return text;
}

const jwt = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZ2VudCJ9.c2lnbmF0dXJl';
const secret = 'hunter2-hunter2';

test.each<[string, (log: Logger) => void]>([
  ['a member', (log) => log.info({ client_secret: secret })],
  ['in camel case, deep inside', (log) => log.info({ a: { b: [{ clientSecret: secret }] } }, 'x')],
  ['a header', (log) => log.info({ headers: new Headers({ Authorization: `Basic ${secret}` }) }, 'x')],
  ['a plain header', (log) => log.info({ headers: { authorization: secret, 'set-cookie': secret } }, 'x')],
  ['an assertion', (log) => log.info({ client_assertion: secret, subject_token: secret, password: secret }, 'x')],
  ['the message', (log) => log.info(`sent Bearer ${secret}`)],
  ['a value of the message', (log) => log.info('sent %s', `Bearer ${secret}`)],
  ['a URL', (log) => log.info({ url: `postgres://writ:${secret}@host/db` }, `postgres://writ:${secret}@host/db`)],
  ['an error', (log) => log.error(new Error(`Basic ${secret}`))],
  ['an error without a message', (log) => log.error({ err: new Error(`Basic ${secret}`) })],
  ['the cause of an error', (log) => log.error({ err: new Error('x', { cause: new Error(`DPoP ${secret}`) }) }, 'x')],
  ['a statement’s values', (log) => log.error({ err: new Error(`Failed query: select $1\nparams: ${secret},2`) }, 'x')],
  [
    'a value that does not fit',
    (log) => log.error({ err: Object.assign(new Error(`invalid input: "${secret}"`), { code: '22P02' }) }, 'x'),
  ],
  ['the row of a broken rule', (log) => log.error({ err: Object.assign(new Error('x'), { detail: secret }) }, 'x')],
  ['a child', (log) => log.child({ requestId: 'r' }).warn({ token: secret }, 'x')],
])('no secret gets into the log by %s', (_way, work) => {
  const text = record(work);
  expect(text).not.toBe('');
  expect(text).not.toContain(secret);
});

test('tokens are cut out of every text', () => {
  const text = record((log) => log.info({ path: `/x?token=${jwt}`, list: [jwt] }, `got ${jwt}.`));
  expect(text).not.toContain(jwt.slice(0, 20));
  expect(JSON.parse(text)).toMatchObject({
    path: '/x?token=[token]',
    list: ['[token]'],
    msg: expect.stringMatching(/^got \[token]/),
  });
});

test('what explains a fault stays', () => {
  const cause = Object.assign(new Error('duplicate key'), { code: '23505', constraint_name: 'agents_name' });
  const text = record((log) =>
    log.child({ requestId: 'r1' }).error({ err: new Error('Failed query: x', { cause }) }, 'failed'),
  );
  expect(JSON.parse(text)).toMatchObject({
    level: 'error',
    requestId: 'r1',
    msg: 'failed',
    err: {
      message: 'Failed query: x',
      stack: expect.stringContaining('log.test'),
      cause: { message: 'duplicate key', code: '23505', constraint_name: 'agents_name' },
    },
  });
});

test('what cannot be written does no harm', () => {
  const loop: Record<string, unknown> = { big: 10n, bytes: new Uint8Array(1000), at: new Date(Number.NaN) };
  loop.self = loop;
  expect(JSON.parse(record((log) => log.info(loop, 'x')))).toMatchObject({ big: '10', bytes: '[1000 bytes]' });
});
