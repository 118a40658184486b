import { type AgentIntent, isWriteAction } from '../../protocol.ts';
import { VerifyError, type VerifyErrorCode } from './errors.ts';

/** What a request needs. Every member that is given has to be granted, all by one and the same granted intent. */
export interface Requirement {
  /** Name of the intent, `task_intent`. */
  intent?: string;
  action?: string;
  datatype?: string;
  /**
   * The object at hand; a grant without `identifier` is for any. `undefined`, which a path parameter is to the compiler, is
   * refused as a fault of the API: it never stands for "any".
   */
  identifier?: string | undefined;
}

const members = ['intent', 'action', 'datatype', 'identifier'] as const;

/** Whether anything is asked for, by whatever kind of object: members may be inherited, or getters of a class. */
export const asksForSomething = (requirement: Requirement): boolean =>
  members.some((name) => requirement[name] !== undefined);

/**
 * Throws `verifier_fault` for a requirement that says less than its author meant: `identifier: undefined` (a path
 * parameter that is not there) or a misspelt member would otherwise silently ask for nothing.
 */
export function checkRequirement(requirement: Requirement): void {
  const names = new Set<string>(members.filter((name) => name in requirement));
  for (const name in requirement) names.add(name);
  for (const name of names) {
    const value = requirement[name as keyof Requirement];
    if (!(members as readonly string[]).includes(name) || typeof value !== 'string' || value === '') {
      throw new VerifyError('verifier_fault', { cause: new TypeError(`requirement.${name} is not a requirement`) });
    }
  }
}

/**
 * Says what of the requirement is not granted, `undefined` when all of it is. The candidates only shrink from check to
 * check, so that no two grants can be added up: location, intent, action, data type and object hold in one of them.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc9396#section-9 RFC 9396 §9}
 */
export function findMissing(
  details: readonly AgentIntent[],
  audience: string,
  requirement: Requirement,
): VerifyErrorCode | undefined {
  const { intent, action, datatype, identifier } = requirement;
  let candidates = details.filter(
    (detail) => detail.locations.includes(audience) && (intent === undefined || detail.task_intent === intent),
  );
  if (candidates.length === 0) return 'intent_missing';
  if (action !== undefined) {
    candidates = candidates.filter((detail) => (detail.actions as readonly string[]).includes(action));
    if (candidates.length === 0) return 'action_not_granted';
  }
  if (datatype !== undefined) {
    candidates = candidates.filter((detail) => detail.datatypes.includes(datatype));
    if (candidates.length === 0) return 'datatype_not_granted';
  }
  if (identifier !== undefined) {
    candidates = candidates.filter((detail) => detail.identifier === undefined || detail.identifier === identifier);
    if (candidates.length === 0) return 'identifier_not_granted';
  }
  return undefined;
}

/** Whether the request writes: by the action it needs, or, when it names none, by what its token could be used for. */
export function isWrite(requirement: Requirement, details: readonly AgentIntent[]): boolean {
  if (requirement.action !== undefined) return isWriteAction(requirement.action);
  return details.some((detail) => detail.actions.some(isWriteAction));
}
