/** The doctor: an administrator finds out why an IdP's users do not come or go, and rehearses all that its connector sends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { doctorKinds } from '../../src/cli/doctor/habits.ts';
import { directoryKinds } from '../../src/domain/people/directories.ts';
import { type CliResult, runCli } from '../support/cli.ts';
import { awaitScrape } from '../support/metrics.ts';
import { adminToken, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

const launcher = fileURLToPath(new URL('../../src/cli/writ.js', import.meta.url));

let writ: TestWrit;
const tokens = new Map<string, string>();
beforeAll(async () => {
  writ = await startWrit();
  for (const kind of directoryKinds) {
    const { body } = await writ.admin('POST', '/directories', { name: `my ${kind}`, kind });
    tokens.set(kind, body.scimToken);
    await scim(kind, 'GET', '/Users');
  }
});
afterAll(() => writ.close());

const cli = (args: string[], env: Record<string, string> = {}): Promise<CliResult> =>
  runCli(['directories', ...args], { env: { WRIT_URL: writ.url, WRIT_ADMIN_TOKEN: adminToken, ...env } });
const scim = (kind: string, method: string, path: string, body?: object) =>
  fetch(`${writ.url}/scim/v2${path}`, {
    method,
    headers: { authorization: `Bearer ${tokens.get(kind)}`, 'content-type': 'application/scim+json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const usersLeft = async (kind: string): Promise<unknown> =>
  (await readAnswer(await scim(kind, 'GET', '/Users'))).body.totalResults;

describe('the self-test', () => {
  test('plays every kind there is', () => {
    expect([...doctorKinds].sort()).toEqual([...directoryKinds].sort());
  });

  test.each([...directoryKinds.map((kind) => [kind, []] as const), ['okta', ['--put-only']] as const])(
    '%s %j: every step passes, and nobody is left behind',
    async (kind, more) => {
      const env = { WRIT_SCIM_TOKEN: tokens.get(kind) ?? '' };
      const { code, stdout, stderr } = await cli(['doctor', `my ${kind}`, '--self-test', ...more], env);
      expect({ code, bad: stdout.split('\n').filter((line) => line.includes('✗')), stderr }).toEqual({
        code: 0,
        bad: [],
        stderr: expect.stringMatching(new RegExp(`^${kind}: all \\d\\d steps passed`)),
      });
      expect(stdout.split('\n').filter((line) => /^✓ +\d+ ms {2}\w/.test(line)).length).toBeGreaterThanOrEqual(15);
      expect(await usersLeft(kind)).toBe(0);
    },
  );

  test('with a temporary token: the one of the IdP stays as it is', async () => {
    const { code, stdout } = await cli(['doctor', 'my entra', '--self-test', '--temporary-token', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).every(({ ok }: { ok: boolean }) => ok)).toBe(true);
    expect((await scim('entra', 'GET', '/Users')).status).toBe(200);
    const { body } = await writ.admin('GET', '/audit?kind=directory.token_added');
    expect(body.items).toHaveLength(1);
  });

  test('exit code 1 and the first thing that is wrong, when a step fails', async () => {
    const { code, stdout, stderr } = await cli(['doctor', 'my okta', '--self-test', '--token', 'nobodys']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^✗ +\d+ ms {2}test connection: reads a page of users: 401 came back, and not 200/);
    expect(stderr).toContain('401 came back');
  });

  test.each([
    [['--self-test'], 'needs a token'],
    [['--self-test', '--kind', 'ldap', '--temporary-token'], 'is no kind of directory'],
    [['--self-test', '--scim-url', 'ldap://x', '--temporary-token'], 'no SCIM address'],
  ])('%j is wrong usage', async (args, why) => {
    const { code, stderr } = await cli(['doctor', 'my okta', ...args]);
    expect(code).toBe(2);
    expect(stderr).toContain(why);
  });
});

describe('what an administrator sees', () => {
  test('the state of a directory, what was refused and what was left aside', async () => {
    const { body: made } = await readAnswer(
      await scim('google', 'POST', '/Users', { userName: 'ada@example.com', shoeSize: 44 }),
    );
    await scim('google', 'PATCH', `/Users/${made.id}`, { Operations: [{ op: 'replace', path: '[', value: 1 }] });
    await awaitRequests('google', ({ status }) => status === 400);
    const { code, stdout } = await cli(['doctor', 'my google']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^directory +my google /m);
    expect(stdout).toMatch(/^last contact +\S+Z \(.* ago\)$/m);
    expect(stdout).toMatch(/^left aside +.*shoeSize \(1\)/m);
    expect(stdout).toMatch(/PATCH +\/Users\/\S+ +400 +invalidPath/);
    expect(stdout).toMatch(/^! \d+ of the last \d+ requests were refused or failed/m);
  });

  test('of one that was never connected', async () => {
    await writ.admin('POST', '/directories', { name: 'new', kind: 'generic' });
    expect((await cli(['doctor', 'new'])).stdout).toContain('It has never sent a request');
  });

  test('the last requests, newest first, as a table and as JSON', async () => {
    await awaitRequests('rippling', () => true);
    const { stdout } = await cli(['requests', 'my rippling', '--limit', '3']);
    expect(stdout.split('\n')[0]).toMatch(/^TIME +METHOD +PATH +STATUS +EFFECT +IGNORED$/);
    expect(stdout.trimEnd().split('\n')).toHaveLength(4);
    const rows = JSON.parse((await cli(['requests', 'my rippling', '--json'])).stdout);
    expect(rows[0]).toMatchObject({ method: expect.any(String), tookMs: expect.any(Number), status: 200 });
    expect(rows.every(({ id }: { id: number }, at: number) => at === 0 || id < rows[at - 1].id)).toBe(true);
  });

  test('followed, those that come are shown as they come', async () => {
    const args = ['directories', 'requests', 'my jumpcloud', '--follow', '--json', '--limit', '1'];
    const child = spawn(process.execPath, [launcher, ...args], {
      env: { PATH: process.env.PATH ?? '', WRIT_URL: writ.url, WRIT_ADMIN_TOKEN: adminToken },
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toContain('"method"');
    await scim('jumpcloud', 'GET', '/Groups?count=7');
    expect(JSON.parse((await lines.next()).value ?? '')).toMatchObject({ path: '/Groups?count=7', effect: 'read' });
    child.kill();
    await once(child, 'close');
  });

  test('directories tell of their last contact and of the end of their tokens', async () => {
    const { body } = await writ.admin('GET', '/directories');
    const [okta] = body.items.filter(({ name }: { name: string }) => name === 'my okta');
    expect(okta).toMatchObject({ lastContactAt: expect.any(String), silentSince: null });
    expect(okta.tokens).toEqual([{ createdAt: expect.any(String), expiresAt: null }]);
  });
});

test('silence raises an alarm in the metrics and ends with the next request', async () => {
  const [{ id }] = (await writ.admin('GET', '/directories')).body.items.filter(
    ({ name }: { name: string }) => name === 'my ping',
  );
  await awaitRequests('ping', () => true);
  const { default: postgres } = await import('postgres');
  const sql = postgres(writ.databaseUrl, { max: 1 });
  await sql`update directories set silence_after_seconds = 60, last_contact_at = clock_timestamp() - interval '2 minutes' where id = ${id}`;
  const found = await awaitScrape(writ.url, ({ sum }) => sum('writ_directories_silent') === 1);
  expect(found.sum('writ_directory_contact_age_seconds')).toBeGreaterThan(100);
  await scim('ping', 'GET', '/Users');
  await awaitScrape(writ.url, ({ sum }) => sum('writ_directories_silent') === 0);
  await sql.end();
  for (const kind of ['directory.silent', 'directory.heard_again']) {
    expect((await writ.admin('GET', `/audit?kind=${kind}`)).body.items).toHaveLength(1);
  }
});

/** Requests are recorded a second after their answer. */
async function awaitRequests(kind: string, isOne: (request: { status: number }) => boolean): Promise<void> {
  const { body } = await writ.admin('GET', '/directories');
  const { id } = body.items.find(({ name }: { name: string }) => name === `my ${kind}`);
  const isThere = async () => (await writ.admin('GET', `/directories/${id}/requests`)).body.items.some(isOne);
  await expect.poll(isThere, { timeout: 10_000 }).toBe(true);
}
