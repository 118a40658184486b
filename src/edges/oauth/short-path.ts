/**
 * The common, well-formed token request, answered without the engine: same parameters, same domain, same answer, about
 * half the work. It never refuses a request on its own: whatever is not plainly good it leaves to the engine, before
 * anything was written. That the two answer alike is held by `test/conformance/oauth-short-path.test.ts`.
 */
import { errors } from 'oidc-provider';
import { grantTypes } from '../../protocol.ts';
import type { Callers } from './callers.ts';
import { prove, readClaim } from './proof.ts';
import type { RequestState } from './state.ts';
import { answerTokenRequest, type TokenAnswerBody, type TokenEndpoint } from './token.ts';

/** What a token request may name; one that says more is for the engine, which knows what to ignore. */
const known = new Set([
  'grant_type',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'scope',
  'resource',
  'authorization_details',
  'subject_token',
  'subject_token_type',
  'requested_token_type',
]);
const grants: readonly (string | undefined)[] = Object.values(grantTypes);

/** Every parameter once, known and with a value; else it is not plain. */
function readPlain(form: RequestState['form']): ReadonlyMap<string, string> | undefined {
  const plain = new Map<string, string>();
  for (const [name, value] of form) {
    if (!known.has(name) || value === '' || plain.has(name)) return undefined;
    plain.set(name, value);
  }
  return grants.includes(plain.get('grant_type')) ? plain : undefined;
}

export interface ShortPath {
  endpoint: TokenEndpoint;
  callers: Callers;
}

/** The answer, or `undefined`: ask the engine. Throws what the domain throws when it could not decide. */
export async function answerPlainRequest(
  { endpoint, callers }: ShortPath,
  state: RequestState,
  authorization: string | undefined,
): Promise<TokenAnswerBody | undefined> {
  const form = readPlain(state.form);
  const claim = form === undefined ? undefined : readClaim(form, authorization);
  if (form === undefined || claim === undefined) return undefined;
  const { issuer } = endpoint;
  const agent = await callers.find(claim.clientId);
  const proof = agent === undefined ? undefined : prove(claim, agent, issuer.issuer, issuer.now());
  if (agent === undefined || proof === undefined) return undefined;
  const own: RequestState = {
    ...state,
    caller: agent.caller,
    ...(proof.assertion === undefined ? {} : { assertion: proof.assertion }),
  };
  try {
    return await answerTokenRequest(endpoint, own, form.get('grant_type') ?? '', async (id) => {
      return (await callers.refresh(id))?.caller ?? null;
    });
  } catch (error) {
    // A malformed exchange, or a credential that was taken away meanwhile: nothing was written, and the engine says it.
    if (error instanceof errors.OIDCProviderError) return undefined;
    throw error;
  }
}
