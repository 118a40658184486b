/**
 * An audit entry as it is stored. `body` is the truth, byte for byte: the JSON text of the entry with its members in
 * one fixed order, MACed under a key that only the nodes have. The other columns repeat parts of it for searching, and
 * `columnsOf` is the one definition of what they have to say.
 *
 * Pure, and on the way of every token: nothing here reads a clock, waits, or throws for what a caller put in.
 */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { canonicalId } from '../../platform/db/uuid.ts';

/** This process in the log: made once at start, enlisted in `audit_nodes`. */
export interface AuditNode {
  /** UUID. */
  id: string;
  /** 32 bytes, kept sealed in the database (`sealed-key.ts`); the same on all nodes. */
  macKey: Buffer;
}

/** Who acts, in which request: made by an edge for each request. */
export interface Act {
  node: AuditNode;
  by: { type: 'agent' | 'api' | 'directory' | 'administrator' | 'system'; id: string };
  requestId: string;
  /** The remote address, `null` when nobody outside asked. */
  from: string | null;
  /** Of the caller's trace, when the request named one (W3C Trace Context). */
  traceId?: string | undefined;
}

export type AuditKind =
  | 'token.issued'
  | 'token.exchanged'
  | 'token.refused'
  | 'token.revoked'
  | 'client.refused'
  | 'directory.created'
  | 'directory.changed'
  | 'directory.token_rotated'
  | 'directory.mass_departure'
  | 'directory.token_added'
  | 'directory.token_expiring'
  | 'directory.silent'
  | 'directory.heard_again'
  | 'person.created'
  | 'person.changed'
  | 'person.offboarded'
  | 'person.returned'
  | 'offboarding.confirmed'
  | 'offboarding.undone'
  | 'group.created'
  | 'group.changed'
  | 'group.deleted'
  | 'group.rights_changed'
  | 'scim.refused'
  | 'api.created'
  | 'api.changed'
  | 'intent.created'
  | 'agent.created'
  | 'agent.changed'
  | 'agent.suspended'
  | 'agent.activated'
  | 'agent.decommissioned'
  | 'agent.transferred'
  | 'agent.expired'
  | 'agent.quarantined'
  | 'environment.changed'
  | 'handover.offered'
  | 'handover.accepted'
  | 'handover.declined'
  | 'key.created'
  | 'key.rotated'
  | 'key.revoked'
  | 'key.rewrapped'
  | 'admin.refused';

/** One ALLOW or DENY in the form in which every decision is recorded (design §5). */
export interface Decision {
  principal: string;
  action_requested: string;
  resource: string | null;
  context_attribute: {
    human_owner_id: string;
    task_intent: string;
    time_frame: { from: string; until: string } | null;
    on_behalf_of: string | null;
    environment: string;
    trust: number;
    approval: string | null;
  };
  policy_decision: 'ALLOW' | 'DENY';
  reason: string[];
}

/** What happened. One event for each act; never a secret, a token or an assertion. */
export interface AuditEvent {
  kind: AuditKind;
  outcome: 'done' | 'refused';
  agent?: string;
  /** The owner, or the person concerned. */
  person?: string;
  intent?: string;
  jti?: string;
  /** When an issued token ends. */
  expiresAt?: Date;
  /** Ids of owners, only for tokens that depend on further ones than `person`. */
  dependsOn?: string[];
  reason?: string;
  decision?: Decision;
  details?: Record<string, unknown>;
}

/** The parsed body. Members that the event lacked are absent; instants are ISO 8601 in UTC with milliseconds. */
export interface AuditBody extends Omit<AuditEvent, 'kind' | 'expiresAt'> {
  node: string;
  counter: number;
  at: string;
  /** Also kinds that a newer release has written. */
  kind: AuditKind | (string & {});
  by: Act['by'];
  from: string | null;
  requestId: string;
  expiresAt?: string;
}

/** The columns that repeat the body. */
export interface AuditColumns {
  node: string;
  counter: number;
  at: Date;
  kind: string;
  agentId: string | null;
  personId: string | null;
  intent: string | null;
  jti: string | null;
  expiresAt: Date | null;
  dependsOn: string[] | null;
}

/** A row of `audit_entries`, before it is sealed. */
export interface AuditRow extends AuditColumns {
  body: string;
  /** HMAC-SHA256 of the bytes of `body`. */
  mac: Buffer;
}

// A KeyObject is five times as fast to MAC with as the bytes of the key.
const keyObjects = new WeakMap<Buffer, KeyObject>();

function toKeyObject(key: Buffer): KeyObject {
  const known = keyObjects.get(key);
  if (known !== undefined) return known;
  const made = createSecretKey(key);
  keyObjects.set(key, made);
  return made;
}

/** The MAC of a body under a node's key. */
export const macOf = (macKey: Buffer, body: string): Buffer =>
  createHmac('sha256', toKeyObject(macKey)).update(body, 'utf8').digest();

const maxSearchable = 1000;

// Events of refused requests name what a stranger sent. What a column cannot hold is in the body all the same.
const uuidColumn = (value: string | undefined): string | null => (value === undefined ? null : canonicalId(value));
const textColumn = (value: string | undefined): string | null =>
  value !== undefined && value.length <= maxSearchable && !value.includes('\0') && value.isWellFormed() ? value : null;

/** What columns are made from: a body, or what is about to become one. */
type Searchable = Pick<AuditBody, 'node' | 'counter' | 'kind'> & {
  [name in 'agent' | 'person' | 'intent' | 'jti']?: string | undefined;
} & { at: string | Date; expiresAt?: string | Date | undefined; dependsOn?: string[] | undefined };

/** What the search columns of an entry have to say. */
export function columnsOf(entry: Searchable): AuditColumns {
  const owners = entry.dependsOn?.flatMap((owner) => textColumn(owner) ?? []) ?? [];
  return {
    node: entry.node,
    counter: entry.counter,
    at: new Date(entry.at),
    kind: entry.kind,
    agentId: uuidColumn(entry.agent),
    personId: uuidColumn(entry.person),
    intent: textColumn(entry.intent),
    jti: textColumn(entry.jti),
    expiresAt: entry.expiresAt === undefined ? null : new Date(entry.expiresAt),
    dependsOn: owners.length === 0 ? null : owners,
  };
}

/** The row for `event`, as the `counter`-th of the act's node, at an instant of the database's clock. */
export function compose(act: Act, counter: number, at: Date, event: AuditEvent): AuditRow {
  // The order of the members is part of the format.
  const entry = {
    node: act.node.id,
    counter,
    at: at.toISOString(),
    kind: event.kind,
    by: act.by,
    from: act.from,
    requestId: act.requestId,
    outcome: event.outcome,
    agent: event.agent,
    person: event.person,
    intent: event.intent,
    jti: event.jti,
    expiresAt: event.expiresAt,
    dependsOn: event.dependsOn,
    reason: event.reason,
    decision: event.decision,
    details: act.traceId === undefined ? event.details : { ...event.details, traceId: act.traceId },
  };
  const body = JSON.stringify(entry);
  return { ...columnsOf({ ...entry, at }), body, mac: macOf(act.node.macKey, body) };
}

/** Parses a stored body; `null` when it is not one, which only an edit can cause. */
export function readBody(text: string): AuditBody | null {
  try {
    const body: AuditBody | null = JSON.parse(text);
    return typeof body === 'object' && typeof body?.node === 'string' ? body : null;
  } catch {
    return null;
  }
}
