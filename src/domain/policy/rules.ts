/**
 * The rules that hold whatever an agent was granted. Pure: facts in, verdict with the ids of the rules out. The ids
 * stand in every decision record.
 *
 * Whether owner, ancestors and agent are live is no rule of this file: it is read under the owner's lock, by the one
 * function that makes what `sign()` accepts (domain/tokens/live.ts).
 */
import { type AgentIntent, isWriteAction } from '../../protocol.ts';

export type PolicyId =
  | 'environment-match'
  | 'production-names-its-task'
  | 'read-only-unless-approved'
  | 'standing-read-grant'
  | 'within-subject-token'
  | 'owner-and-agent-live';

export interface PolicyFacts {
  agent: { environment: string };
  api: { environment: string };
  /** Did the request name its task? */
  named: boolean;
  details: readonly AgentIntent[];
  /** Whether the write actions among the details were approved before (an exchange inherits the subject's). */
  writesApproved: boolean;
}

export type PolicyVerdict =
  | { allow: true; reason: PolicyId[] }
  | {
      allow: false;
      reason: PolicyId[];
      refusal: 'environment_mismatch' | 'intent_required' | 'approval_required';
      intent?: string;
    };

/** An environment is a wall; in production a task has to be named; a write needs an approval. */
export function judge(facts: PolicyFacts): PolicyVerdict {
  if (facts.agent.environment !== facts.api.environment) {
    return { allow: false, reason: ['environment-match'], refusal: 'environment_mismatch' };
  }
  if (!facts.named && facts.api.environment === 'production') {
    return { allow: false, reason: ['production-names-its-task'], refusal: 'intent_required' };
  }
  const write = facts.details.find((detail) => detail.actions.some(isWriteAction));
  if (write !== undefined && !facts.writesApproved) {
    return {
      allow: false,
      reason: ['read-only-unless-approved'],
      refusal: 'approval_required',
      intent: write.task_intent,
    };
  }
  return { allow: true, reason: [facts.writesApproved ? 'within-subject-token' : 'standing-read-grant'] };
}
