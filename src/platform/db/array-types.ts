/**
 * Arrays of PostgreSQL's own types as JavaScript arrays, in both directions. postgres.js can ask the server for them on
 * every connect, but a connection that is lost during that question ends as an unhandled rejection, and with it the
 * process. The numbers of built-in types never change (`pg_type.dat`).
 */
import type postgres from 'postgres';

/** Element type to array type. */
const arrayTypes: [element: number, array: number][] = [
  [16, 1000], // bool
  [17, 1001], // bytea
  [20, 1016], // int8
  [21, 1005], // int2
  [23, 1007], // int4
  [25, 1009], // text
  [26, 1028], // oid
  [114, 199], // json
  [700, 1021], // float4
  [701, 1022], // float8
  [869, 1041], // inet
  [1042, 1014], // bpchar
  [1043, 1015], // varchar
  [1082, 1182], // date
  [1114, 1115], // timestamp
  [1184, 1185], // timestamptz
  [1700, 1231], // numeric
  [2950, 2951], // uuid
  [3802, 3807], // jsonb
];

type Parse = (text: string) => unknown;

/** Teaches the client the array types. Elements are read and written as the client does single values. */
export function registerArrays(sql: postgres.Sql): void {
  const { parsers, serializers } = sql.options;
  for (const [element, array] of arrayTypes) {
    // postgres.js passes array parsers the text without its first brace; this mark asks for that.
    parsers[array] = Object.assign((text: string) => parseArray(text, parsers[element] ?? String), {
      array: true,
    });
    serializers[array] = (value: unknown) => {
      const serialize = serializers[element];
      if (!Array.isArray(value)) return value;
      const areTexts = serialize === undefined || serialize('x') === 'x';
      return (areTexts ? writeTexts(value) : undefined) ?? writeArray(value, serialize);
    };
  }
}

/** An escape of JSON that means something else in an array. */
const foreignEscape = /\\[^"\\]/;

/** Of texts and nulls JSON is nearly always the same but for its brackets, and made ten times as fast. */
function writeTexts(items: readonly unknown[]): string | undefined {
  if (!items.every((item) => typeof item === 'string' || item === null)) return undefined;
  const json = JSON.stringify(items);
  return foreignEscape.test(json) ? undefined : `{${json.slice(1, -1)}}`;
}

function writeArray(items: readonly unknown[], serialize: Parse | undefined): string {
  const write = (item: unknown): string => {
    if (Array.isArray(item)) return writeArray(item, serialize);
    if (item === null) return 'NULL';
    if (item === undefined) throw new TypeError('an array for the database has an undefined element');
    const text = String(serialize === undefined ? item : (serialize as (value: unknown) => unknown)(item));
    return `"${text.replace(/[\\"]/g, '\\$&')}"`;
  };
  return `{${items.map(write).join(',')}}`;
}

/** The text form of an array (PostgreSQL manual §8.15.6) after its first character; dimensions as nested arrays. */
function parseArray(text: string, parse: Parse): unknown[] {
  const top: unknown[] = [];
  const open: unknown[][] = [top];
  // Lower bounds other than 1 come before the braces: `[0:1]={…}`.
  const bounds = /^[\d:[\]-]+\]=\{/.exec(text)?.[0] ?? '';
  for (let at = bounds.length; at < text.length; at++) {
    const into = open.at(-1) ?? top;
    const character = text[at];
    if (character === '{') {
      const inner: unknown[] = [];
      into.push(inner);
      open.push(inner);
    } else if (character === '}') {
      open.pop();
    } else if (character === '"') {
      let end = at + 1;
      while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
      into.push(parse(text.slice(at + 1, end).replace(/\\(.)/gs, '$1')));
      at = end;
    } else if (character !== ',') {
      const end = at + text.slice(at).search(/[,}]/);
      const word = text.slice(at, end);
      into.push(word === 'NULL' ? null : parse(word));
      at = end - 1;
    }
  }
  return top;
}
