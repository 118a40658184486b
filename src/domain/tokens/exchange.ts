/**
 * Token exchange (RFC 8693), the decision: from a subject token, the acting agent and a request to a narrower token, or
 * a refusal. Pure. Authority only shrinks: details are cut by `narrow` from the subject token's own, the audience is the
 * old one or one that those details name, and life, epochs and actors of the subject token are carried on.
 */
import type { AccessTokenClaims, Actor, AgentIntent } from '../../protocol.ts';
import { type Ask, type AskParameters, readAsk } from '../intents/ask.ts';
import { type Catalogue, isOpenTo } from '../intents/catalogue.ts';
import { type Denial, describeGrant, keptFromOwner, type Proposal } from '../intents/decide.ts';
import { type AskedIntent, isRefusal, narrow, type Refusal } from '../intents/narrow.ts';
import { judge } from '../policy/rules.ts';

const maxActors = 4;

export interface ExchangeProposal extends Proposal {
  readonly sub: string;
  readonly act: Actor;
  /** The subject token's `exp`: the new one ends with it. */
  readonly notAfter: number;
  /** Ids of what the tokens that were presented stood on. */
  readonly chain: readonly string[];
  /** That, at its epochs, and those tokens themselves. */
  readonly carried: Readonly<Record<string, number>>;
}

/** The subject token is the actor's own, or meant for it: its audience is the actor, or the API where the actor answers. */
function isMeantFor(subject: AccessTokenClaims, actorId: string, catalogue: Catalogue): boolean {
  if (subject.client_id === actorId || subject.aud === actorId) return true;
  return catalogue.apis.get(subject.aud)?.agentId === actorId;
}

const chainLength = (act: Actor | undefined): number => (act === undefined ? 0 : 1 + chainLength(act.act));

/** The epochs that a token made from `token` has to find unchanged. */
const dependenciesOf = (token: AccessTokenClaims): Record<string, number> => ({ ...token.epochs, [token.jti]: 0 });

/** The proposal, standing on `token` as well: it has to be alive, and ends the new token when it ends. */
export function dependOn(proposal: ExchangeProposal, token: AccessTokenClaims): ExchangeProposal {
  const carried: Record<string, number> = { ...proposal.carried };
  for (const [id, epoch] of Object.entries(dependenciesOf(token))) carried[id] = Math.min(carried[id] ?? epoch, epoch);
  const chain = [...new Set([...proposal.chain, ...Object.keys(token.epochs)])];
  return { ...proposal, carried, chain, notAfter: Math.min(proposal.notAfter, token.exp) };
}

/** The chain with `actorId` as its newest actor; narrowing one's own delegated token again adds nobody. */
function extendChain(act: Actor | undefined, actorId: string): Actor {
  if (act?.sub === actorId) return act;
  return { sub: actorId, ...(act === undefined ? {} : { act }) };
}

/** The first that may not be used for the actor's own owner, whoever answers for the agent that the token came from. */
const findKept = <D extends { task_intent: string }>(
  details: readonly D[],
  ownerGroups: ReadonlySet<string>,
  catalogue: Catalogue,
): D | undefined =>
  details.find((detail) => {
    const intent = catalogue.intents.get(detail.task_intent);
    return intent === undefined || !isOpenTo(intent, ownerGroups);
  });

/** What the request names; when it names nothing, what the subject token holds for this API and the actor may do. */
function askedOf(
  ask: Ask,
  reachable: readonly AgentIntent[],
  ownerGroups: ReadonlySet<string>,
  catalogue: Catalogue,
): readonly AskedIntent[] | Refusal {
  if (ask.asked.length > 0) return ask.asked;
  const usable = reachable.filter((detail) => findKept([detail], ownerGroups, catalogue) === undefined);
  const [kept] = reachable;
  if (kept !== undefined && usable.length === 0) return keptFromOwner(kept.task_intent, 'resource');
  return usable.map((detail) => ({ ...detail, locations: [ask.api.identifier], by: 'resource' }));
}

export function decideExchange(
  subject: AccessTokenClaims,
  actor: { id: string; environment: string; ownerGroups: ReadonlySet<string> },
  parameters: AskParameters,
  catalogue: Catalogue,
): ExchangeProposal | Denial {
  const deny = (refusal: Refusal, rest: Partial<Denial> = {}): Denial => ({ refusal, policies: [], ...rest });
  if (!isMeantFor(subject, actor.id, catalogue)) {
    const explanation =
      'the subject token was issued to another agent, and for an API at which this agent does not answer';
    return deny({ reason: 'subject_token_foreign', by: 'token', explanation });
  }
  const act = extendChain(subject.act, actor.id);
  if (chainLength(act) > maxActors) {
    const explanation = `a chain has at most ${maxActors} actors`;
    return deny({ reason: 'chain_too_long', by: 'token', explanation });
  }
  const ask = readAsk(parameters, catalogue, subject.aud);
  if (isRefusal(ask)) return deny(ask);
  const { api } = ask;
  const reachable = subject.authorization_details.filter((detail) => detail.locations.includes(api.identifier));
  if (reachable.length === 0 && api.identifier !== subject.aud) {
    const explanation = 'the subject token names no intent at this API';
    return deny({ reason: 'exceeds_subject_token', by: 'resource', explanation }, { api });
  }
  const asked = askedOf(ask, reachable, actor.ownerGroups, catalogue);
  if (isRefusal(asked)) return deny(asked, { api });
  const grant = narrow(subject.authorization_details, asked, api.identifier, 'exceeds_subject_token');
  if (isRefusal(grant)) return deny(grant, { api, asked });
  const kept = findKept(asked, actor.ownerGroups, catalogue);
  if (kept !== undefined) return deny(keptFromOwner(kept.task_intent, kept.by), { api, asked });
  const verdict = judge({ agent: actor, api, named: true, details: grant.details, writesApproved: true });
  if (!verdict.allow) {
    const explanation = 'the agent and the API live in different environments';
    return deny({ reason: verdict.refusal, by: ask.by, explanation }, { api, asked, policies: verdict.reason });
  }
  return {
    api,
    grant,
    ...describeGrant(grant, catalogue),
    policies: verdict.reason,
    sub: subject.sub,
    act,
    notAfter: subject.exp,
    carried: dependenciesOf(subject),
    chain: Object.keys(subject.epochs),
  };
}
