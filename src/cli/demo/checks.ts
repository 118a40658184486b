/** What a step of the demo demands. A step that is not as told ends the demo, with what was expected and what came. */
import { isRow, type Row } from '../json.ts';

export class Unexpected extends Error {
  override readonly name = 'Unexpected';
  readonly expected: string;
  readonly came: string;

  constructor(expected: string, came: unknown) {
    super(`expected ${expected}`);
    this.expected = expected;
    this.came = typeof came === 'string' ? came : (JSON.stringify(came) ?? 'nothing');
  }
}

export function check(isSo: boolean, expected: string, came: unknown): asserts isSo {
  if (!isSo) throw new Unexpected(expected, came);
}

export function readText(row: unknown, member: string): string {
  const value = isRow(row) ? row[member] : undefined;
  check(typeof value === 'string' && value !== '', `an answer with ${member}`, row);
  return value;
}

export function readRow(row: unknown, member: string): Row {
  const value = isRow(row) ? row[member] : undefined;
  check(isRow(value), `an answer with ${member}`, row);
  return value;
}

export function readRows(row: unknown, member: string): Row[] {
  const value = isRow(row) ? row[member] : undefined;
  check(Array.isArray(value), `an answer with a list of ${member}`, row);
  return value.filter(isRow);
}
