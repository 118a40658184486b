import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { CompactSign } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CannedAnswer, type CannedApi, listOf, makeFolder, runCli, startCannedApi } from '../support/cli.ts';

const issuer = 'https://writ.example.com';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256', use: 'sig' }] };
const person = { id: '90000000-0000-4000-8000-000000000000', userName: 'maria@example.com' };
const receipt = {
  id: '70000000-0000-4000-8000-000000000000',
  person,
  agents: [{ id: '10000000-0000-4000-8000-000000000000', name: 'crm-triage' }],
  request: {
    directory: { id: '50000000-0000-4000-8000-000000000000', name: 'okta' },
    method: 'PATCH',
    requestId: 'r-1',
  },
  requestedAt: '2026-11-25T12:00:00.000Z',
  committedAt: '2026-11-25T12:00:00.043Z',
  answeredAt: '2026-11-25T12:00:00.045Z',
  tokensUnexpired: 12,
  acknowledgements: [{ verifier: 'crm-1', seq: 42, at: '2026-11-25T12:00:00.104Z' }],
};
const sign = (payload: object, typ = 'writ-receipt+jwt') =>
  new CompactSign(new TextEncoder().encode(JSON.stringify(payload)))
    .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ })
    .sign(privateKey);

let api: CannedApi;
beforeAll(async () => {
  api = await startCannedApi({});
});
beforeEach(() => {
  api.requests.length = 0;
  api.routes = {
    'GET /.well-known/oauth-authorization-server': () => ({ body: { issuer, jwks_uri: `${api.url}/oauth/jwks` } }),
    'GET /oauth/jwks': () => ({ body: jwks }),
  };
});
afterAll(() => api[Symbol.asyncDispose]());

describe('audit verify', () => {
  const verify = (state: string, answer: CannedAnswer['body']) => {
    api.routes['POST /api/v1/audit/verify'] = () => ({ body: answer });
    return runCli(['audit', 'verify'], { env: { WRIT_URL: api.url, XDG_STATE_HOME: state } });
  };
  const sent = () => api.requests.filter((request) => request.method === 'POST').map((request) => request.body);

  test('keeps the checkpoint and sends it the next time', async () => {
    using folder = makeFolder();
    const first = await verify(folder.path, {
      ok: true,
      entries: 10,
      checkpoint: { number: 10, hash: 'aa', jws: 'x' },
    });
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(first.stdout).toContain('whole: 10 entries');
    expect(first.stdout).toContain('First check from here');
    const file = folder.file('writ/checkpoints.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(file, 'utf8'))[issuer]).toMatchObject({ number: 10, hash: 'aa' });
    const second = await verify(folder.path, { ok: true, entries: 12, checkpoint: { number: 12, hash: 'bb' } });
    expect(second.stdout).toContain('still holds checkpoint 10');
    expect(sent()).toEqual([{}, { checkpoint: { number: 10, hash: 'aa' } }]);
    expect(JSON.parse(readFileSync(file, 'utf8'))[issuer]).toMatchObject({ number: 12, hash: 'bb' });
  });

  test.each([
    [{ ok: false, entries: 9, firstBad: { number: 4, why: 'edited' } }, 'first bad entry: 4: edited'],
    [{ ok: true, entries: 8, checkpoint: { number: 8, hash: 'zz' } }, 'ends before checkpoint 10'],
    [{ ok: true, entries: 8 }, 'ends before checkpoint 10'],
    [{ ok: true, entries: 10, checkpoint: { number: 10, hash: 'zz' } }, 'it was rewritten'],
  ])('%j: exit code 6, and what was seen before is not forgotten', async (answer, sentence) => {
    using folder = makeFolder();
    await verify(folder.path, { ok: true, entries: 10, checkpoint: { number: 10, hash: 'aa' } });
    const { code, stderr } = await verify(folder.path, answer);
    expect(code).toBe(6);
    expect(stderr).toContain(sentence);
    expect(JSON.parse(readFileSync(folder.file('writ/checkpoints.json'), 'utf8'))[issuer].number).toBe(10);
  });

  test('a damaged file of checkpoints is an error, not a fresh start', async () => {
    using folder = makeFolder();
    await verify(folder.path, { ok: true, entries: 10, checkpoint: { number: 10, hash: 'aa' } });
    writeFileSync(folder.file('writ/checkpoints.json'), '{');
    const { code, stderr } = await verify(folder.path, { ok: true, entries: 1, checkpoint: { number: 1, hash: 'cc' } });
    expect(code).toBe(2);
    expect(stderr).toContain('is damaged');
  });
});

describe('offboardings show', () => {
  test('a page with the spans between the instants, found by the person', async () => {
    api.routes['GET /api/v1/people'] = () => listOf([{ ...person, deletedAt: '2026-11-25T12:00:00.000Z' }]);
    api.routes['GET /api/v1/offboardings'] = () => listOf([receipt]);
    api.routes[`GET /api/v1/offboardings/${receipt.id}`] = () => ({ body: receipt });
    const { code, stdout } = await runCli(['offboardings', 'show', '--person', 'Maria@example.com'], {
      env: { WRIT_URL: api.url },
    });
    expect(code).toBe(0);
    expect(stdout).toContain(`Person     maria@example.com (${person.id})`);
    expect(stdout).toContain('Request    PATCH by directory okta, request r-1');
    expect(stdout).toContain('Committed  2026-11-25T12:00:00.043Z  + 43 ms');
    expect(stdout).toContain('Answered   2026-11-25T12:00:00.045Z  + 2 ms');
    expect(stdout).toContain('12 still unexpired');
    expect(stdout).toMatch(/crm-1 +42 +2026-11-25T12:00:00.104Z +\+ 61 ms/);
  });
});

describe('receipt verify', () => {
  const verify = (file: string, ...more: string[]) =>
    runCli(['receipt', 'verify', file, ...more], { env: { WRIT_URL: api.url, WRIT_ADMIN_TOKEN: '' } });

  test('needs the published keys and no credential; a kept key set makes it work offline', async () => {
    using folder = makeFolder();
    writeFileSync(
      folder.file('receipt.json'),
      JSON.stringify({ ...receipt, jws: await sign({ iss: issuer, ...receipt }) }),
    );
    const online = await verify(folder.file('receipt.json'));
    expect(online).toMatchObject({ code: 0, stderr: '' });
    expect(online.stdout).toContain(`The signature is good: ${issuer} signed this.`);
    expect(api.requests.every((request) => request.headers.authorization === undefined)).toBe(true);
    api.requests.length = 0;
    writeFileSync(folder.file('jwks.json'), JSON.stringify(jwks));
    expect((await verify(folder.file('receipt.json'), '--jwks', folder.file('jwks.json'))).code).toBe(0);
    expect(api.requests).toEqual([]);
  });

  test('another JWT, another issuer, another text beside it, a broken signature: exit code 6', async () => {
    using folder = makeFolder();
    const good = await sign({ iss: issuer, ...receipt });
    const cases: [content: string, why: string][] = [
      [await sign({ iss: issuer, ...receipt }, 'at+jwt'), 'no receipt'],
      [await sign({ iss: 'https://evil.example', ...receipt }), 'signed by https://evil.example'],
      [JSON.stringify({ ...receipt, person: { ...person, userName: 'joe' }, jws: good }), '"person"'],
      [good.replace(/\.[^.]+\./, `.${Buffer.from('{}').toString('base64url')}.`), 'signature does not fit'],
    ];
    for (const [content, why] of cases) {
      writeFileSync(folder.file('receipt'), content);
      const { code, stderr } = await verify(folder.file('receipt'));
      expect({ code, stderr }).toEqual({ code: 6, stderr: expect.stringContaining(why) });
    }
  });
});
