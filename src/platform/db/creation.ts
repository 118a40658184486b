/** Keyset paging in the order of creation, oldest first: by the instant, and by the id where that is the same. */
import { type SQL, sql } from 'drizzle-orm';
import type { AnyPgColumn } from 'drizzle-orm/pg-core';
import { WritError } from '../../errors.ts';
import { decodeCursor } from '../http/page.ts';
import { canonicalId } from './uuid.ts';

/** Microseconds: a `Date` would lose the digits that tell two rows of one page apart. */
export const microsOf = (createdAt: AnyPgColumn | SQL): SQL<number> =>
  sql`(extract(epoch from ${createdAt}) * 1000000)::bigint`.mapWith(Number);

/** What comes after the row `[microseconds, id]`. @throws WritError `invalid_request` on a cursor of another list. */
export function isAfter(cursor: string, createdAt: AnyPgColumn | SQL, id: AnyPgColumn | SQL): SQL {
  const [micros, last] = decodeCursor(cursor, 2);
  if (!Number.isSafeInteger(micros) || typeof last !== 'string' || canonicalId(last) !== last) {
    throw new WritError('invalid_request', 'cursor: not a cursor of this list');
  }
  return sql`(${createdAt}, ${id}) > ('epoch'::timestamptz + ${micros}::float8 * interval '1 microsecond', ${last}::uuid)`;
}
