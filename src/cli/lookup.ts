/**
 * From what people call a thing to its id. A UUID is an id and nothing else; a name has to belong to one thing, and
 * when it does not, the candidates are listed and nobody guesses.
 */

import { notFound, usage } from './failure.ts';
import type { Row } from './json.ts';
import { textOf } from './print.ts';
import type { Session } from './session.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
export const isUuid = (text: string): boolean => uuid.test(text);

/** An agent's id. A decommissioned agent gives its name up to one that came after it. */
export async function findAgentId(session: Session, reference: string): Promise<string> {
  if (isUuid(reference)) return reference;
  const { items } = await session.client().list('/agents', { name: reference });
  const named = items.filter((agent) => agent.name === reference);
  const current = named.filter((agent) => agent.status !== 'decommissioned');
  const agent = pickOne(current.length === 0 ? named : current, reference, 'agent', ['status', 'environment', 'owner']);
  return String(agent.id);
}

/** A person's id, from the id or the `userName` (case-insensitive, RFC 7643 §4.1.1). The deleted count only alone. */
export async function findPersonId(session: Session, reference: string): Promise<string> {
  if (isUuid(reference)) return reference;
  const { items } = await session.client().list('/people', { userName: reference });
  const named = items.filter((person) => same(person.userName, reference));
  const present = named.filter((person) => !person.deletedAt);
  return String(pickOne(present.length === 0 ? named : present, reference, 'person', ['userName', 'directory']).id);
}

/** A group's id, from the id or the display name, which several directories may have given. */
export async function findGroupId(session: Session, reference: string): Promise<string> {
  if (isUuid(reference)) return reference;
  const { items } = await session.client().list('/groups', { q: reference });
  const named = items.filter((group) => group.displayName === reference);
  return String(pickOne(named, reference, 'group', ['displayName', 'directory']).id);
}

/** An item of a list that is short by nature, by its id or by one of `names`. */
export async function findListed(
  session: Session,
  path: string,
  reference: string,
  noun: string,
  names: string[],
): Promise<Row> {
  const { items } = await session.client().list(path);
  const found = items.filter((item) => item.id === reference || names.some((name) => item[name] === reference));
  return pickOne(found, reference, noun, names);
}

export function pickOne(candidates: Row[], reference: string, noun: string, distinguishing: string[]): Row {
  const [first, ...others] = candidates;
  if (first === undefined)
    throw notFound(`There is no ${noun} "${reference}". See what there is with the \`list\` command.`);
  if (others.length === 0) return first;
  const lines = candidates.map(
    (each) => `  ${[each.id, ...distinguishing.map((name) => each[name])].map(textOf).join('  ')}`,
  );
  throw usage(`"${reference}" names ${candidates.length} of them; say which by its id:\n${lines.join('\n')}`);
}

export const same = (value: unknown, text: string): boolean =>
  typeof value === 'string' && value.toLowerCase() === text.toLowerCase();
