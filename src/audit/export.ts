/**
 * The export of the audit log: lines of JSON (NDJSON, UTF-8), made by `GET /api/v1/audit/export`, in the order of the chain.
 *
 *   {"export":"writ-audit","version":1,"issuer":"https://…","from":1,"previous":"…"}    first; hash before entry `from`
 *   {"number":1,"body":"{…}","mac":"…","hash":"…"}       an entry; body as stored, a string: its bytes are what is hashed
 *   {"checkpoint":"eyJ…"}                                after the entry whose place it signs
 *   {"end":118}                                          last; without it the export is not whole
 *
 * `mac` and `hash` are base64url. A MAC can be checked by the server alone (`POST /audit/verify`); offline it is one more
 * part of what the chain covers. Entries that are not sealed yet are not exported: they have no place.
 */

export interface ExportHeader {
  export: 'writ-audit';
  version: 1;
  issuer: string;
  /** The number of the first entry. */
  from: number;
  /** The hash of the entry before it; of the first, 32 zero bytes. */
  previous: string;
}
export interface ExportedEntry {
  number: number;
  body: string;
  mac: string;
  hash: string;
}
export type ExportLine = ExportHeader | ExportedEntry | { checkpoint: string } | { end: number };

const isHash = (value: unknown): value is string => typeof value === 'string' && /^[A-Za-z0-9_-]{43}$/.test(value);
const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

/** One line of an export; `null`: it is none. */
export function parseLine(text: string): ExportLine | null {
  let line: Record<string, unknown>;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return null;
    line = { ...value };
  } catch {
    return null;
  }
  const { number, body, mac, hash, checkpoint, end, issuer, from, previous } = line;
  if (isNumber(end)) return { end };
  if (typeof checkpoint === 'string') return { checkpoint };
  if (isNumber(number) && typeof body === 'string' && typeof mac === 'string' && isHash(hash)) {
    return { number, body, mac, hash };
  }
  const isHeader = line.export === 'writ-audit' && line.version === 1;
  if (!isHeader || typeof issuer !== 'string' || !isNumber(from) || from < 1 || !isHash(previous)) return null;
  return { export: 'writ-audit', version: 1, issuer, from, previous };
}
