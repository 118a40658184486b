/**
 * The wire vocabulary: names that other programs rely on to the letter, and their shapes.
 * Imports nothing, so that the SDKs can share it with the server.
 */

export const grantTypes = {
  clientCredentials: 'client_credentials',
  tokenExchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
} as const;

export const clientAssertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
export const jwtTokenType = 'urn:ietf:params:oauth:token-type:jwt';
export const agentIntentType = 'agent_intent';

/** Signature algorithms an API can choose for its tokens. `Ed25519` is RFC 9864's name; verifiers accept `EdDSA` too. */
export const signingAlgorithms = ['ES256', 'Ed25519', 'RS256'] as const;
export type SigningAlgorithm = (typeof signingAlgorithms)[number];

/** `typ` of every kind of JWT that Writ makes. Only `at+jwt` names an API in `aud`. */
export const jwtTypes = {
  accessToken: 'at+jwt',
  receipt: 'writ-receipt+jwt',
  checkpoint: 'writ-checkpoint+jwt',
} as const;

export const readActions = ['read', 'list', 'search'] as const;
export const writeActions = ['create', 'update', 'delete', 'execute'] as const;
export const actions = [...readActions, ...writeActions] as const;
export type Action = (typeof actions)[number];
export const isWriteAction = (action: string): boolean => !(readActions as readonly string[]).includes(action);

export const risks = ['read', 'write', 'destructive'] as const;
export type Risk = (typeof risks)[number];

/** RFC 9396 authorization details of type `agent_intent`, as asked for. */
export interface AgentIntentRequest {
  type: typeof agentIntentType;
  task_intent: string;
  actions?: string[];
  locations?: string[];
  datatypes?: string[];
  identifier?: string;
}

/** RFC 9396 authorization details of type `agent_intent`, as granted. `identifier` absent: any. */
export interface AgentIntent extends AgentIntentRequest {
  actions: Action[];
  locations: string[];
  datatypes: string[];
}

/** RFC 8693 §4.1: the outermost is the current actor. */
export interface Actor {
  sub: string;
  act?: Actor;
}

/** Claims of an access token (RFC 9068, and Writ's own). Times are NumericDate seconds. */
export interface AccessTokenClaims {
  iss: string;
  aud: string;
  sub: string;
  client_id: string;
  iat: number;
  exp: number;
  jti: string;
  scope?: string;
  authorization_details: AgentIntent[];
  human_owner_id: string;
  task_intent?: string;
  /** For each subject the token depends on, the epoch it was issued in; a higher epoch in the feed ends the token. */
  epochs: Record<string, number>;
  act?: Actor;
  agent: { name: string; environment: string; trust: number };
}

/** Why the token endpoint refused, beside the RFC's `error`. Closed. */
export const refusalReasons = [
  'approval_required',
  'owner_inactive',
  'agent_inactive',
  'intent_unknown',
  'intent_not_granted',
  'intent_required',
  'environment_mismatch',
  'resource_unknown',
  'resource_required',
  'details_invalid',
  'details_exceed_intent',
  'subject_token_invalid',
  'subject_token_foreign',
  'exceeds_subject_token',
  'chain_too_long',
] as const;
export type RefusalReason = (typeof refusalReasons)[number];

/** Events of `GET /revocations` (Server-Sent Events). */
export interface FeedSnapshot {
  seq: number;
  revocations: { subject: string; epoch: number }[];
  /** Key ids that are dead although they may still be cached. */
  keys: string[];
  /** Instant of the read on the database's clock, ISO 8601. */
  readAt: string;
  /** Newest signed checkpoint of the audit log (compact JWS), `null` before the first one. */
  checkpoint: string | null;
}
export type FeedRevocation =
  | { seq: number; subject: string; epoch: number; at: string }
  | { seq: number; kid: string; at: string };
export interface FeedHeartbeat {
  seq: number;
  readAt: string;
  checkpoint: string | null;
}

/** Members that Writ adds to RFC 8414 metadata. */
export interface WritMetadata {
  writ_feed_endpoint: string;
}

export const scimUrns = {
  user: 'urn:ietf:params:scim:schemas:core:2.0:User',
  enterpriseUser: 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User',
  group: 'urn:ietf:params:scim:schemas:core:2.0:Group',
  listResponse: 'urn:ietf:params:scim:api:messages:2.0:ListResponse',
  patchOp: 'urn:ietf:params:scim:api:messages:2.0:PatchOp',
  searchRequest: 'urn:ietf:params:scim:api:messages:2.0:SearchRequest',
  bulkRequest: 'urn:ietf:params:scim:api:messages:2.0:BulkRequest',
  bulkResponse: 'urn:ietf:params:scim:api:messages:2.0:BulkResponse',
  error: 'urn:ietf:params:scim:api:messages:2.0:Error',
} as const;
