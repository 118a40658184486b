/**
 * The typed mirror of migrations/. The SQL is the truth: constraints, triggers and indexes live there, and a test
 * compares the columns of the two. Instants are `Date`; `bigint` columns are numbers (sequence numbers and counters
 * that stay far below 2^53).
 */
import { sql } from 'drizzle-orm';
import { bigint, boolean, doublePrecision, integer, jsonb, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core';
import type { Action, Risk, SigningAlgorithm } from '../../protocol.ts';
import { bytea, count, createdAt, id, instant, updatedAt } from './columns.ts';

export type DirectoryKind =
  | 'okta'
  | 'entra'
  | 'onelogin'
  | 'jumpcloud'
  | 'ping'
  | 'google'
  | 'rippling'
  | 'authentik'
  | 'generic';
export type AgentStatus = 'pending' | 'active' | 'suspended' | 'decommissioned';
/** What becomes of an agent when its owner leaves. */
export type LeaverPolicy = 'stop' | 'quarantine' | 'handover';
export type GroupRole = 'admin' | 'security_reviewer' | 'auditor';
export type HandoverState = 'offered' | 'accepted' | 'declined' | 'withdrawn';
export type Confirmation = 'needed' | 'confirmed' | 'undone';
export type LatchReason = 'owner_lost' | 'expired';
export type HoldingKind = 'intent' | 'unexpired' | 'dead';
/** An agent as a receipt keeps it. Receipts of earlier releases have the first two members alone. */
export interface ReceiptAgent {
  id: string;
  name: string;
  parent?: string | null;
  outcome?: LeaverOutcome;
  /** Of the root of a tree in quarantine: when that ends, as PostgreSQL writes it in JSON. */
  until?: string | null;
  /** Of the root of a tree that is offered: to whom. */
  to?: string | null;
}
export type LeaverOutcome = 'stopped' | 'quarantined' | 'offered';
/** A public JWK as registered. */
export type PublicJwk = Record<string, unknown> & { kty: string };

export const directories = pgTable('directories', {
  id: id(),
  name: text('name').notNull(),
  kind: text('kind').$type<DirectoryKind>().notNull(),
  createdAt: createdAt(),
  requiredGroupId: uuid('required_group_id'),
  massDeparturePercent: integer('mass_departure_percent'),
  scimAgents: boolean('scim_agents').notNull().default(false),
  scimAgentsEnvironment: text('scim_agents_environment').notNull().default('sandbox'),
  silenceAfterSeconds: integer('silence_after_seconds'),
  requestsPerMinute: integer('requests_per_minute'),
  lastContactAt: instant('last_contact_at'),
  silentSince: instant('silent_since'),
});

export const directoryTokens = pgTable('directory_tokens', {
  hash: bytea('hash').primaryKey(),
  directoryId: uuid('directory_id').notNull(),
  createdAt: createdAt(),
  expiresAt: instant('expires_at'),
  warnedAt: instant('warned_at'),
});

export const scimRequests = pgTable('scim_requests', {
  id: bigint('id', { mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  directoryId: uuid('directory_id').notNull(),
  at: instant('at').notNull().defaultNow(),
  requestId: text('request_id').notNull(),
  method: text('method').notNull(),
  path: text('path').notNull(),
  status: integer('status').notNull(),
  scimType: text('scim_type'),
  detail: text('detail'),
  ignored: text('ignored').array().notNull().default([]),
  effect: text('effect'),
  tookMs: doublePrecision('took_ms').notNull(),
  userAgent: text('user_agent'),
});

export const people = pgTable('people', {
  id: id(),
  directoryId: uuid('directory_id').notNull(),
  userName: text('user_name').notNull(),
  externalId: text('external_id'),
  displayName: text('display_name'),
  active: boolean('active').notNull().default(true),
  deletedAt: instant('deleted_at'),
  attributes: jsonb('attributes').$type<Record<string, unknown>>().notNull().default({}),
  version: count('version').notNull().default(1),
  createdAt: createdAt(),
  updatedAt: updatedAt(),
  /** The directory requires membership of a group that this person is not in. */
  excluded: boolean('excluded').notNull().default(false),
  /** Raised whenever what the person's agents may use at most may have changed. */
  rights: count('rights').notNull().default(0),
  /** The one definition of a live person: active, not excluded, not deleted. */
  live: boolean('live').notNull().generatedAlwaysAs(sql`active and not excluded and deleted_at is null`),
});

export const groups = pgTable('groups', {
  id: id(),
  directoryId: uuid('directory_id').notNull(),
  displayName: text('display_name').notNull(),
  externalId: text('external_id'),
  attributes: jsonb('attributes').$type<Record<string, unknown>>().notNull().default({}),
  version: count('version').notNull().default(1),
  createdAt: createdAt(),
  updatedAt: updatedAt(),
});

export const groupMembers = pgTable(
  'group_members',
  { groupId: uuid('group_id').notNull(), personId: uuid('person_id').notNull() },
  (table) => [primaryKey({ columns: [table.groupId, table.personId] })],
);

export const apis = pgTable('apis', {
  id: id(),
  identifier: text('identifier').notNull(),
  name: text('name').notNull(),
  environment: text('environment').notNull(),
  tokenTtlSeconds: integer('token_ttl_seconds').notNull().default(300),
  scopes: text('scopes').array().notNull().default([]),
  signingAlgorithm: text('signing_algorithm').$type<SigningAlgorithm>().notNull().default('ES256'),
  agentId: uuid('agent_id'),
  clientId: uuid('client_id').notNull().defaultRandom(),
  secretHash: bytea('secret_hash').notNull(),
  createdAt: createdAt(),
});

export const intents = pgTable('intents', {
  id: id(),
  taskIntent: text('task_intent').notNull(),
  description: text('description').notNull(),
  actions: text('actions').array().$type<Action[]>().notNull(),
  datatypes: text('datatypes').array().notNull(),
  risk: text('risk').$type<Risk>().notNull(),
  createdAt: createdAt(),
});

export const intentApis = pgTable(
  'intent_apis',
  { intentId: uuid('intent_id').notNull(), apiId: uuid('api_id').notNull() },
  (table) => [primaryKey({ columns: [table.intentId, table.apiId] })],
);

export const catalogue = pgTable('catalogue', {
  one: boolean('one').primaryKey().default(true),
  version: count('version').notNull(),
});

export const agents = pgTable('agents', {
  id: id(),
  name: text('name').notNull(),
  description: text('description').notNull().default(''),
  ownerId: uuid('owner_id').notNull(),
  environment: text('environment').notNull(),
  project: text('project'),
  parentId: uuid('parent_id'),
  /** Set by trigger; what an insert gives here is replaced. */
  path: uuid('path').array().notNull(),
  status: text('status').$type<AgentStatus>().notNull().default('active'),
  expiresAt: instant('expires_at'),
  credentialKind: text('credential_kind').$type<'jwks' | 'secret'>().notNull(),
  jwks: jsonb('jwks').$type<{ keys: PublicJwk[] }>(),
  secretHash: bytea('secret_hash'),
  version: count('version').notNull().default(1),
  createdAt: createdAt(),
  updatedAt: updatedAt(),
  /** `null`: that of its environment. Of a tree, its root's. */
  leaverPolicy: text('leaver_policy').$type<LeaverPolicy>(),
  deputyId: uuid('deputy_id'),
  heldBy: text('held_by').$type<'agent' | 'api' | 'directory' | 'administrator' | 'system'>(),
});

export const environments = pgTable('environments', {
  name: text('name').primaryKey(),
  leaverPolicy: text('leaver_policy').$type<LeaverPolicy>().notNull().default('stop'),
  quarantineSeconds: integer('quarantine_seconds').notNull().default(86_400),
  handoverSeconds: integer('handover_seconds').notNull().default(604_800),
});

export const quarantines = pgTable('quarantines', {
  agentId: uuid('agent_id').primaryKey(),
  personId: uuid('person_id').notNull(),
  offboardingId: uuid('offboarding_id').notNull(),
  since: instant('since').notNull(),
  until: instant('until').notNull(),
});

export const handovers = pgTable('handovers', {
  id: id(),
  agentId: uuid('agent_id').notNull(),
  offboardingId: uuid('offboarding_id').notNull(),
  fromId: uuid('from_id').notNull(),
  toId: uuid('to_id').notNull(),
  state: text('state').$type<HandoverState>().notNull().default('offered'),
  offeredAt: instant('offered_at').notNull().defaultNow(),
  expiresAt: instant('expires_at').notNull(),
  decidedAt: instant('decided_at'),
  decidedBy: text('decided_by'),
  reason: text('reason'),
});

export const groupRoles = pgTable(
  'group_roles',
  { groupId: uuid('group_id').notNull(), role: text('role').$type<GroupRole>().notNull(), createdAt: createdAt() },
  (table) => [primaryKey({ columns: [table.groupId, table.role] })],
);

export const groupIntents = pgTable(
  'group_intents',
  { groupId: uuid('group_id').notNull(), intentId: uuid('intent_id').notNull(), createdAt: createdAt() },
  (table) => [primaryKey({ columns: [table.groupId, table.intentId] })],
);

export const agentIntents = pgTable(
  'agent_intents',
  { agentId: uuid('agent_id').notNull(), intentId: uuid('intent_id').notNull() },
  (table) => [primaryKey({ columns: [table.agentId, table.intentId] })],
);

export const latches = pgTable(
  'latches',
  {
    agentId: uuid('agent_id').notNull(),
    reason: text('reason').$type<LatchReason>().notNull(),
    since: instant('since').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.agentId, table.reason] })],
);

export const assertions = pgTable('assertions', {
  id: bytea('id').primaryKey(),
  expiresAt: instant('expires_at').notNull(),
});

export const subjects = pgTable('subjects', {
  id: text('id').primaryKey(),
  epoch: count('epoch').notNull(),
  expiresAt: instant('expires_at'),
});

export const feed = pgTable('feed', {
  one: boolean('one').primaryKey().default(true),
  seq: count('seq').notNull(),
  swept: count('swept').notNull(),
});

export const revocations = pgTable('revocations', {
  seq: count('seq').primaryKey(),
  subject: text('subject'),
  epoch: count('epoch'),
  kid: text('kid'),
  at: instant('at').notNull().defaultNow(),
  expiresAt: instant('expires_at').notNull(),
});

export const acknowledgements = pgTable(
  'acknowledgements',
  {
    apiId: uuid('api_id').notNull(),
    verifier: text('verifier').notNull(),
    seq: count('seq').notNull(),
    at: instant('at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.apiId, table.verifier, table.seq] })],
);

export const followers = pgTable(
  'followers',
  {
    node: uuid('node').notNull(),
    apiId: uuid('api_id').notNull(),
    verifier: text('verifier').notNull(),
    seenAt: instant('seen_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.node, table.apiId, table.verifier] })],
);

export const offboardings = pgTable('offboardings', {
  id: id(),
  personId: uuid('person_id').notNull(),
  directoryId: uuid('directory_id').notNull(),
  userName: text('user_name').notNull(),
  method: text('method').notNull(),
  requestId: text('request_id').notNull(),
  agents: jsonb('agents').$type<ReceiptAgent[]>().notNull(),
  tokensUnexpired: integer('tokens_unexpired').notNull(),
  requestedAt: instant('requested_at').notNull(),
  committedAt: instant('committed_at').notNull(),
  answeredAt: instant('answered_at'),
  seq: count('seq').notNull(),
  confirmation: text('confirmation').$type<Confirmation>(),
  confirmedAt: instant('confirmed_at'),
  confirmedBy: text('confirmed_by'),
  /** Verifiers that were connected. `null`: of an earlier release, without `offboardingHoldings`. */
  connected: jsonb('connected').$type<{ api: string; verifier: string }[]>(),
});

export const offboardingHoldings = pgTable(
  'offboarding_holdings',
  {
    offboardingId: uuid('offboarding_id').notNull(),
    kind: text('kind').$type<HoldingKind>().notNull(),
    value: text('value').notNull(),
    agents: uuid('agents').array().notNull(),
  },
  (table) => [primaryKey({ columns: [table.offboardingId, table.kind, table.value] })],
);

export const auditNodes = pgTable('audit_nodes', {
  node: uuid('node').primaryKey(),
  counter: count('counter').notNull().default(0),
  startedAt: instant('started_at').notNull().defaultNow(),
});

export const auditEntries = pgTable(
  'audit_entries',
  {
    node: uuid('node').notNull(),
    counter: count('counter').notNull(),
    at: instant('at').notNull(),
    kind: text('kind').notNull(),
    body: text('body').notNull(),
    mac: bytea('mac').notNull(),
    agentId: uuid('agent_id'),
    personId: uuid('person_id'),
    intent: text('intent'),
    jti: text('jti'),
    expiresAt: instant('expires_at'),
    dependsOn: text('depends_on').array(),
  },
  (table) => [primaryKey({ columns: [table.node, table.counter] })],
);

export const auditChain = pgTable('audit_chain', {
  number: count('number').primaryKey(),
  node: uuid('node').notNull(),
  counter: count('counter').notNull(),
  hash: bytea('hash').notNull(),
});

export const auditSealed = pgTable('audit_sealed', {
  node: uuid('node').primaryKey(),
  counter: count('counter').notNull(),
});

export const checkpoints = pgTable('checkpoints', {
  number: count('number').primaryKey(),
  hash: bytea('hash').notNull(),
  at: instant('at').notNull().defaultNow(),
  jws: text('jws').notNull(),
});

export const sealedKeys = pgTable('sealed_keys', {
  name: text().primaryKey(),
  sealed: bytea().notNull(),
});

export const signingKeys = pgTable('signing_keys', {
  kid: text('kid').primaryKey(),
  algorithm: text('algorithm').$type<SigningAlgorithm>().notNull(),
  publicJwk: jsonb('public_jwk').$type<PublicJwk>().notNull(),
  privateKey: bytea('private_key').notNull(),
  createdAt: createdAt(),
  signsFrom: instant('signs_from').notNull(),
  retiredAt: instant('retired_at'),
  revokedAt: instant('revoked_at'),
});

export const adminTokens = pgTable('admin_tokens', {
  hash: bytea('hash').primaryKey(),
  name: text('name').notNull(),
  createdAt: createdAt(),
});
