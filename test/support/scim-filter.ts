/** Filters as text, and a second reading of what they mean: on plain resources, by the rules of the RFCs alone. */
import type { Filter, Literal } from '../../src/edges/scim/filter.ts';

/** The tree as text that parses to the same tree. */
export function printFilter(filter: Filter): string {
  const enclosed = (term: Filter) =>
    term.op === 'and' || term.op === 'or' ? `(${printFilter(term)})` : printFilter(term);
  switch (filter.op) {
    case 'and':
    case 'or':
      return filter.terms.map(enclosed).join(` ${filter.op} `);
    case 'not':
      return `not (${printFilter(filter.term)})`;
    case 'some':
      return `${filter.attribute}[${printFilter(filter.filter)}]`;
    case 'pr':
      return `${filter.attribute} pr`;
    default:
      return `${filter.attribute} ${filter.op} ${JSON.stringify(filter.value)}`;
  }
}

type Json = Record<string, unknown>;
const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What the oracle knows of an attribute. */
export interface Known {
  type: 'string' | 'boolean' | 'dateTime';
  isExact?: boolean;
}

/** `emails.value`, or `urn:…:User:department`: its steps. */
function stepsOf(name: string): string[] {
  if (/^urn:.*:User$/.test(name)) return [name];
  const colon = name.lastIndexOf(':');
  return colon < 0 ? name.split('.') : [name.slice(0, colon), ...name.slice(colon + 1).split('.')];
}

/** The values at a path; those of every element of a list. A complex element without a further step is its `value`. */
function valuesAt(resource: Json, [step = '', ...rest]: string[], isDefaulted: boolean): unknown[] {
  const found = resource[step];
  const list = Array.isArray(found) ? found : [found];
  return list.flatMap((one) => {
    if (rest.length > 0) return isJson(one) ? valuesAt(one, rest, isDefaulted) : [undefined];
    return isJson(one) && isDefaulted ? [one.value] : [one];
  });
}

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || value === '' || (isJson(value) && Object.values(value).every(isEmpty));

function compare(actual: unknown, op: string, wanted: Literal, { type, isExact = false }: Known): boolean {
  if (type === 'boolean') return op === 'eq' ? (actual ?? false) === wanted : (actual ?? false) !== wanted;
  if (typeof actual !== 'string' || typeof wanted !== 'string') return op === 'ne';
  if (type === 'dateTime') {
    return holds(millisOf(actual) - millisOf(wanted), op);
  }
  const [one, other] = isExact ? [actual, wanted] : [actual.toLowerCase(), wanted.toLowerCase()];
  if (op === 'co') return one.includes(other);
  if (op === 'sw') return one.startsWith(other);
  if (op === 'ew') return one.endsWith(other);
  return holds(Buffer.compare(Buffer.from(one), Buffer.from(other)), op);
}

/** `Date.parse` stops at milliseconds. */
function millisOf(instant: string): number {
  const beyond = /\.\d{3}(\d*)/.exec(instant)?.[1] ?? '';
  return Date.parse(instant) + Number(`0.${beyond}0`);
}

function holds(difference: number, op: string): boolean {
  if (op === 'eq') return difference === 0;
  if (op === 'ne') return difference !== 0;
  if (op === 'gt') return difference > 0;
  if (op === 'ge') return difference >= 0;
  return op === 'lt' ? difference < 0 : difference <= 0;
}

/** `lists`: the multi-valued attributes; of those that have no element nothing is true but that they are not present. */
export function holdsOf(
  resource: Json,
  filter: Filter,
  known: Record<string, Known>,
  lists: readonly string[],
  prefix = '',
): boolean {
  const recur = (term: Filter) => holdsOf(resource, term, known, lists, prefix);
  switch (filter.op) {
    case 'and':
      return filter.terms.every(recur);
    case 'or':
      return filter.terms.some(recur);
    case 'not':
      return !recur(filter.term);
    case 'some': {
      const elements = resource[filter.attribute];
      const inner = `${filter.attribute}.`;
      return Array.isArray(elements) && elements.some((one) => holdsOf(one, filter.filter, known, lists, inner));
    }
    default:
      return meetsTest(resource, filter, known, lists, prefix);
  }
}

type Test = Exclude<Filter, { op: 'and' | 'or' | 'not' | 'some' }>;

function meetsTest(
  resource: Json,
  filter: Test,
  known: Record<string, Known>,
  lists: readonly string[],
  prefix: string,
): boolean {
  const steps = stepsOf(filter.attribute);
  const presence = valuesAt(resource, steps, false).some((value) => !isEmpty(value));
  if (filter.op === 'pr') return presence;
  if (filter.value === null) return filter.op === 'eq' ? !presence : presence;
  const type = known[`${prefix}${filter.attribute}`];
  if (type === undefined) throw new Error(`the oracle does not know ${prefix}${filter.attribute}`);
  const { op, value } = filter;
  const [first = ''] = steps;
  if (prefix === '' && lists.includes(first) && resource[first] === undefined) return false;
  return valuesAt(resource, steps, true).some((actual) => compare(actual, op, value, type));
}
