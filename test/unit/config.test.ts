import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConfigError, type Environment, readConfig } from '../../src/config.ts';
import { resolveSecretFile } from '../../src/platform/keys/secret-file.ts';

const kek = randomBytes(32).toString('base64');
const remote = { WRIT_ISSUER: 'https://writ.example.com', WRIT_KEK: kek };

function problems(env: Environment): readonly string[] {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('readConfig', () => {
  test('needs nothing to be tried', () => {
    expect(readConfig({})).toEqual({
      port: 8080,
      host: '127.0.0.1',
      issuer: 'http://localhost:8080',
      isLocal: true,
      dataDir: '.writ',
      logLevel: 'info',
      poolSize: 10,
      workers: 1,
      rates: { client: 0, directory: 0, failures: 50 },
      drainSeconds: 0,
    });
  });

  test("needs no issuer at http's own port", () => {
    expect(readConfig({ PORT: '80' }).issuer).toBe('http://localhost');
  });

  test('reads everything', () => {
    const config = readConfig({
      PORT: '443',
      HOST: '0.0.0.0',
      WRIT_ISSUER: 'https://id.example.com/writ',
      DATABASE_URL: 'postgres://writ:secret@db.example.com:5432/writ?sslmode=verify-full',
      WRIT_DATA_DIR: '/var/lib/writ',
      WRIT_KEK: kek,
      WRIT_ADMIN_TOKEN: 'a'.repeat(32),
      WRIT_METRICS_TOKEN: 'm'.repeat(16),
      WRIT_LOG_LEVEL: 'debug',
      WRIT_WORKERS: '4',
      WRIT_POOL_SIZE: '20',
      WRIT_RATE_CLIENT: '100',
      WRIT_RATE_DIRECTORY: '50',
      WRIT_RATE_FAILURES: '5',
    });
    expect(config).toEqual({
      port: 443,
      host: '0.0.0.0',
      issuer: 'https://id.example.com/writ',
      isLocal: false,
      databaseUrl: 'postgres://writ:secret@db.example.com:5432/writ?sslmode=verify-full',
      dataDir: '/var/lib/writ',
      kek: Buffer.from(kek, 'base64'),
      adminToken: 'a'.repeat(32),
      metricsToken: 'm'.repeat(16),
      logLevel: 'debug',
      poolSize: 20,
      workers: 4,
      rates: { client: 100, directory: 50, failures: 5 },
      drainSeconds: 5,
    });
  });

  test('empty variables count as absent', () => {
    expect(readConfig({ PORT: '', WRIT_ISSUER: '', DATABASE_URL: '', WRIT_KEK: '', WRIT_ADMIN_TOKEN: '' })).toEqual(
      readConfig({}),
    );
  });

  test('reports every problem at once', () => {
    const found = problems({
      PORT: '70000',
      WRIT_ISSUER: 'http://writ.example.com/',
      WRIT_ADMIN_TOKEN: 'short',
      WRIT_METRICS_TOKEN: 'short',
      DATABASE_URL: 'mysql://x',
      WRIT_LOG_LEVEL: 'loud',
      WRIT_POOL_SIZE: '0',
    });
    const variables = found.map((problem) => problem.split(' ')[0]).sort();
    expect(variables).toEqual([
      'DATABASE_URL',
      'PORT',
      'WRIT_ADMIN_TOKEN',
      'WRIT_ISSUER',
      'WRIT_ISSUER',
      'WRIT_KEK',
      'WRIT_LOG_LEVEL',
      'WRIT_METRICS_TOKEN',
      'WRIT_POOL_SIZE',
    ]);
    expect(() => readConfig({ PORT: 'x' })).toThrow(/cannot start[\s\S]*- PORT has to be a whole number/);
  });

  test.each([
    ['plain http elsewhere', { ...remote, WRIT_ISSUER: 'http://writ.example.com' }, /https/],
    ['plain http on all addresses', { ...remote, WRIT_ISSUER: 'http://0.0.0.0:8080' }, /https/],
    ['a host that only begins like loopback', { ...remote, WRIT_ISSUER: 'http://127.0.0.1.evil.example' }, /https/],
    ['user info', { ...remote, WRIT_ISSUER: 'https://user:pw@writ.example.com' }, /user info/],
    ['a query', { ...remote, WRIT_ISSUER: 'https://writ.example.com?a=1' }, /query/],
    ['an empty query', { ...remote, WRIT_ISSUER: 'https://writ.example.com/?' }, /query/],
    ['a fragment', { ...remote, WRIT_ISSUER: 'https://writ.example.com#a' }, /fragment/],
    ['another scheme', { ...remote, WRIT_ISSUER: 'javascript:1' }, /https URL/],
    ['no URL', { ...remote, WRIT_ISSUER: 'writ.example.com' }, /https URL/],
    [
      'a trailing slash',
      { ...remote, WRIT_ISSUER: 'https://writ.example.com/' },
      /write it as https:\/\/writ\.example\.com$/,
    ],
    ['capitals', { ...remote, WRIT_ISSUER: 'https://Writ.example.com' }, /write it as https:\/\/writ\.example\.com$/],
    ['a default port', { ...remote, WRIT_ISSUER: 'https://writ.example.com:443' }, /write it as/],
    ['no KEK', { WRIT_ISSUER: 'https://writ.example.com' }, /WRIT_KEK is needed/],
    ['a short KEK', { ...remote, WRIT_KEK: randomBytes(16).toString('base64') }, /32 bytes/],
    ['a long KEK', { ...remote, WRIT_KEK: randomBytes(33).toString('base64') }, /32 bytes/],
    ['a KEK in hex', { ...remote, WRIT_KEK: randomBytes(32).toString('hex') }, /32 bytes/],
    ['a KEK with a tail', { ...remote, WRIT_KEK: `${kek}\n` }, /32 bytes/],
    ['a malformed KEK at home', { WRIT_KEK: 'secret' }, /32 bytes/],
    ['a guessable admin token', { ...remote, WRIT_ADMIN_TOKEN: 'a'.repeat(31) }, /needs 32 characters/],
    ['a very guessable one at home', { WRIT_ADMIN_TOKEN: 'a'.repeat(7) }, /needs 8 characters/],
    ['a token with spaces', { WRIT_ADMIN_TOKEN: `${'a'.repeat(20)} b` }, /bearer token cannot have/],
    ['a port that is no number', { PORT: '80a' }, /PORT/],
    ['a negative port', { PORT: '-1' }, /PORT/],
    ['any port without an issuer', { PORT: '0' }, /WRIT_ISSUER is needed with PORT=0/],
    ['an address without a scheme', { DATABASE_URL: 'localhost:5432/writ' }, /DATABASE_URL/],
  ])('refuses %s', (_what, env, message) => {
    const found = problems(env);
    expect(found.join('\n')).toMatch(message);
    expect(found).toHaveLength(1);
  });

  test.each(['http://127.0.0.1:8080', 'http://[::1]:8080', 'http://localhost', 'https://localhost:8443/writ'])(
    'plain http and made-up secrets are fine on this machine: %s',
    (issuer) => {
      expect(readConfig({ WRIT_ISSUER: issuer, WRIT_ADMIN_TOKEN: 'a'.repeat(16) })).toMatchObject({
        issuer,
        isLocal: true,
      });
    },
  );

  test('never repeats a secret in its problems', () => {
    const secret = 'hunter2';
    const found = problems({ WRIT_KEK: secret, WRIT_ADMIN_TOKEN: secret, DATABASE_URL: `x://${secret}@host` });
    expect(found).toHaveLength(3);
    expect(found.join('\n')).not.toContain(secret);
  });

  test('several hosts of one database are allowed', () => {
    const databaseUrl = 'postgres://writ:pw@one:5432,two:5433/writ?target_session_attrs=primary';
    expect(readConfig({ DATABASE_URL: databaseUrl }).databaseUrl).toBe(databaseUrl);
  });
});

describe('resolveSecretFile', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'writ-secrets-'));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });
  const make = (): string => randomBytes(16).toString('hex');

  test('makes a secret once, for its owner alone', async () => {
    const first = await resolveSecretFile(join(directory, 'new'), 'kek', make);
    expect(first.isNew).toBe(true);
    expect((await stat(first.path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(directory, 'new'))).mode & 0o777).toBe(0o700);
    expect(await resolveSecretFile(join(directory, 'new'), 'kek', make)).toEqual({ ...first, isNew: false });
    expect((await readFile(first.path, 'utf8')).trim()).toBe(first.secret);
  });

  test('starts at the same time agree, and leave nothing beside it', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => resolveSecretFile(directory, 'raced', make)));
    expect(new Set(all.map(({ secret }) => secret)).size).toBe(1);
    expect(all.filter(({ isNew }) => isNew)).toHaveLength(1);
    expect((await readdir(directory)).filter((name) => name.startsWith('raced'))).toEqual(['raced']);
  });

  test.each([0o640, 0o604, 0o660])('refuses a file that others can get at: %o', async (mode) => {
    const path = join(directory, `open-${mode}`);
    await writeFile(path, 'secret');
    await chmod(path, mode);
    await expect(resolveSecretFile(directory, `open-${mode}`, make)).rejects.toThrow(/others can read it/);
  });

  test('refuses an empty file instead of making a new secret', async () => {
    await writeFile(join(directory, 'empty'), '\n', { mode: 0o600 });
    await expect(resolveSecretFile(directory, 'empty', make)).rejects.toThrow(/is empty/);
  });
});
