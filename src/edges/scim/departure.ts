/**
 * "This person is gone", read off the body of a request before anything else looks at it, in every spelling that
 * identity providers are known to use. Pure, total, and deliberately wider than RFC 7644 §3.5.2: a departure that is
 * not understood leaves the leaver's agents running, so whatever plainly says it is believed, however it is wrapped,
 * and even when nothing else of the request makes sense.
 *
 * Order is honoured: within one PATCH the last intelligible word on `active` counts.
 */
import { scimUrns } from '../../protocol.ts';

/**
 * `leaves`, `returns`: the last word. `unclear`: `active` is mentioned with a value that is neither true nor false, and
 * nothing says that the person leaves; to be refused (400 invalidValue). `unsaid`: not mentioned.
 */
export type Departure = 'leaves' | 'returns' | 'unclear' | 'unsaid';

type Json = Record<string, unknown>;

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const userUrn = scimUrns.user.toLowerCase();

/** `true`/`false`, as JSON or as a string in any case (Entra ID: `"False"`); anything else is `null`. */
export function readBoolean(value: unknown): boolean | null {
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'string') return null;
  const word = value.trim().toLowerCase();
  return word === 'true' ? true : word === 'false' ? false : null;
}

/** A name without what may surround it: the User schema's URN, and the `:` or `.` that joins the two. */
function bareWord(name: string): string {
  const word = name.trim().toLowerCase();
  return word.startsWith(userUrn) ? word.slice(userUrn.length).replace(/^[:.]/, '') : word;
}

/** Is this member name or path `active`, bare or qualified with the User schema's URN? */
const namesActive = (name: string): boolean => bareWord(name) === 'active';
/** Is it the User schema as a whole? */
const namesUser = (name: string): boolean => name.trim() !== '' && bareWord(name) === '';

/** Wrappings inside each other that are looked into; bounds the stack on any body. */
const maxWrappings = 16;

/** What a value given to `active` says; it may be wrapped in an array of one, or in an object. */
function judge(value: unknown, depthLeft = maxWrappings): Departure {
  const said = readBoolean(value);
  if (said !== null) return said ? 'returns' : 'leaves';
  if (depthLeft === 0) return 'unclear';
  if (Array.isArray(value) && value.length === 1) return judge(value[0], depthLeft - 1);
  if (isObject(value)) {
    const inner = Object.entries(value).find(([name]) => namesActive(name) || name.toLowerCase() === 'value');
    if (inner !== undefined) return judge(inner[1], depthLeft - 1);
  }
  return 'unclear';
}

/** A resource, or the value of an operation without a path: members by any name, the URN also as an object of its own. */
function judgeResource(resource: unknown, nullMeansUnsaid: boolean, depthLeft = maxWrappings): Departure {
  const words: Departure[] = [];
  if (depthLeft === 0) return 'unsaid';
  for (const part of Array.isArray(resource) ? resource : [resource]) {
    if (!isObject(part)) continue;
    for (const [name, value] of Object.entries(part)) {
      if (namesActive(name)) words.push(value === null && nullMeansUnsaid ? 'unsaid' : judge(value));
      else if (namesUser(name)) words.push(judgeResource(value, nullMeansUnsaid, depthLeft - 1));
    }
  }
  // Two spellings in one object have no order: the departure wins.
  return (['leaves', 'unclear', 'returns'] as const).find((word) => words.includes(word)) ?? 'unsaid';
}

function judgeOperation(operation: unknown): Departure {
  if (!isObject(operation)) return 'unsaid';
  // Of two that differ only in case the last, as whoever applies the operation reads it.
  const member = (wanted: string) => Object.entries(operation).findLast(([name]) => name.toLowerCase() === wanted)?.[1];
  const op = member('op');
  const path = member('path');
  const value = member('value');
  const names = typeof path === 'string' ? path.trim() : '';
  if (names === '' || namesUser(names)) return judgeResource(value, false);
  if (!namesActive(names)) return 'unsaid';
  // Without the attribute nobody vouches for the person any more; no IdP is known to send it, so nothing is lost by
  // reading it the safe way.
  if (typeof op === 'string' && op.trim().toLowerCase() === 'remove') return 'leaves';
  return judge(value);
}

/** Of all members of that name, which may differ in case; whoever applies them refuses more than one. */
const operationsOf = (body: Json): unknown[] | null => {
  const found = Object.entries(body).filter(([name]) => name.toLowerCase() === 'operations');
  return found.length === 0 ? null : found.flatMap(([, list]) => list);
};

/**
 * What this request says about whether the person is there.
 *
 * A PUT or POST that leaves `active` out, or gives `null` (RFC 7643 §2.5: the same), says nothing. In a PATCH `null` is
 * an explicit word that could mean either thing, and is refused as unclear.
 */
export function readDeparture(method: string, body: unknown): Departure {
  if (method === 'DELETE') return 'leaves';
  if (!isObject(body)) return 'unsaid';
  if (method !== 'PATCH') return judgeResource(body, true);
  const operations = operationsOf(body);
  // A PATCH that is not the PatchOp message but a bare resource.
  if (operations === null) return judgeResource(body, false);
  let last: Departure = 'unsaid';
  let isUnclear = false;
  for (const operation of operations) {
    const said = judgeOperation(operation);
    if (said === 'unclear') isUnclear = true;
    else if (said !== 'unsaid') last = said;
  }
  // Beside the operations, where no message has it, it is still plain enough.
  if (judgeResource(body, true) === 'leaves') return 'leaves';
  return last !== 'leaves' && isUnclear ? 'unclear' : last;
}
