/**
 * Issues tokens: decide (pure), commit (owner's lock, single use, audit), sign. One path for client credentials and
 * token exchange, for grants and refusals. A decision that met a world which had moved is made again.
 */
import { WritError } from '../../errors.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import type { Act, AuditEvent } from '../audit/append.ts';
import type { AskParameters } from '../intents/ask.ts';
import type { Catalogue, CatalogueCache } from '../intents/catalogue.ts';
import { type Denial, isDenial, type Proposal } from '../intents/decide.ts';
import type { Decide } from '../intents/decider.ts';
import type { Refusal } from '../intents/narrow.ts';
import type { Assertion, CommitQueue } from './commit.ts';
import { decideExchange, dependOn, type ExchangeProposal } from './exchange.ts';
import type { Dead, Live } from './live.ts';
import { toDecision } from './record.ts';
import { hasWrites, lifeOf, type SignedToken, sign, type TokenContent } from './sign.ts';
import { readToken } from './subject.ts';

/** The authenticated agent, as read before any lock. */
export interface Requester {
  id: string;
  name: string;
  ownerId: string;
  environment: string;
  trust: number;
  intentIds: ReadonlySet<string>;
  /** Of the owner's groups, those that an intent is kept for. */
  ownerGroups: ReadonlySet<string>;
  version: number;
}

export interface Issuer {
  issuer: string;
  queue: CommitQueue;
  catalogue: CatalogueCache;
  decide: Decide;
  keyring: Keyring;
  now(): Date;
  /** A fresh, unguessable `jti`. */
  newId(): string;
}

export interface TokenRequest {
  requester: Requester;
  /** Reads the requester again when it has changed meanwhile; `null`: it is gone. */
  reload(): Promise<Requester | null>;
  parameters: AskParameters;
  assertion: Assertion | undefined;
  /** Token exchange: the subject token as presented. */
  subjectToken?: string;
  /** Token exchange: the actor is whoever authenticated; an actor token, as presented, can only repeat that. */
  actorToken?: string;
}

export type TokenAnswer =
  | ({ state: 'issued' } & SignedToken)
  | { state: 'refused'; refusal: Refusal }
  | { state: 'replayed' };

type Plan = Proposal | ExchangeProposal | Denial;

const attempts = 5;

const gone: Record<Dead['reason'], Refusal> = {
  owner_inactive: {
    reason: 'owner_inactive',
    by: 'agent',
    explanation: 'the human who answers for this agent has left',
  },
  agent_inactive: { reason: 'agent_inactive', by: 'agent', explanation: 'this agent is not active' },
  subject_token_invalid: {
    reason: 'subject_token_invalid',
    by: 'token',
    explanation: 'a token that was presented is not valid: unknown, expired or revoked',
  },
};

const actorTokenInvalid: Refusal = {
  reason: 'subject_token_invalid',
  by: 'token',
  explanation: 'the actor token is not a valid token of this agent',
};

/** Decides, before any lock, and without writing anything. */
function makePlan(context: Issuer, request: TokenRequest, requester: Requester, catalogue: Catalogue): Plan {
  if (request.subjectToken === undefined) return context.decide(requester, request.parameters, catalogue);
  const read = (token: string) => readToken(context.keyring, context.issuer, token, context.now());
  const subject = read(request.subjectToken);
  if (subject === undefined) return { refusal: gone.subject_token_invalid, policies: [] };
  const plan = decideExchange(subject, requester, request.parameters, catalogue);
  if (request.actorToken === undefined || isDenial(plan)) return plan;
  const actor = read(request.actorToken);
  return actor?.client_id === requester.id ? dependOn(plan, actor) : { refusal: actorTokenInvalid, policies: [] };
}

function contentOf(plan: Proposal | ExchangeProposal, requester: Requester, jti: string): TokenContent {
  const { id, name, environment, trust } = requester;
  const { api, grant, scope, taskIntent } = plan;
  const common = { jti, api, grant, scope, taskIntent, agent: { name, environment, trust } };
  return 'act' in plan ? { ...common, sub: plan.sub, act: plan.act, notAfter: plan.notAfter } : { ...common, sub: id };
}

type Found = Live | Dead | { state: 'replayed' };
type Outcome =
  | { state: 'grant'; live: Live; content: TokenContent }
  | { state: 'refuse'; refusal: Refusal }
  | { state: 'replayed' };

/** What comes of a plan, given what the locks revealed. A dead agent is told so whatever else it asked for. Pure. */
function conclude(plan: Plan, requester: Requester, jti: string, found: Found): Outcome {
  if (found.state === 'replayed') return found;
  if (found.state === 'dead') return { state: 'refuse', refusal: gone[found.reason] };
  if (isDenial(plan)) return { state: 'refuse', refusal: plan.refusal };
  // In quarantine: the owner has left, and reading is what was left to the agent.
  if (found.readOnly && hasWrites(plan.grant)) return { state: 'refuse', refusal: gone.owner_inactive };
  const content = contentOf(plan, requester, jti);
  const { iat, exp } = lifeOf(content, found);
  if (exp > iat) return { state: 'grant', live: found, content };
  return { state: 'refuse', refusal: 'act' in plan ? gone.subject_token_invalid : gone.agent_inactive };
}

/** The audit event of an outcome. Pure. */
function toEvent(plan: Plan, requester: Requester, outcome: Outcome): AuditEvent {
  const who = { agent: requester.id, person: requester.ownerId };
  if (outcome.state === 'replayed') {
    return { kind: 'client.refused', outcome: 'refused', ...who, reason: 'assertion_replayed' };
  }
  const granted = outcome.state === 'grant' ? outcome.content : undefined;
  const asked = granted?.grant.details ?? (isDenial(plan) ? plan.asked : plan.grant.details) ?? [];
  const life = outcome.state === 'grant' ? lifeOf(outcome.content, outcome.live) : undefined;
  const refused = outcome.state === 'refuse' ? outcome.refusal : undefined;
  const decision = toDecision({
    principal: requester.id,
    ownerId: requester.ownerId,
    environment: requester.environment,
    trust: requester.trust,
    resource: plan.api?.identifier ?? null,
    asked,
    onBehalfOf: granted?.act === undefined || granted.sub === requester.id ? null : granted.sub,
    timeFrame: life === undefined ? null : { from: life.iat, until: life.exp },
    allow: granted !== undefined,
    reason:
      refused?.by === 'agent'
        ? ['owner-and-agent-live']
        : plan.policies.length > 0
          ? plan.policies
          : [refused?.reason ?? ''],
  });
  const intent = decision.context_attribute.task_intent;
  const about = { ...who, ...(intent === '' ? {} : { intent }), decision };
  if (refused !== undefined) return { kind: 'token.refused', outcome: 'refused', ...about, reason: refused.reason };
  if (granted === undefined || life === undefined || outcome.state !== 'grant')
    throw new Error('neither granted nor refused');
  // What it stands on beside its own agent and owner, by whom it is found anyway.
  const foreign = 'carried' in plan ? plan.chain.filter((id) => id !== requester.id && id !== requester.ownerId) : [];
  return {
    kind: granted.act === undefined ? 'token.issued' : 'token.exchanged',
    outcome: 'done',
    ...about,
    jti: granted.jti,
    expiresAt: new Date(life.exp * 1000),
    ...(foreign.length === 0 ? {} : { dependsOn: foreign }),
    details: { audience: granted.api.identifier, scope: granted.scope, sub: granted.sub },
  };
}

/**
 * Answers one token request of an authenticated agent.
 *
 * @throws WritError `unavailable` when the world keeps moving or too much is queued; the database's errors as they are.
 */
export async function issueToken(context: Issuer, act: Act, request: TokenRequest): Promise<TokenAnswer> {
  let requester = request.requester;
  let catalogue = await context.catalogue.current();
  for (let attempt = 0; attempt < attempts; attempt++) {
    const acting = requester;
    const plan = makePlan(context, request, acting, catalogue);
    const jti = context.newId();
    const settled = await context.queue.commit({
      question: {
        agentId: acting.id,
        ownerId: acting.ownerId,
        agentVersion: acting.version,
        catalogueVersion: catalogue.version,
        carried: 'carried' in plan ? plan.carried : {},
      },
      assertion: request.assertion,
      act,
      record: (found) => toEvent(plan, acting, conclude(plan, acting, jti, found)),
    });
    if (settled.state !== 'stale') {
      const outcome = conclude(plan, acting, jti, settled);
      if (outcome.state === 'replayed') return outcome;
      if (outcome.state === 'refuse') return { state: 'refused', refusal: outcome.refusal };
      return { state: 'issued', ...sign(context.keyring, context.issuer, outcome.live, outcome.content) };
    }
    const [agent, fresh] = await Promise.all([request.reload(), context.catalogue.newerThan(catalogue.version)]);
    if (agent === null) return { state: 'refused', refusal: gone.agent_inactive };
    requester = agent;
    catalogue = fresh;
  }
  throw new WritError('unavailable', 'the agent or the catalogue keeps changing');
}
