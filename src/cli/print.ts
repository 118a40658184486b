/**
 * What people read: aligned tables and records; what programs read: JSON. Text from the server is printed with its
 * control characters made visible, so that a name cannot move the cursor. Nothing is cut unless a width is given.
 */
import { styleText } from 'node:util';
import { isRow, type Row } from './json.ts';

export type Paint = (style: 'green' | 'yellow' | 'red' | 'dim' | 'bold', text: string) => string;

export interface Column {
  title: string;
  value: (row: Row) => string;
  /** Never cut: what people copy. */
  isKept?: boolean;
  style?: (text: string) => 'green' | 'yellow' | 'red' | 'dim' | undefined;
}

/** Colours only where a person looks and did not say no (no-color.org). */
export function createPaint(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): Paint {
  const isColoured = stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
  return (style, text) => (isColoured ? styleText(style, text, { validateStream: false }) : text);
}

/** @param width of the terminal in columns; `undefined` (a pipe, a file) cuts nothing */
export function renderTable(rows: Row[], columns: Column[], width: number | undefined, paint: Paint): string {
  const cells = rows.map((row) => columns.map((column) => column.value(row)));
  const widths = columns.map((column, at) =>
    Math.max(displayWidth(column.title), ...cells.map((line) => displayWidth(line[at] ?? ''))),
  );
  if (width !== undefined) shrink(widths, columns, width);
  const renderLine = (line: string[], style: (text: string, at: number) => string): string =>
    line
      .map((text, at) => {
        const cut = cutTo(text, widths[at] ?? 0);
        const isLast = at === line.length - 1;
        return style(cut, at) + (isLast ? '' : ' '.repeat((widths[at] ?? 0) - displayWidth(cut) + 2));
      })
      .join('')
      .trimEnd();
  const header = renderLine(
    columns.map((column) => column.title),
    (text) => paint('bold', text),
  );
  const body = cells.map((line) =>
    renderLine(line, (text, at) => {
      const style = columns[at]?.style?.(line[at] ?? '');
      return style === undefined ? text : paint(style, text);
    }),
  );
  return [header, ...body].join('\n');
}

/** Takes from the widest column that may be cut until the line fits, or all of them are at their least. */
function shrink(widths: number[], columns: Column[], width: number): void {
  const least = 6;
  const total = () => widths.reduce((sum, each) => sum + each + 2, -2);
  while (total() > width) {
    let widest = -1;
    for (const [at, each] of widths.entries()) {
      if (columns[at]?.isKept !== true && each > least && each > (widths[widest] ?? 0)) widest = at;
    }
    if (widest === -1) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

function cutTo(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = '';
  for (const character of text) {
    if (displayWidth(kept + character) > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

/** Terminal columns: wide for East Asian characters and emoji, none for combining marks. Close enough to align. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/^(\p{Mark}|\p{Default_Ignorable_Code_Point})$/u.test(character)) continue;
    width += /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]$/u.test(
      character,
    )
      ? 2
      : /^\p{Emoji_Presentation}$/u.test(character)
        ? 2
        : 1;
  }
  return width;
}

/** One resource, a line each member, in the order of the API. */
export function renderRecord(row: Row, paint: Paint): string {
  const lines = Object.entries(row).flatMap(([name, value]): [string, string][] =>
    isRow(value) && nameOf(value) === undefined
      ? Object.entries(value).map(([inner, each]) => [`${wordsOf(name)} ${wordsOf(inner)}`, withId(each)])
      : [[wordsOf(name), withId(value)]],
  );
  return renderPairs(lines, paint);
}

/** A reference by name, and the id that it stands for. */
function withId(value: unknown): string {
  const text = textOf(value);
  if (Array.isArray(value) && value.length > 0) return value.map(withId).join(', ');
  return isRow(value) && typeof value.id === 'string' && !text.includes(value.id)
    ? `${text} (${visible(value.id)})`
    : text;
}

/** Label and text in two columns. A label that is empty continues the one above. */
export function renderPairs(pairs: [label: string, text: string][], paint: Paint): string {
  const width = Math.max(0, ...pairs.map(([label]) => displayWidth(label)));
  return pairs
    .map(([label, text]) => `${paint('bold', label)}${' '.repeat(width - displayWidth(label) + 2)}${text}`.trimEnd())
    .join('\n');
}

const wordsOf = (name: string): string =>
  visible(name).replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);

/** Any value of the API on one line. */
export function textOf(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(textOf).join(', ');
  if (isRow(value)) return textOfObject(value);
  return visible(String(value));
}

function textOfObject(row: Row): string {
  const name = nameOf(row);
  if (name !== undefined) return visible(name);
  return Object.entries(row)
    .map(([member, value]) => `${visible(member)}=${textOf(value)}`)
    .join(' ');
}

/** What people call the thing, when it says so. */
function nameOf(row: Row): string | undefined {
  const names = ['userName', 'name', 'taskIntent', 'identifier', 'reason', 'kid'].map((member) => row[member]);
  return names.find((name) => typeof name === 'string');
}

/** An instant to the second, as the API writes it, or `-`. */
export function instantOf(value: unknown): string {
  const text = textOf(value);
  return text.replace(/^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z$/, '$1Z');
}

/** Makes control characters and direction marks visible. */
export function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}
