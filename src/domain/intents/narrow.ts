/**
 * `narrow(authority, asked)` is the only maker of a `Grant`: what was asked, if the authority covers it, and never more.
 * The authority of an agent's own request is its standing grants; of an exchange, the subject token. Pure.
 *
 * A detail that names less than it could (no `actions`, no `datatypes`, no `identifier`) asks for all that the authority
 * holds of that member. `locations` left out means the audience alone, so that a token does not travel further than
 * asked for.
 */
import {
  type Action,
  type AgentIntent,
  type AgentIntentRequest,
  agentIntentType,
  type RefusalReason,
} from '../../protocol.ts';

declare const narrowed: unique symbol;

/** Details that some authority covers, for one audience. */
export interface Grant {
  readonly [narrowed]: true;
  readonly audience: string;
  readonly details: readonly AgentIntent[];
}

/** Why something was refused. `by` tells how it was asked for, which decides the standard's error code. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly by: 'details' | 'scope' | 'resource' | 'token' | 'agent';
  readonly intent?: string;
  /** One sentence for the developer of the agent; no secrets, ASCII. */
  readonly explanation: string;
}

/** One intent that is asked for, and by which parameter: that decides the standard's error code. */
export interface AskedIntent extends AgentIntentRequest {
  /** `scope` asks for the whole intent: all of it, or nothing. `resource`: nothing was named. */
  readonly by: 'details' | 'scope' | 'resource';
}

export const isRefusal = (value: object): value is Refusal => 'explanation' in value;

const within = (part: readonly string[], whole: readonly string[]): boolean =>
  part.every((item) => whole.includes(item));

/** What is asked of this one authority, or `undefined` where it does not cover the request. */
function cut(authority: AgentIntent, asked: AskedIntent, audience: string): AgentIntent | undefined {
  if (asked.task_intent !== authority.task_intent) return undefined;
  const actions = asked.actions ?? authority.actions;
  const datatypes = asked.datatypes ?? authority.datatypes;
  const locations = asked.locations ?? [audience];
  const identifier = asked.identifier ?? authority.identifier;
  const covered =
    within(actions, authority.actions) &&
    within(datatypes, authority.datatypes) &&
    within(locations, authority.locations) &&
    locations.includes(audience) &&
    // Whoever asks by scope cannot tell that an identifier came with it.
    (asked.by !== 'scope' || authority.identifier === undefined) &&
    (authority.identifier === undefined || identifier === authority.identifier);
  if (!covered) return undefined;
  return {
    type: agentIntentType,
    task_intent: authority.task_intent,
    actions: [...new Set(actions)] as Action[],
    locations: [...new Set(locations)],
    datatypes: [...new Set(datatypes)],
    ...(identifier === undefined ? {} : { identifier }),
  };
}

/**
 * @param authority what may be given at most
 * @param asked what is wanted; every one of it is covered, or the whole is refused
 * @param audience identifier of the one API the token is for
 * @param reason to give where the authority does not cover what is asked
 */
export function narrow(
  authority: readonly AgentIntent[],
  asked: readonly AskedIntent[],
  audience: string,
  reason: RefusalReason,
): Grant | Refusal {
  const details: AgentIntent[] = [];
  for (const request of asked) {
    const granted = authority.map((one) => cut(one, request, audience)).find((one) => one !== undefined);
    if (granted === undefined) {
      const explanation = `what is asked of ${request.task_intent} goes beyond what may be given at ${audience}`;
      return { reason, by: request.by, intent: request.task_intent, explanation };
    }
    details.push(granted);
  }
  return { audience, details } as unknown as Grant;
}
