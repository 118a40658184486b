import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connect, type Database } from '../../src/platform/db/client.ts';
import { MigrationError, migrate, readMigrations } from '../../src/platform/db/migrate.ts';
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from '../support/database.ts';

let place: TestDatabase;
let database: Database;
let directory: string;

beforeEach(async () => {
  place = await createEmptyDatabase();
  database = connect({ url: place.url, poolSize: 4 });
  directory = await mkdtemp(join(tmpdir(), 'writ-migrations-'));
});

afterEach(async () => {
  await database.close();
  await place.drop();
  await rm(directory, { recursive: true });
});

const write = async (name: string, text: string): Promise<void> => await writeFile(join(directory, name), text);
const run = async (): Promise<string[]> => (await migrate(database.sql, directory)).applied;

describe('migrate', () => {
  test('runs the files in order, once', async () => {
    await write('0002_fill.sql', 'insert into one values (1); insert into one values (2);');
    await write('0001_make.sql', 'create table one (n int);');
    expect(await run()).toEqual(['0001_make.sql', '0002_fill.sql']);
    expect(await run()).toEqual([]);
    expect(await database.sql`select n from one order by n`).toEqual([{ n: 1 }, { n: 2 }]);
    const recorded = await database.sql`select name, checksum from migrations order by name`;
    expect(recorded[0]).toEqual({ name: '0001_make.sql', checksum: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  test('nodes that start at once run each file once', async () => {
    await write('0001_make.sql', 'create table one (n int); select pg_sleep(0.2);');
    await write('0002_fill.sql', 'insert into one values (1);');
    const runs = await Promise.all([run(), run(), run(), run()]);
    expect(runs.flat().sort()).toEqual(['0001_make.sql', '0002_fill.sql']);
    expect(await database.sql`select n from one`).toEqual([{ n: 1 }]);
  });

  test('a file that fails leaves nothing behind and can be mended', async () => {
    await write('0001_make.sql', 'create table one (n int);');
    await write('0002_bad.sql', 'create table two (n int); insert into nowhere values (1);');
    await expect(run()).rejects.toThrow(/0002_bad\.sql failed, nothing of it was kept: .*nowhere/);
    expect(await database.sql`select to_regclass('two') as two, to_regclass('one') as one`).toEqual([
      { two: null, one: 'one' },
    ]);
    await write('0002_bad.sql', 'create table two (n int);');
    expect(await run()).toEqual(['0002_bad.sql']);
  });

  test('refuses a database that is newer than the files', async () => {
    await write('0001_make.sql', 'select 1;');
    await write('0002_more.sql', 'select 1;');
    await run();
    await rm(join(directory, '0002_more.sql'));
    await expect(run()).rejects.toThrow(/newer than this version of Writ: it has 0002_more\.sql/);
  });

  test('refuses a file that was edited after it ran, but not one with other line ends', async () => {
    await write('0001_make.sql', 'create table\none (n int);');
    await run();
    await write('0001_make.sql', 'create table\r\none (n int);');
    expect(await run()).toEqual([]);
    await write('0001_make.sql', 'create table one (n bigint);');
    await expect(run()).rejects.toThrow(/0001_make\.sql was edited after it ran/);
  });

  test('refuses a file that was merged behind one that ran', async () => {
    await write('0001_make.sql', 'select 1;');
    await write('0003_more.sql', 'select 1;');
    await run();
    await write('0002_late.sql', 'create table late (n int);');
    await expect(run()).rejects.toThrow(/0002_late\.sql has not run, but 0003_more\.sql/);
    expect(await database.sql`select to_regclass('late') as late`).toEqual([{ late: null }]);
  });

  test.each([
    ['a name without a number', ['make.sql'], 'select 1;', /named NNNN_what_it_does/],
    ['two files with one number', ['0001_a.sql', '0001_b.sql'], 'select 1;', /two migrations have the number 0001/],
    ['a commit inside', ['0001_a.sql'], 'create table a (n int);\ncommit;\nselect 1;', /its own transaction/],
    ['a begin at its head', ['0001_a.sql'], 'BEGIN;\nselect 1;', /its own transaction/],
  ])('refuses %s', async (_what, names, text, message) => {
    for (const name of names) await write(name, text);
    await expect(run()).rejects.toThrow(message);
    await expect(run()).rejects.toBeInstanceOf(MigrationError);
  });

  test('functions in PL/pgSQL may begin and end', async () => {
    await write('0001_f.sql', 'create function f() returns int language plpgsql as $$\nbegin\n  return 1;\nend\n$$;');
    expect(await run()).toEqual(['0001_f.sql']);
  });

  test('may take longer than the pool allows a statement', async () => {
    await write('0001_slow.sql', 'select pg_sleep(7.5);');
    expect(await run()).toEqual(['0001_slow.sql']);
  });
});

test('the files of the product are in order, and the template of the tests has them all', async () => {
  const files = await readMigrations(new URL('../../migrations', import.meta.url).pathname);
  expect(files.length).toBeGreaterThan(0);
  const copy = await createTestDatabase();
  const { sql, close } = connect({ url: copy.url, poolSize: 1 });
  try {
    expect((await migrate(sql)).applied).toEqual([]);
    expect(await sql`select name from migrations order by name`).toEqual(files.map(({ name }) => ({ name })));
  } finally {
    await close();
    await copy.drop();
  }
});
