import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { SignJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type CannedAnswer, type CannedApi, makeFolder, runCli, startCannedApi } from '../support/cli.ts';

const agent = '22222222-2222-4222-8222-222222222222';
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const claims = {
  iss: 'x',
  aud: 'https://crm.example.com',
  sub: agent,
  client_id: agent,
  iat: 1,
  exp: 301,
  jti: 'j-1',
  authorization_details: [],
  human_owner_id: 'p-1',
  epochs: {},
  agent: { name: 'crm-triage', environment: 'production', trust: 2 },
};

let api: CannedApi;
let accessToken: string;
let answer: CannedAnswer;
beforeAll(async () => {
  accessToken = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'k' })
    .sign(privateKey);
  api = await startCannedApi({
    'GET /.well-known/oauth-authorization-server': () => ({
      body: { issuer: api.url, jwks_uri: `${api.url}/oauth/jwks`, token_endpoint: `${api.url}/oauth/token` },
    }),
    'POST /oauth/token': () => answer,
  });
});
beforeEach(() => {
  api.requests.length = 0;
  answer = { body: { access_token: accessToken, token_type: 'Bearer', expires_in: 300 } };
});
afterAll(() => api[Symbol.asyncDispose]());

const token = (args: string[], env: Record<string, string> = {}) =>
  runCli(['token', '--client-id', agent, '--resource', 'https://crm.example.com', ...args], {
    env: { WRIT_URL: api.url, WRIT_ADMIN_TOKEN: '', ...env },
  });

test('tells the token as a story, prints header and payload, or the token alone', async () => {
  using folder = makeFolder();
  writeFileSync(folder.file('key.jwk'), JSON.stringify(privateKey.export({ format: 'jwk' })));
  const key = ['--key', folder.file('key.jwk')];
  const story = await token([...key, '--intent', 'crm.ticket_read', '--action', 'read', '--identifier', 'INC-1']);
  expect(story).toMatchObject({ code: 0, stderr: '' });
  expect(story.stdout).toMatch(/^Who +crm-triage, an agent in production/);
  const form = new URLSearchParams(String(api.requests.at(-1)?.body));
  expect(form.get('client_assertion')).toMatch(/^ey/);
  expect(JSON.parse(form.get('authorization_details') ?? '')).toMatchObject([
    { task_intent: 'crm.ticket_read', actions: ['read'], identifier: 'INC-1' },
  ]);
  const json = JSON.parse((await token([...key, '--json'])).stdout);
  expect(json).toEqual({ header: { alg: 'ES256', typ: 'at+jwt', kid: 'k' }, payload: claims });
  expect((await token([...key, '--raw'])).stdout).toBe(`${accessToken}\n`);
});

test('a secret comes from the environment or a file, never from the command line', async () => {
  expect((await token(['--raw'], { WRIT_CLIENT_SECRET: 's3cret' })).code).toBe(0);
  expect(api.requests.at(-1)?.headers.authorization).toBe(`Basic ${Buffer.from(`${agent}:s3cret`).toString('base64')}`);
  const { stdout } = await runCli(['token', '--help']);
  expect(stdout).not.toMatch(/--secret /);
});

test.each([
  [
    400,
    { error: 'access_denied', reason: 'approval_required', error_uri: 'https://writ.example/ask' },
    1,
    'takes no approvals yet: ask for read actions only; see https://writ.example/ask',
  ],
  [
    400,
    { error: 'access_denied', reason: 'owner_inactive', error_description: 'The owner has left.' },
    1,
    'agents transfer',
  ],
  [401, { error: 'invalid_client' }, 3, 'Check --client-id'],
])('a refusal (%i %j) says what to do next', async (status, body, exitCode, sentence) => {
  answer = { status, body };
  const { code, stdout, stderr } = await token([], { WRIT_CLIENT_SECRET: 's3cret' });
  expect({ code, stdout }).toEqual({ code: exitCode, stdout: '' });
  expect(stderr).toContain(sentence);
  expect(stderr).not.toContain('s3cret');
});
