/**
 * Keyset paging: a cursor names the last row that was seen, so that rows which come and go meanwhile neither repeat nor
 * hide others. Opaque to callers, and no credential: every page is authorised anew.
 */
import { WritError } from '../../errors.ts';

export interface PageRequest {
  cursor?: string | undefined;
  /** 1 to 500. */
  limit: number;
}

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

/** The key of the last row, in a form that is safe in a URL. */
export const encodeCursor = (key: readonly (string | number)[]): string =>
  Buffer.from(JSON.stringify(key)).toString('base64url');

/** PostgreSQL's text holds no NUL. */
const isPart = (part: unknown): boolean =>
  typeof part === 'number' || (typeof part === 'string' && !part.includes('\0'));

/** @throws WritError `invalid_request` when the cursor is not one of ours with `length` parts. */
export function decodeCursor(cursor: string, length: number): (string | number)[] {
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(key) && key.length === length && key.every(isPart)) {
      return key;
    }
  } catch {
    // Falls through to the refusal.
  }
  throw new WritError('invalid_request', 'cursor: not a cursor of this list');
}

/** Cuts the one row too many that was read to learn whether there is a next page. */
export function toPage<T>(rows: T[], limit: number, keyOf: (row: T) => (string | number)[]): Page<T> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? encodeCursor(keyOf(last)) : null };
}
