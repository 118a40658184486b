/** What a patch comes to: a pure comparison of an agent before and after. */
import type { LeaverPolicy } from '../../platform/db/schema.ts';
import type { AgentDraft, Credential } from './validate.ts';

/** What may change; absent: stays. `{secret: true}` always makes a new secret. */
export interface AgentPatch {
  name?: string | undefined;
  description?: string | undefined;
  project?: string | null | undefined;
  expiresAt?: Date | null | undefined;
  credential?: Credential | undefined;
  intents?: readonly string[] | undefined;
  leaverPolicy?: LeaverPolicy | null | undefined;
  /** A person's id. */
  deputyId?: string | null | undefined;
}

export interface Changes {
  /** Names of the members that differ, for the record. */
  members: string[];
  granted: string[];
  withdrawn: string[];
  replacesCredential: boolean;
  /** Whether tokens that were issued on the strength of the old state have to die. */
  endsTokens: boolean;
}

export const applyPatch = (before: AgentDraft, patch: AgentPatch): AgentDraft => ({
  ...before,
  name: patch.name ?? before.name,
  description: patch.description ?? before.description,
  project: patch.project === undefined ? before.project : patch.project,
  expiresAt: patch.expiresAt === undefined ? before.expiresAt : patch.expiresAt,
  credential: patch.credential ?? before.credential,
  intents: [...(patch.intents ?? before.intents)],
  leaverPolicy: patch.leaverPolicy === undefined ? before.leaverPolicy : patch.leaverPolicy,
  deputyId: patch.deputyId === undefined ? before.deputyId : patch.deputyId,
});

/** `after` is validated, so that its intents and keys are in the form in which they are stored. */
export function compare(before: AgentDraft, after: AgentDraft, patch: AgentPatch): Changes {
  const granted = after.intents.filter((intent) => !before.intents.includes(intent));
  const withdrawn = before.intents.filter((intent) => !after.intents.includes(intent));
  const newSecret = patch.credential !== undefined && 'secret' in patch.credential;
  const [oldKeys, newKeys] = [keysOf(before.credential), keysOf(after.credential)];
  const losesKey = [...oldKeys].some((key) => !newKeys.has(key));
  const replacesCredential = newSecret || losesKey || !sameText(before.credential, after.credential);
  const members = (['name', 'description', 'project', 'expiresAt', 'leaverPolicy'] as const)
    .filter((member) => !sameText(before[member], after[member]))
    .map(String);
  if (before.deputyId !== after.deputyId) members.push('deputy');
  if (granted.length + withdrawn.length > 0) members.push('intents');
  if (replacesCredential) members.push('credential');
  return {
    members,
    granted,
    withdrawn,
    replacesCredential,
    // A further key beside the old ones takes nothing away.
    endsTokens:
      withdrawn.length > 0 || newSecret || losesKey || 'secret' in before.credential !== 'secret' in after.credential,
  };
}

const sameText = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The keys alone, without the names and uses that were given to them. */
const keysOf = (credential: Credential): Set<string> =>
  new Set(
    'jwks' in credential
      ? credential.jwks.keys.map(({ kty, crv, x, y, n, e }) => JSON.stringify([kty, crv, x, y, n, e]))
      : [],
  );
