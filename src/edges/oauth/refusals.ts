/**
 * Every refusal of the token endpoint in its wire form: the standard's error code, one sentence, the machine-readable
 * `reason`, and a page that says who can help. The tables are exhaustive: a new reason does not compile without a row.
 */
import type { Refusal } from '../../domain/intents/narrow.ts';
import type { RefusalReason } from '../../protocol.ts';

type OAuthError =
  | 'access_denied'
  | 'invalid_request'
  | 'invalid_scope'
  | 'invalid_target'
  | 'invalid_authorization_details';

/** RFC 9396 for what was asked in details, RFC 6749 for scope; nothing named means the default scope (RFC 6749 §3.3). */
const byAsk = (refusal: Refusal): OAuthError =>
  refusal.by === 'details' ? 'invalid_authorization_details' : 'invalid_scope';

const codes: Record<RefusalReason, (refusal: Refusal) => OAuthError> = {
  approval_required: () => 'access_denied',
  owner_inactive: () => 'access_denied',
  agent_inactive: () => 'access_denied',
  intent_unknown: byAsk,
  intent_not_granted: byAsk,
  intent_required: byAsk,
  environment_mismatch: byAsk,
  details_exceed_intent: byAsk,
  details_invalid: () => 'invalid_authorization_details',
  resource_unknown: () => 'invalid_target',
  resource_required: () => 'invalid_target',
  subject_token_invalid: () => 'invalid_request',
  subject_token_foreign: () => 'invalid_request',
  chain_too_long: () => 'invalid_request',
  exceeds_subject_token: (refusal) => (refusal.by === 'resource' ? 'invalid_target' : byAsk(refusal)),
};

export interface RefusalBody {
  error: OAuthError;
  error_description: string;
  error_uri: string;
  reason: RefusalReason;
}

/** The body of a 400. `error_description` is ASCII without `"` and `\` (RFC 6749 §5.2). */
export function toRefusalBody(refusal: Refusal, issuer: string): RefusalBody {
  return {
    error: codes[refusal.reason](refusal),
    error_description: refusal.explanation.replace(/[^\x20-\x21\x23-\x5B\x5D-\x7E]/g, '?'),
    error_uri: `${issuer}/oauth/errors/${refusal.reason}`,
    reason: refusal.reason,
  };
}

interface Help {
  title: string;
  what: string;
  advice: string;
}

/** What has a page: every reason, and the one error that gives none, for a stranger is not told which check failed. */
export type HelpTopic = RefusalReason | 'invalid_client';

/** The page of every failed client authentication. */
export const clientErrorPage = (issuer: string): string => `${issuer}/oauth/errors/invalid_client`;

const askOwner = 'Ask the person who owns the agent, or an administrator of this Writ.';

export const help: Record<HelpTopic, Help> = {
  invalid_client: {
    title: 'The client did not prove who it is',
    what: 'The agent or API is unknown, or its secret or client assertion did not pass. The answer does not say which check failed.',
    advice:
      'With a secret, send the client id and the secret as they were shown, in one way only. With a key, sign a new assertion for each request: iss and sub are the client id, aud is the issuer and nothing else, jti is new, exp is not past and at most five minutes ahead, and the public key is registered with the agent. An administrator of this Writ sees which check failed: writ audit list --kind client.refused.',
  },
  approval_required: {
    title: 'A human has to approve this write',
    what: 'Agents are read-only by default. The request names an action that changes something, and no live approval covers it.',
    advice:
      'Ask for the read actions of the intent only. This release takes no approvals yet, so no write can be had; what to do instead is for the person who owns the agent, or an administrator of this Writ, to say.',
  },
  owner_inactive: {
    title: 'The owner of this agent has left',
    what: 'Every agent answers to one person. That person is no longer active in the directory, so the agent and all its sub-agents have stopped.',
    advice: 'Stop asking: this answer is final. An administrator can transfer the agent to another owner.',
  },
  agent_inactive: {
    title: 'This agent is not active',
    what: 'The agent, or the agent that created it, is pending, suspended, expired or decommissioned.',
    advice: 'Stop asking: this answer is final until an administrator activates the agent.',
  },
  intent_unknown: {
    title: 'There is no such intent',
    what: 'The catalogue has no intent of the name that was asked for.',
    advice: 'Check the spelling of task_intent. An administrator registers intents.',
  },
  intent_not_granted: {
    title: 'This agent has no grant for the intent',
    what: 'The intent exists, but the agent may not use it at this API; or it is kept for members of certain groups, and the owner of the agent is in none of them.',
    advice: `Have the intent added to the agent, or its owner to one of the groups. ${askOwner}`,
  },
  intent_required: {
    title: 'Name the task',
    what: 'In production a token is for a named task.',
    advice: 'Send authorization_details of type agent_intent, or the intent in scope.',
  },
  environment_mismatch: {
    title: 'Agent and API live in different environments',
    what: 'A token never crosses from one environment into another.',
    advice: 'Use an agent that is registered in the environment of the API.',
  },
  details_exceed_intent: {
    title: 'The request goes beyond the intent',
    what: 'An action, data type or location was asked for that the intent does not have.',
    advice: 'Ask for no more than the catalogue entry of the intent.',
  },
  details_invalid: {
    title: 'The authorization_details cannot be read',
    what: 'They are not a JSON array of agent_intent objects, or have a member that is unknown or of the wrong kind.',
    advice:
      'Send type, task_intent, and optionally actions, locations, datatypes (lists of strings) and identifier (a string).',
  },
  resource_unknown: {
    title: 'There is no such API',
    what: 'No API is registered under the resource that was asked for, or several were named.',
    advice: 'Send one resource, spelled as the API is registered.',
  },
  resource_required: {
    title: 'Name the API',
    what: 'A token is for one API, and the request names none.',
    advice: 'Send resource (RFC 8707).',
  },
  subject_token_invalid: {
    title: 'The subject token is not valid',
    what: 'It, or the actor token beside it, is not an access token of this Writ, or it has expired, or something it depends on was revoked.',
    advice: 'Get a new subject token.',
  },
  subject_token_foreign: {
    title: 'The subject token is not for this agent',
    what: 'An agent exchanges its own tokens, and those that were issued for an API at which it answers.',
    advice: 'Have the API registered with this agent, or use the agent that the token is meant for.',
  },
  chain_too_long: {
    title: 'The chain of agents is too long',
    what: 'A token names at most four actors.',
    advice: 'Let an agent nearer to the start of the chain ask.',
  },
  exceeds_subject_token: {
    title: 'More was asked for than the subject token holds',
    what: 'Authority only shrinks along a chain: no further actions, data types, identifiers or APIs.',
    advice: 'Ask for no more than the subject token names; its locations say for which APIs it can be exchanged.',
  },
};
