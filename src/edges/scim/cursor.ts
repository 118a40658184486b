/**
 * Cursors (RFC 9865): the position after which a page begins, and how many there were when the walk began. Signed, and
 * bound to everything that has to stay the same from page to page: the directory, the types that are searched, the
 * filter, the order and the count. Nothing is kept on the server, so any node continues any walk. A cursor is no
 * credential: each page is authorised by the request's own token.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Position } from '../../domain/people/search.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { ScimRefusal } from './errors.ts';

/** A walk that is continued later than this has to begin anew. */
export const cursorTimeoutSeconds = 3_600;

/** What a cursor belongs to. */
export interface Walk {
  directoryId: string;
  /** The resource types that are searched. */
  types: readonly string[];
  filter: string;
  sortBy: string;
  isDescending: boolean;
}

export interface CursorState {
  after: Position;
  count: number;
  /** `null`: too many to be counted. */
  total: number | null;
}

const sign = (key: Uint8Array, walk: Walk, payload: string): Buffer => {
  const { directoryId, types, filter, sortBy, isDescending } = walk;
  const bound = JSON.stringify(['scim-cursor', directoryId, types, filter, sortBy, isDescending, payload]);
  return createHmac('sha256', key).update(bound).digest();
};

/** Unreserved characters of RFC 3986 only. */
export function sealCursor(key: Uint8Array, walk: Walk, { after, count, total }: CursorState, now: Date): string {
  const payload = Buffer.from(JSON.stringify([now.getTime(), count, total, after.key, after.id])).toString('base64url');
  return `${payload}.${sign(key, walk, payload).toString('base64url')}`;
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value);

/** @throws ScimRefusal `invalidCursor`, `expiredCursor`; `invalidCount` when `count` is not that of the page before. */
export function openCursor(key: Uint8Array, walk: Walk, cursor: string, count: number, now: Date): CursorState {
  const invalid = () =>
    new ScimRefusal('invalidCursor', 'cursor: not one of this query; begin anew with an empty cursor');
  const [payload = '', mac = '', ...more] = cursor.split('.');
  const given = Buffer.from(mac, 'base64url');
  const own = sign(key, walk, payload);
  if (more.length > 0 || given.length !== own.length || !timingSafeEqual(given, own)) throw invalid();
  const parts: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
  if (!Array.isArray(parts)) throw invalid();
  const [at, counted, total, position, id]: unknown[] = parts;
  const isKey = position === null || typeof position === 'string';
  const isTotal = total === null || isWhole(total);
  if (!isWhole(at) || !isWhole(counted) || !isTotal || !isKey || typeof id !== 'string') throw invalid();
  if (canonicalId(id) !== id) throw invalid();
  if (now.getTime() - at > cursorTimeoutSeconds * 1000) {
    throw new ScimRefusal('expiredCursor', `cursor: older than ${cursorTimeoutSeconds} seconds; begin anew`);
  }
  if (counted !== count) throw new ScimRefusal('invalidCount', `count: has to stay ${counted} from page to page`);
  return { after: { key: position, id }, count, total };
}
