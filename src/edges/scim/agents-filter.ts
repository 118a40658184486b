/**
 * What the names of a filter and of `sortBy` mean for agents (RFC 7644 §3.4.2.2): to a condition of the domain. Pure. What
 * an agent does not have, an external id too, is refused: it would match nobody, and the agent would be created anew.
 */
import type { AgentCondition, AgentOrder } from '../../domain/agents/directory-agents.ts';
import { agentSchema } from './agent-schema.ts';
import { readBoolean } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import type { Filter, Literal, Operator } from './filter.ts';
import { bareName } from './list.ts';

const refuse = (detail: string) => new ScimRefusal('invalidFilter', `filter: ${detail}`);

const nameOf = (attribute: string): string => {
  const name = bareName(agentSchema.urn, attribute);
  // `name` is that of draft-abbey-scim-agent-extension-00.
  return name === 'name' || name === 'displayname' ? 'agentusername' : name;
};

export function toAgentCondition(filter: Filter): AgentCondition {
  switch (filter.op) {
    case 'and':
      return { all: filter.terms.map(toAgentCondition) };
    case 'or':
      return { any: filter.terms.map(toAgentCondition) };
    case 'not':
      return { not: toAgentCondition(filter.term) };
    case 'some':
      if (nameOf(filter.attribute) !== 'owners') throw refuse(`${filter.attribute} has no elements`);
      return toAgentCondition(withPrefix(filter.filter));
    case 'pr':
      return toPresence(filter.attribute);
    default:
      return toTest(filter.attribute, filter.op, filter.value);
  }
}

/** An agent has one owner, so what one element meets the agent meets. */
function withPrefix(filter: Filter): Filter {
  if ('terms' in filter) return { ...filter, terms: filter.terms.map(withPrefix) };
  if ('term' in filter) return { ...filter, term: withPrefix(filter.term) };
  return { ...filter, attribute: `owners.${filter.attribute}` };
}

function toPresence(attribute: string): AgentCondition {
  switch (nameOf(attribute)) {
    case 'id':
    case 'subject':
    case 'agentusername':
    case 'active':
    case 'owners':
    case 'owners.value':
      return { always: true };
    case 'description':
      return { field: 'description', is: 'present' };
    case 'parent':
    case 'parent.value':
      return { field: 'parent', is: 'present' };
    default:
      throw refuse(`${attribute} cannot be searched for`);
  }
}

function toTest(attribute: string, op: Operator, value: Literal): AgentCondition {
  switch (nameOf(attribute)) {
    case 'id':
    case 'subject':
      return toEquality('id', attribute, op, value);
    case 'owners':
    case 'owners.value':
      return toEquality('owner', attribute, op, value);
    case 'parent':
    case 'parent.value':
      return toEquality('parent', attribute, op, value);
    case 'agentusername':
      return toTextTest('name', attribute, op, value);
    case 'description':
      return toTextTest('description', attribute, op, value);
    case 'active': {
      const active = readBoolean(value);
      if (active === null || (op !== 'eq' && op !== 'ne')) throw refuse(`${attribute} is compared with true or false`);
      return { field: 'live', is: 'eq', value: active === (op === 'eq') };
    }
    default:
      throw refuse(`${attribute} cannot be searched for`);
  }
}

function stringOf(attribute: string, value: Literal): string {
  if (typeof value !== 'string') throw refuse(`${attribute} is compared with a string`);
  return value;
}

const negateIf = (isNegative: boolean, condition: AgentCondition): AgentCondition =>
  isNegative ? { not: condition } : condition;

function toEquality(field: 'id' | 'owner' | 'parent', attribute: string, op: Operator, value: Literal): AgentCondition {
  if (op !== 'eq' && op !== 'ne') throw refuse(`${attribute} is compared with eq and ne`);
  return negateIf(op === 'ne', { field, is: 'eq', value: stringOf(attribute, value) });
}

function toTextTest(field: 'name' | 'description', attribute: string, op: Operator, value: Literal): AgentCondition {
  const text = stringOf(attribute, value);
  switch (op) {
    case 'eq':
    case 'co':
    case 'sw':
    case 'ew':
      return { field, is: op, value: text };
    case 'ne':
      return { not: { field, is: 'eq', value: text } };
    default:
      throw refuse(`${attribute} is compared with eq, ne, co, sw and ew`);
  }
}

const orders: Record<string, AgentOrder['by']> = {
  id: 'id',
  subject: 'id',
  agentusername: 'name',
  'meta.created': 'createdAt',
  'meta.lastmodified': 'updatedAt',
};

/** RFC 7644 §3.4.2.3: `sortOrder` says nothing without `sortBy`. */
export function toAgentOrder(sortBy: string | null, isDescending: boolean): AgentOrder | null {
  if (sortBy === null) return null;
  const by = orders[nameOf(sortBy)];
  if (by === undefined) throw new ScimRefusal('invalidValue', `sortBy: agents are not ordered by ${sortBy}`);
  return { by, isDescending };
}
