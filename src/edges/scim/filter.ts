/**
 * Filters and PATCH paths (RFC 7644 §3.4.2.2, §3.5.2): the whole grammar, to a tree. One pass over the text, bounded in
 * length, in terms and in depth; attribute names and operators without regard to case. What a name means is for
 * `filter-terms.ts` and `filter-match.ts` to say; what is not the grammar is refused, never guessed.
 */
import { ScimRefusal, type ScimType } from './errors.ts';

export type Literal = string | number | boolean | null;

export const operators = ['eq', 'ne', 'co', 'sw', 'ew', 'gt', 'ge', 'lt', 'le'] as const;
export type Operator = (typeof operators)[number];

export type Filter =
  | { op: 'and' | 'or'; terms: Filter[] }
  | { op: 'not'; term: Filter }
  /** One element of a multi-valued attribute meets the whole of `filter`, whose names are the element's own. */
  | { op: 'some'; attribute: string; filter: Filter }
  | { op: 'pr'; attribute: string }
  /** The attribute as written, perhaps qualified by a URN, perhaps with a sub-attribute. */
  | { op: Operator; attribute: string; value: Literal };

export interface Path {
  /** As written, perhaps qualified by a URN, perhaps with a sub-attribute. */
  attribute: string;
  within?: Filter;
  /** The sub-attribute after the brackets. */
  sub?: string;
}

export const maxLength = 4_096;
export const maxTerms = 100;
/** Parentheses and brackets inside each other. */
export const maxDepth = 16;

const nameToken = /[A-Za-z$_][A-Za-z0-9$_\-:.]*/y;
const spaceToken = /[ \t]+/y;
const notToken = /not[ \t]*\(/iy;
// Of JSON, with bounds: what is longer is no number that anybody searches for.
const numberToken = /-?(?:0|[1-9]\d{0,15})(?:\.\d{1,15})?(?:[eE][+-]?\d{1,3})?(?![\w.])/y;

interface Scanner {
  text: string;
  at: number;
  terms: number;
  depth: number;
  isInBrackets: boolean;
  refuse: (why: string) => ScimRefusal;
}

function scan(text: string, scimType: ScimType, what: string): Scanner {
  const refuse = (why: string) => new ScimRefusal(scimType, `${what}: ${why}`);
  if (text.length > maxLength) throw refuse(`longer than ${maxLength} characters`);
  return { text, at: 0, terms: 0, depth: 0, isInBrackets: false, refuse };
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

function requireSpace(scanner: Scanner): void {
  if (take(scanner, spaceToken) === null) throw scanner.refuse(`a space is expected at position ${scanner.at}`);
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
  if (number !== null) {
    const value = Number(number);
    if (!Number.isFinite(value)) throw scanner.refuse(`the number ${number} is too large`);
    return value;
  }
  const word = take(scanner, nameToken)?.toLowerCase();
  if (word === 'true' || word === 'false') return word === 'true';
  if (word === 'null') return null;
  throw scanner.refuse(`a value in double quotes is expected at position ${scanner.at}`);
}

/** ` op value` or ` pr` after an attribute. */
function takeTest(scanner: Scanner, attribute: string): Filter {
  scanner.terms += 1;
  if (scanner.terms > maxTerms) throw scanner.refuse(`more than ${maxTerms} comparisons`);
  requireSpace(scanner);
  const word = take(scanner, nameToken) ?? '';
  const lower = word.toLowerCase();
  if (lower === 'pr') return { op: 'pr', attribute };
  const op = operators.find((known) => known === lower);
  if (op === undefined) throw scanner.refuse(`${word} is no operator; ${operators.join(', ')} and pr are`);
  requireSpace(scanner);
  return { op, attribute, value: takeLiteral(scanner) };
}

/** Runs `takeInner` one level deeper and takes what closes it. */
function takeEnclosed(scanner: Scanner, close: string, takeInner: () => Filter): Filter {
  scanner.depth += 1;
  if (scanner.depth > maxDepth) throw scanner.refuse(`nested deeper than ${maxDepth}`);
  take(scanner, spaceToken);
  const inner = takeInner();
  take(scanner, spaceToken);
  if (!takeChar(scanner, close)) throw scanner.refuse(`${close} is expected at position ${scanner.at}`);
  scanner.depth -= 1;
  return inner;
}

function takeBrackets(scanner: Scanner): Filter {
  // The ABNF has none inside others, and no attribute of an element has elements itself.
  if (scanner.isInBrackets) throw scanner.refuse(`[ inside brackets at position ${scanner.at - 1}`);
  scanner.isInBrackets = true;
  const filter = takeEnclosed(scanner, ']', () => takeDisjunction(scanner));
  scanner.isInBrackets = false;
  return filter;
}

function takeTerm(scanner: Scanner): Filter {
  if (take(scanner, notToken) !== null) {
    return { op: 'not', term: takeEnclosed(scanner, ')', () => takeDisjunction(scanner)) };
  }
  if (takeChar(scanner, '(')) return takeEnclosed(scanner, ')', () => takeDisjunction(scanner));
  const attribute = takeName(scanner);
  if (!takeChar(scanner, '[')) return takeTest(scanner, attribute);
  const filter = takeBrackets(scanner);
  if (!takeChar(scanner, '.')) return { op: 'some', attribute, filter };
  // `emails[type eq "work"].value eq "x"`: one and the same element.
  const test = takeTest(scanner, takeName(scanner));
  return { op: 'some', attribute, filter: { op: 'and', terms: [filter, test] } };
}

/** `term word term word …`; a single term stands for itself. */
function takeJoined(scanner: Scanner, word: 'and' | 'or', takeNext: () => Filter): Filter {
  const first = takeNext();
  const terms = [first];
  for (;;) {
    const before = scanner.at;
    const isSpaced = take(scanner, spaceToken) !== null || ')]'.includes(scanner.text[before - 1] ?? ' ');
    const found = isSpaced ? take(scanner, nameToken)?.toLowerCase() : undefined;
    if (found !== word) {
      scanner.at = before;
      return terms.length === 1 ? first : { op: word, terms };
    }
    if (scanner.text[scanner.at] !== '(') requireSpace(scanner);
    terms.push(takeNext());
  }
}

const takeConjunction = (scanner: Scanner): Filter => takeJoined(scanner, 'and', () => takeTerm(scanner));
const takeDisjunction = (scanner: Scanner): Filter => takeJoined(scanner, 'or', () => takeConjunction(scanner));

/** @throws ScimRefusal `invalidFilter`. */
export function parseFilter(text: string): Filter {
  const scanner = scan(text, 'invalidFilter', 'filter');
  take(scanner, spaceToken);
  const filter = takeDisjunction(scanner);
  take(scanner, spaceToken);
  if (scanner.at !== text.length) throw scanner.refuse(`nothing is expected at position ${scanner.at}`);
  return filter;
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
