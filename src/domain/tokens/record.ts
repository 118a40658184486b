/** How a decision about a token stands in the audit log (design: "Every decision, whoever asked"). Pure. */
import type { AgentIntentRequest } from '../../protocol.ts';
import type { Decision } from '../audit/append.ts';
import type { PolicyId } from '../policy/rules.ts';

export interface DecisionFacts {
  principal: string;
  ownerId: string;
  environment: string;
  trust: number;
  resource: string | null;
  asked: readonly Pick<AgentIntentRequest, 'task_intent' | 'actions'>[];
  onBehalfOf: string | null;
  timeFrame: { from: number; until: number } | null;
  allow: boolean;
  reason: readonly (PolicyId | string)[];
}

const listed = (values: readonly string[]): string => [...new Set(values)].join(' ');
const instant = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** Several intents in one request are named in one record, separated by spaces as in `scope`. */
export function toDecision(facts: DecisionFacts): Decision {
  return {
    principal: facts.principal,
    action_requested: listed(facts.asked.flatMap((one) => one.actions ?? [])),
    resource: facts.resource,
    context_attribute: {
      human_owner_id: facts.ownerId,
      task_intent: listed(facts.asked.map((one) => one.task_intent)),
      time_frame:
        facts.timeFrame === null
          ? null
          : { from: instant(facts.timeFrame.from), until: instant(facts.timeFrame.until) },
      on_behalf_of: facts.onBehalfOf,
      environment: facts.environment,
      trust: facts.trust,
      approval: null,
    },
    policy_decision: facts.allow ? 'ALLOW' : 'DENY',
    reason: [...facts.reason],
  };
}
