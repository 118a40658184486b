/**
 * Filters and PATCH paths (RFC 7644 §3.4.2.2, §3.5.2), as much of the grammar as identity providers use to match:
 * `eq`, `and`, and a value filter in brackets. One pass over the text, bounded in length and in terms; attribute names
 * and operators without regard to case. Anything else is refused, never guessed.
 */
import { ScimRefusal, type ScimType } from './errors.ts';

export type Literal = string | number | boolean | null;

export interface Comparison {
  /** As written, perhaps qualified by a URN; for a value filter the attribute before the brackets. */
  attribute: string;
  value: Literal;
  /** Terms that one and the same element has to meet. */
  within?: { attribute: string; value: Literal }[];
}

export interface Path {
  /** As written, perhaps qualified by a URN, perhaps with a sub-attribute. */
  attribute: string;
  within?: { attribute: string; value: Literal }[];
  /** The sub-attribute after the brackets. */
  sub?: string;
}

const maxLength = 4_096;
const maxTerms = 16;

const nameToken = /[A-Za-z$_][A-Za-z0-9$_\-:.]*/y;
const spaceToken = /[ \t]+/y;
const numberToken = /-?\d{1,15}(?:\.\d{1,15})?(?![\w.])/y;

interface Scanner {
  text: string;
  at: number;
  terms: number;
  refuse: (why: string) => ScimRefusal;
}

function scan(text: string, scimType: ScimType, what: string): Scanner {
  const refuse = (why: string) => new ScimRefusal(scimType, `${what}: ${why}`);
  if (text.length > maxLength) throw refuse(`longer than ${maxLength} characters`);
  return { text, at: 0, terms: 0, refuse };
}

function take(scanner: Scanner, token: RegExp): string | null {
  token.lastIndex = scanner.at;
  const found = token.exec(scanner.text);
  if (found === null) return null;
  scanner.at += found[0].length;
  return found[0];
}

function takeChar(scanner: Scanner, char: string): boolean {
  if (scanner.text[scanner.at] !== char) return false;
  scanner.at += 1;
  return true;
}

function takeName(scanner: Scanner): string {
  const name = take(scanner, nameToken);
  if (name === null) throw scanner.refuse(`an attribute name is expected at position ${scanner.at}`);
  return name;
}

/** A JSON string: the closing quote is the first that no backslash escapes. */
function takeString(scanner: Scanner): string {
  const start = scanner.at;
  scanner.at += 1;
  while (scanner.at < scanner.text.length && scanner.text[scanner.at] !== '"') {
    scanner.at += scanner.text[scanner.at] === '\\' ? 2 : 1;
  }
  scanner.at += 1;
  let value: unknown;
  try {
    value = JSON.parse(scanner.text.slice(start, scanner.at));
  } catch {
    throw scanner.refuse(`the string at position ${start} is not a JSON string`);
  }
  // PostgreSQL's text holds neither.
  if (typeof value !== 'string' || value.includes('\0') || !value.isWellFormed()) {
    throw scanner.refuse(`the string at position ${start} holds characters that are not allowed`);
  }
  return value;
}

function takeLiteral(scanner: Scanner): Literal {
  if (scanner.text[scanner.at] === '"') return takeString(scanner);
  const number = take(scanner, numberToken);
  if (number !== null) return Number(number);
  const word = take(scanner, nameToken)?.toLowerCase();
  if (word === 'true' || word === 'false') return word === 'true';
  if (word === 'null') return null;
  throw scanner.refuse(`a value in double quotes is expected at position ${scanner.at}`);
}

/** ` eq <literal>` after an attribute. */
function takeEquals(scanner: Scanner): Literal {
  scanner.terms += 1;
  if (scanner.terms > maxTerms) throw scanner.refuse(`more than ${maxTerms} comparisons`);
  take(scanner, spaceToken);
  const operator = take(scanner, nameToken);
  if (operator?.toLowerCase() !== 'eq') throw scanner.refuse('of the operators only eq is supported here');
  if (take(scanner, spaceToken) === null) throw scanner.refuse(`a space is expected at position ${scanner.at}`);
  return takeLiteral(scanner);
}

/** `term and term …`; what follows the last one is left to the caller. */
function takeTerms<T>(scanner: Scanner, takeTerm: () => T): T[] {
  const terms = [takeTerm()];
  for (;;) {
    const before = scanner.at;
    const spaced = take(scanner, spaceToken) !== null;
    const word = spaced ? take(scanner, nameToken) : null;
    if (word === null) {
      return terms;
    }
    if (word.toLowerCase() !== 'and') {
      scanner.at = before;
      throw scanner.refuse('comparisons are joined by and; nothing else is supported here');
    }
    if (take(scanner, spaceToken) === null) throw scanner.refuse(`a space is expected at position ${scanner.at}`);
    terms.push(takeTerm());
  }
}

function takeBrackets(scanner: Scanner): { attribute: string; value: Literal }[] {
  take(scanner, spaceToken);
  const terms = takeTerms(scanner, () => ({ attribute: takeName(scanner), value: takeEquals(scanner) }));
  take(scanner, spaceToken);
  if (!takeChar(scanner, ']')) throw scanner.refuse(`] is expected at position ${scanner.at}`);
  return terms;
}

function takeComparison(scanner: Scanner): Comparison {
  const attribute = takeName(scanner);
  if (!takeChar(scanner, '[')) return { attribute, value: takeEquals(scanner) };
  const within = takeBrackets(scanner);
  if (takeChar(scanner, '.')) {
    within.push({ attribute: takeName(scanner), value: takeEquals(scanner) });
  }
  return { attribute, value: null, within };
}

/** The comparisons that all have to hold. @throws ScimRefusal `invalidFilter`. */
export function parseFilter(text: string): Comparison[] {
  const scanner = scan(text, 'invalidFilter', 'filter');
  take(scanner, spaceToken);
  const comparisons = takeTerms(scanner, () => takeComparison(scanner));
  take(scanner, spaceToken);
  if (scanner.at !== text.length) throw scanner.refuse(`nothing is expected at position ${scanner.at}`);
  return comparisons;
}

/** A PATCH path. @throws ScimRefusal `invalidPath`. */
export function parsePath(text: string): Path {
  const scanner = scan(text.trim(), 'invalidPath', 'path');
  const attribute = takeName(scanner);
  const path: Path = { attribute };
  if (takeChar(scanner, '[')) {
    path.within = takeBrackets(scanner);
    if (takeChar(scanner, '.')) path.sub = takeName(scanner);
  }
  if (scanner.at !== scanner.text.length) throw scanner.refuse(`nothing is expected at position ${scanner.at}`);
  return path;
}
