/**
 * A value filter of a PATCH path (RFC 7644 §3.5.2) on the elements of one resource, with the rules by which
 * `filter-terms.ts` has the database compare: pure, on what is at hand already.
 */
import { isObject, readBoolean } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import type { Filter, Literal, Operator } from './filter.ts';
import type { Attribute } from './schema.ts';

const refuse = (detail: string) => new ScimRefusal('invalidPath', `path: ${detail}`);

/** Whether the element meets the filter. @throws ScimRefusal `invalidPath` when it names or compares what it cannot. */
export function meets(element: unknown, attribute: Attribute, filter: Filter): boolean {
  switch (filter.op) {
    // Every term is looked at, so that one that is refused is so for any element.
    case 'and':
      return filter.terms.map((term) => meets(element, attribute, term)).every(Boolean);
    case 'or':
      return filter.terms.map((term) => meets(element, attribute, term)).some(Boolean);
    case 'not':
      return !meets(element, attribute, filter.term);
    case 'some':
      throw refuse(`${filter.attribute} has no elements`);
    default: {
      const sub = attribute.subAttributes.get(filter.attribute.toLowerCase());
      if (sub === undefined) throw refuse(`${attribute.name} has no ${filter.attribute}`);
      const actual = isObject(element) ? element[sub.name] : undefined;
      const isPresent = actual !== undefined && actual !== null && actual !== '';
      if (filter.op === 'pr') return isPresent;
      if (filter.value === null && filter.op === 'eq') return !isPresent;
      if (filter.value === null && filter.op === 'ne') return isPresent;
      return compare(sub, actual, filter.op, filter.value);
    }
  }
}

function compare(sub: Attribute, actual: unknown, op: Operator, wanted: Literal): boolean {
  const isEquality = op === 'eq' || op === 'ne';
  if (!isEquality && (sub.type === 'boolean' || typeof wanted !== 'string')) {
    throw refuse(`${sub.name} is ${sub.type}; ${op} ${JSON.stringify(wanted)} cannot be asked of it`);
  }
  // Entra ID writes booleans in a filter as strings: roles[primary eq "True"].
  if (sub.type === 'boolean') return ((actual ?? false) === readBoolean(wanted)) === (op === 'eq');
  if (sub.type === 'binary' && ['gt', 'ge', 'lt', 'le'].includes(op)) throw refuse(`${sub.name} has no order`);
  // Of another type: different.
  if (typeof wanted !== 'string') return op === 'ne';
  if (typeof actual !== 'string') return op === 'ne';
  const [own, given] = sub.isCaseExact ? [actual, wanted] : [fold(actual), fold(wanted)];
  return comparisons[op](own, given);
}

const fold = (text: string): string => text.toLowerCase();
/** By code points, as the database orders. */
const order = (one: string, other: string): number => Buffer.compare(Buffer.from(one), Buffer.from(other));

const comparisons: Record<Operator, (own: string, given: string) => boolean> = {
  eq: (own, given) => own === given,
  ne: (own, given) => own !== given,
  co: (own, given) => own.includes(given),
  sw: (own, given) => own.startsWith(given),
  ew: (own, given) => own.endsWith(given),
  gt: (own, given) => order(own, given) > 0,
  ge: (own, given) => order(own, given) >= 0,
  lt: (own, given) => order(own, given) < 0,
  le: (own, given) => order(own, given) <= 0,
};

/**
 * The members that an element has to have to meet the filter, as far as it says so by `eq`: what Entra ID expects `add`
 * to make when none is there.
 */
export function describedBy(filter: Filter): Record<string, unknown> {
  if (filter.op === 'eq') return filter.value === null ? {} : { [filter.attribute]: filter.value };
  return filter.op === 'and' ? Object.assign({}, ...filter.terms.map(describedBy)) : {};
}

/** The values of `sub` in a filter that is nothing but `sub eq "a" or sub eq "b" …`; `null`: it is something else. */
export function valuesOf(filter: Filter, sub: string): string[] | null {
  if (filter.op === 'or') {
    const all = filter.terms.map((term) => valuesOf(term, sub));
    return all.some((values) => values === null) ? null : all.flatMap((values) => values ?? []);
  }
  if (filter.op !== 'eq' || filter.attribute.toLowerCase() !== sub || typeof filter.value !== 'string') return null;
  return [filter.value];
}
