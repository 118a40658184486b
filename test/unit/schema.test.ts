/** The migrations are the truth, `schema.ts` is their typed mirror: here the two are compared, column by column. */
import { is } from 'drizzle-orm';
import { getTableConfig, type PgColumn, PgTable } from 'drizzle-orm/pg-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, type Database } from '../../src/platform/db/client.ts';
import * as schema from '../../src/platform/db/schema.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

interface Column {
  name: string;
  type: string;
  isRequired: boolean;
  hasDefault: boolean;
}

const tables: PgTable[] = Object.values(schema).filter((value) => is(value, PgTable));

/** The runner's own record of what has run (`migrate.ts`). */
const unmirrored = ['migrations'];

let place: TestDatabase;
let database: Database;
beforeAll(async () => {
  place = await createTestDatabase();
  database = connect({ url: place.url, poolSize: 1 });
});
afterAll(async () => {
  await database?.close();
  await place?.drop();
});

/** Columns of a table as PostgreSQL has them; types in its own spelling, `text[]` for an array. */
async function readColumns(table: string): Promise<Column[]> {
  const rows = await database.sql<Column[]>`
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as "isRequired",
      a.atthasdef as "hasDefault"
    from pg_attribute a
    where a.attrelid = ${`public.${table}`}::regclass and a.attnum > 0 and not a.attisdropped
    order by a.attname`;
  return [...rows];
}

const mirrorOf = (column: PgColumn): Column => ({
  name: column.name,
  type: column.getSQLType(),
  isRequired: column.notNull,
  // PostgreSQL keeps a generated column's expression as a default, and an identity elsewhere.
  hasDefault: (column.hasDefault && column.generatedIdentity === undefined) || column.generated !== undefined,
});

test('the mirror has every table, and no others', async () => {
  const rows = await database.sql<{ name: string }[]>`
    select relname as name from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')`;
  const names = rows.map(({ name }) => name).filter((name) => !unmirrored.includes(name));
  expect(tables.map((table) => getTableConfig(table).name).sort()).toEqual(names.sort());
});

describe.each(tables.map((table) => getTableConfig(table)))('$name', ({ name, columns, primaryKeys }) => {
  test('has the same columns', async () => {
    expect(columns.map(mirrorOf).sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual(await readColumns(name));
  });

  test('has the same primary key', async () => {
    const rows = await database.sql<{ name: string }[]>`
      select a.attname as name from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
      where i.indrelid = ${`public.${name}`}::regclass and i.indisprimary`;
    const mirrored = [...columns.filter((column) => column.primary), ...primaryKeys.flatMap((key) => key.columns)].map(
      (column) => column.name,
    );
    expect(mirrored.sort()).toEqual(rows.map((row) => row.name).sort());
  });

  test('has a comment: who writes it, and who deletes it', async () => {
    const [row] = await database.sql<{ comment: string | null }[]>`
      select obj_description(${`public.${name}`}::regclass, 'pg_class') as comment`;
    expect(row?.comment?.length).toBeGreaterThan(20);
  });
});
