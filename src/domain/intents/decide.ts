/**
 * May this agent do this task at this API? Pure: the agent, the catalogue and the request in; a proposal or a refusal
 * out. Nothing is issued on a proposal alone: it still has to pass the owner's lock (domain/tokens/commit.ts).
 */

import { type AgentIntent, type AgentIntentRequest, agentIntentType } from '../../protocol.ts';
import { judge, type PolicyId } from '../policy/rules.ts';
import { type Ask, type AskParameters, readAsk } from './ask.ts';
import { type Api, type Catalogue, type Intent, isOpenTo } from './catalogue.ts';
import { type AskedIntent, type Grant, isRefusal, narrow, type Refusal } from './narrow.ts';

/** What deciding needs to know of the acting agent. */
export interface Asker {
  id: string;
  environment: string;
  /** Ids of the intents it holds a standing grant for. */
  intentIds: ReadonlySet<string>;
  /** Ids of those of the owner's groups that an intent is kept for. */
  ownerGroups: ReadonlySet<string>;
}

export interface Proposal {
  readonly api: Api;
  readonly grant: Grant;
  /** Names of the intents that are granted whole: what a verifier that reads only `scope` may rely on. */
  readonly scope: string;
  /** Present when exactly one intent was granted. */
  readonly taskIntent: string | undefined;
  readonly policies: readonly PolicyId[];
}

/** A refusal, with what is known of the request for the record. */
export interface Denial {
  readonly refusal: Refusal;
  readonly policies: readonly PolicyId[];
  readonly api?: Api;
  readonly asked?: readonly AgentIntentRequest[];
}

export const isDenial = (value: object): value is Denial => 'refusal' in value;

/** An intent as an authority: all of it, wherever it may be done in the agent's own environment. */
const wholeOf = (intent: Intent, environment: string, catalogue: Catalogue): AgentIntent => ({
  type: agentIntentType,
  task_intent: intent.taskIntent,
  actions: intent.actions,
  locations: intent.apis.filter((identifier) => catalogue.apis.get(identifier)?.environment === environment),
  datatypes: intent.datatypes,
});

/** Whether `detail` is all that the catalogue knows of its intent at this audience. */
const isWhole = (detail: AgentIntent, intent: Intent | undefined): boolean =>
  intent !== undefined &&
  detail.identifier === undefined &&
  intent.actions.every((action) => detail.actions.includes(action)) &&
  intent.datatypes.every((datatype) => detail.datatypes.includes(datatype));

/** Scope and `task_intent` of a grant. */
export function describeGrant(grant: Grant, catalogue: Catalogue): { scope: string; taskIntent: string | undefined } {
  const names = [...new Set(grant.details.map((detail) => detail.task_intent))];
  const whole = names.filter((name) =>
    grant.details.some((detail) => detail.task_intent === name && isWhole(detail, catalogue.intents.get(name))),
  );
  return { scope: whole.join(' '), taskIntent: names.length === 1 ? names[0] : undefined };
}

/** Granted to the agent, and not kept for groups that the owner is in none of: a grant is only an upper bound. */
const mayUse = (agent: Asker, intent: Intent): boolean =>
  agent.intentIds.has(intent.id) && isOpenTo(intent, agent.ownerGroups);

/** The intent is there, and kept for groups in none of which the owner of whoever asks is. */
export const keptFromOwner = (name: string, by: Refusal['by']): Refusal => ({
  reason: 'intent_not_granted',
  by,
  intent: name,
  explanation: `${name} is kept for members of certain groups, and the owner of this agent is in none of them`,
});

/** The first asked intent that is unknown, or that the agent may not use. */
function findUngranted(ask: Ask, agent: Asker, catalogue: Catalogue): Refusal | undefined {
  for (const { task_intent: name, by } of ask.asked) {
    const intent = catalogue.intents.get(name);
    if (intent === undefined) {
      return { reason: 'intent_unknown', by, intent: name, explanation: `the catalogue has no intent ${name}` };
    }
    if (!agent.intentIds.has(intent.id)) {
      const explanation = `this agent has no grant for ${name}`;
      return { reason: 'intent_not_granted', by, intent: name, explanation };
    }
    if (!mayUse(agent, intent)) return keptFromOwner(name, by);
  }
  return undefined;
}

const explanations = {
  environment_mismatch: 'the agent and the API live in different environments',
  intent_required: 'in production a request names its task in authorization_details or scope',
  approval_required: 'a write action needs a live approval by a human, and this agent has none',
} as const;

/** Decides a request by the agent's own standing grants (client credentials). */
export function decide(agent: Asker, parameters: AskParameters, catalogue: Catalogue): Proposal | Denial {
  const ask = readAsk(parameters, catalogue);
  if (isRefusal(ask)) return { refusal: ask, policies: [] };
  const { api } = ask;
  const deny = (refusal: Refusal, policies: readonly PolicyId[] = []): Denial => ({ refusal, policies, api, asked });
  const named = ask.asked.length > 0;
  // No task named: the agent's read-only intents at that API.
  const asked: readonly AskedIntent[] = named
    ? ask.asked
    : [...catalogue.intents.values()]
        .filter((intent) => mayUse(agent, intent) && intent.risk === 'read' && intent.apis.includes(api.identifier))
        .map((intent) => ({ type: agentIntentType, task_intent: intent.taskIntent, by: 'resource' }));
  const facts = { agent, api, named, writesApproved: false };

  const walls = judge({ ...facts, details: [] });
  if (!walls.allow)
    return deny({ reason: walls.refusal, by: ask.by, explanation: explanations[walls.refusal] }, walls.reason);
  const ungranted = findUngranted(ask, agent, catalogue);
  if (ungranted !== undefined) return deny(ungranted);
  if (asked.length === 0) {
    return deny({
      reason: 'intent_not_granted',
      by: 'resource',
      explanation: 'this agent has no read-only intent at this API',
    });
  }
  // All of them are granted, or `findUngranted` had said so.
  const authority = [...new Set(asked.map(({ task_intent }) => task_intent))]
    .flatMap((name) => catalogue.intents.get(name) ?? [])
    .map((intent) => wholeOf(intent, agent.environment, catalogue));
  const grant = narrow(authority, asked, api.identifier, 'details_exceed_intent');
  if (isRefusal(grant)) return deny(grant);
  const verdict = judge({ ...facts, details: grant.details });
  if (!verdict.allow) {
    const about = verdict.intent === undefined ? {} : { intent: verdict.intent };
    return deny(
      { reason: verdict.refusal, by: ask.by, explanation: explanations[verdict.refusal], ...about },
      verdict.reason,
    );
  }
  return { api, grant, ...describeGrant(grant, catalogue), policies: verdict.reason };
}
