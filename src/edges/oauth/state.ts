/** What travels with one request through the protocol engine. */
import type { Client } from '../../domain/agents/credentials.ts';
import type { Act } from '../../domain/audit/append.ts';
import type { ApiIdentity } from '../../domain/intents/apis.ts';
import type { Assertion } from '../../domain/tokens/commit.ts';
import { canonicalId } from '../../platform/db/uuid.ts';

/** Who the engine looked up: authenticated only once the engine has let the request through. */
export type Caller = ({ type: 'agent' } & Client) | ({ type: 'api' } & ApiIdentity);

export interface RequestState {
  /** The act of the request; `by` is filled in once the caller is known. */
  act: Act;
  /** The form as sent, in order. */
  form: readonly (readonly [string, string])[];
  caller?: Caller;
  /** The caller's credential was good, whatever becomes of the request. */
  proven?: true;
  /** A verified client assertion that is still to be used up. */
  assertion?: Assertion;
  /** The refusal or grant already stands in the audit log. */
  recorded?: boolean;
  /** Why it was refused, in words that do not leave Writ. */
  detail?: string;
  /** What the engine could not answer for. */
  failure?: unknown;
}

/**
 * Who an unproven request says it is, for the log. Nothing that is not an id: a secret in the place of the id is a common
 * mistake, and would stand in the log for good.
 */
export function claimedId(form: RequestState['form']): string | undefined {
  const given = form.find(([name, value]) => name === 'client_id' && value !== '')?.[1];
  return given === undefined ? undefined : (canonicalId(given) ?? undefined);
}

export const formValue = (state: RequestState, name: string): string | undefined =>
  state.form.find(([key, value]) => key === name && value !== '')?.[1];

export const formValues = (state: RequestState, name: string): string[] =>
  state.form.filter(([key, value]) => key === name && value !== '').map(([, value]) => value);
