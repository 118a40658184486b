/** What an agent may look like, whole. Creating and changing end here, so that neither lets through what the other refuses. */
import { WritError } from '../../errors.ts';
import type { LeaverPolicy, PublicJwk } from '../../platform/db/schema.ts';
import { controls, controlsOfProse } from '../../platform/http/controls.ts';
import { parseJwks } from './credentials.ts';

/** `{secret: true}`: Writ makes a secret and shows it once. */
export type Credential = { jwks: { keys: PublicJwk[] } } | { secret: true };

/** The members of an agent that people choose. */
export interface AgentDraft {
  name: string;
  description: string;
  environment: string;
  project: string | null;
  expiresAt: Date | null;
  credential: Credential;
  intents: string[];
  /** `null`: that of its environment. */
  leaverPolicy: LeaverPolicy | null;
  /** A person's id. */
  deputyId: string | null;
}

/** What the rules are measured against. */
export interface Circumstances {
  /** The database's clock, read after the lock. */
  now: Date;
  /** Environments in which each intent of the catalogue can be done; an intent that is not here does not exist. */
  catalogue: ReadonlyMap<string, { environments: readonly string[] }>;
  ownerId: string;
  isSubAgent: boolean;
  /** The expiry that stands already. It may have passed: such an agent can still be changed, and stays latched. */
  standingExpiry?: Date | null;
}

const maxIntents = 500;

const refuse = (member: string, why: string): never => {
  throw new WritError('invalid_request', `${member}: ${why}`);
};

function checkText(member: string, text: string, { max, prose = false }: { max: number; prose?: boolean }): string {
  const trimmed = text.trim();
  if (trimmed === '' && !prose) refuse(member, 'is empty');
  if (trimmed.length > max) refuse(member, `is longer than ${max} characters`);
  if ((prose ? controlsOfProse : controls).test(trimmed)) refuse(member, 'holds control characters');
  if (!trimmed.isWellFormed()) refuse(member, 'is not Unicode');
  return trimmed;
}

/** Why somebody did something: required of every act that stops or restarts an agent. */
export const checkReason = (reason: string): string => {
  const text = checkText('reason', reason, { max: 1000, prose: true });
  return text === '' ? refuse('reason', 'is required') : text;
};

/**
 * The agent in the form in which it is stored.
 * @throws WritError `invalid_request` naming the member and the rule.
 */
export function validateAgent(draft: AgentDraft, circumstances: Circumstances): AgentDraft {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(draft.environment)) {
    refuse('environment', 'has to be 1 to 32 lower-case letters, digits and hyphens, a letter first');
  }
  checkExpiry(draft.expiresAt, circumstances);
  checkLeaving(draft, circumstances);
  return {
    name: checkText('name', draft.name, { max: 200 }),
    description: checkText('description', draft.description, { max: 2000, prose: true }),
    environment: draft.environment,
    project: draft.project === null ? null : checkText('project', draft.project, { max: 200 }),
    expiresAt: draft.expiresAt,
    credential: 'jwks' in draft.credential ? { jwks: parseJwks(draft.credential.jwks) } : { secret: true },
    intents: checkIntents(draft, circumstances),
    leaverPolicy: draft.leaverPolicy,
    deputyId: draft.deputyId,
  };
}

function checkExpiry(expiresAt: Date | null, { now, standingExpiry }: Circumstances): void {
  if (expiresAt === null || expiresAt.getTime() === standingExpiry?.getTime()) return;
  if (Number.isNaN(expiresAt.getTime()) || expiresAt.getUTCFullYear() > 9999) refuse('expiresAt', 'is not an instant');
  if (expiresAt <= now) refuse('expiresAt', 'has to be in the future');
}

/** A tree has one policy and one deputy. Whether the deputy is live is asked where people are read. */
function checkLeaving({ leaverPolicy, deputyId }: AgentDraft, { ownerId, isSubAgent }: Circumstances): void {
  if (isSubAgent && leaverPolicy !== null) refuse('leaverPolicy', 'a sub-agent has that of its root, set it there');
  if (isSubAgent && deputyId !== null) refuse('deputy', 'a sub-agent has that of its root, set it there');
  if (deputyId === ownerId) refuse('deputy', 'is the owner');
}

function checkIntents({ intents, environment }: AgentDraft, { catalogue }: Circumstances): string[] {
  const distinct = [...new Set(intents)].sort();
  if (distinct.length > maxIntents) refuse('intents', `at most ${maxIntents}`);
  for (const intent of distinct) {
    const known = catalogue.get(intent);
    if (known === undefined) return refuse('intents', `there is no intent "${intent}"`);
    if (!known.environments.includes(environment)) {
      refuse('intents', `"${intent}" can be done at no API of environment "${environment}"`);
    }
  }
  return distinct;
}
