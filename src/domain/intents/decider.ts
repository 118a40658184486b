/**
 * Decisions that were made lately, for a request that comes again: most agents ask the same, every few minutes. A decision
 * is pure, so it is the same as long as what it was made from is; versions stand for that, and there is no expiry by time.
 */
import type { AskParameters } from './ask.ts';
import type { Catalogue } from './catalogue.ts';
import { type Asker, type Denial, decide, type Proposal } from './decide.ts';

/** An agent as it was read: for one owner, `version` rises with every change of what is decided by. */
export type VersionedAsker = Asker & { ownerId: string; version: number };

export type Decide = (agent: VersionedAsker, parameters: AskParameters, catalogue: Catalogue) => Proposal | Denial;

/** Longer requests are rare, and would make the memory that is used theirs to choose. */
const maxKeyLength = 2_000;

/** `atMost`: how many decisions are kept. */
export function createDecider(atMost = 5_000): Decide {
  const kept = new Map<string, Proposal | Denial>();
  return (agent, parameters, catalogue) => {
    const { resource, authorizationDetails, scope } = parameters;
    // The version is the agent's and the owner's together: with another owner it may be the same again.
    const { id, ownerId, version } = agent;
    const key = JSON.stringify([id, ownerId, version, catalogue.version, resource, authorizationDetails, scope]);
    const known = kept.get(key);
    if (known !== undefined) return known;
    const made = decide(agent, parameters, catalogue);
    if (key.length > maxKeyLength) return made;
    const [oldest] = kept.keys();
    if (kept.size >= atMost && oldest !== undefined) kept.delete(oldest);
    kept.set(key, made);
    return made;
  };
}
