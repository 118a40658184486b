/** Why `verify()` refused. Closed: a new reason does not compile until it has its status and its public text. */
export type VerifyErrorCode =
  | 'token_missing' // no bearer token in the request
  | 'request_malformed' // two credentials, or an Authorization header that cannot be read
  | 'token_malformed' // not a compact JWS, or one with extensions (`crit`) nobody here understands
  | 'token_type_wrong' // a JWT, but not an access token
  | 'algorithm_refused' // not on the allow-list, or not the algorithm of the key it names
  | 'key_unknown' // the issuer does not publish this key
  | 'key_revoked' // the feed says that this key is dead
  | 'signature_invalid'
  | 'issuer_wrong'
  | 'audience_wrong'
  | 'token_expired'
  | 'token_not_yet_valid'
  | 'claims_invalid' // signed, but not in the shape of Writ's access tokens
  | 'token_revoked' // the feed says that something it depends on ended
  | 'intent_missing' // no granted intent at this API is the required one
  | 'action_not_granted'
  | 'datatype_not_granted'
  | 'identifier_not_granted'
  | 'feed_stale' // what was revoked lately is not known well enough for this request
  | 'keys_unavailable' // the issuer's keys could not be read
  | 'verifier_fault'; // the requirement is not one, or a defect; the request was not judged

interface Outcome {
  status: 400 | 401 | 403 | 500 | 503;
  /** RFC 6750 §3.1; absent where the RFC wants none, or where the fault is not the caller's. */
  error?: 'invalid_request' | 'invalid_token' | 'insufficient_scope';
  message: string;
}

const invalidToken = (message: string): Outcome => ({ status: 401, error: 'invalid_token', message });
const insufficient = (message: string): Outcome => ({ status: 403, error: 'insufficient_scope', message });

const outcomes: Record<VerifyErrorCode, Outcome> = {
  token_missing: { status: 401, message: 'The request carries no bearer token' },
  request_malformed: { status: 400, error: 'invalid_request', message: 'The request carries no single readable token' },
  token_malformed: invalidToken('The token is not a compact JWS that can be read'),
  token_type_wrong: invalidToken('The token is not an access token'),
  algorithm_refused: invalidToken('The algorithm of the token is not accepted'),
  key_unknown: invalidToken('The issuer publishes no such key'),
  key_revoked: invalidToken('The key that signed the token was revoked'),
  signature_invalid: invalidToken('The signature of the token is wrong'),
  issuer_wrong: invalidToken('The token is of another issuer'),
  audience_wrong: invalidToken('The token is meant for another API'),
  token_expired: invalidToken('The token has expired'),
  token_not_yet_valid: invalidToken('The token is not valid yet'),
  claims_invalid: invalidToken('The claims of the token are not those of an access token of Writ'),
  token_revoked: invalidToken('The token was revoked'),
  intent_missing: insufficient('The token does not grant the intent that is required here'),
  action_not_granted: insufficient('The token does not grant the action that is required here'),
  datatype_not_granted: insufficient('The token does not grant the data type that is required here'),
  identifier_not_granted: insufficient('The token does not grant this object'),
  // Not the caller's fault and nothing a new token would mend, so neither 401 nor 403: the same request is right again
  // as soon as the feed is read again.
  feed_stale: { status: 503, message: 'What was revoked lately is not known' },
  keys_unavailable: { status: 503, message: 'The keys of the issuer could not be read' },
  verifier_fault: { status: 500, message: 'The token could not be judged' },
};

/** A stranger with a bad token is not told which check it failed (RFC 6750 §3.1 has this one sentence for all). */
const invalidTokenDescription = 'The access token is expired, revoked, malformed or not meant for this API';
const retryAfterSeconds = 2;

/** What the challenge says beside the error. `scope` is the intent that would do, asked for by its name. */
export interface Challenge {
  realm?: string;
  scope?: string;
}

/**
 * The only error that `verify()` throws. `message` is fixed per code and meant for logs; offending values are in `cause`.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750#section-3 RFC 6750 §3}
 */
export class VerifyError extends Error {
  override readonly name = 'VerifyError';
  readonly code: VerifyErrorCode;
  /** HTTP status of the answer. */
  readonly status: number;
  /** The RFC 6750 error code, where there is one. */
  readonly error: string | undefined;
  /** Text of the `WWW-Authenticate` header; `undefined` when a credential would not help (5xx). */
  readonly wwwAuthenticate: string | undefined;
  /** Seconds for `Retry-After`; only with 503. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: VerifyErrorCode, options?: { cause?: unknown; challenge?: Challenge }) {
    const outcome = outcomes[code];
    super(outcome.message, options && 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.status = outcome.status;
    this.error = outcome.error;
    this.wwwAuthenticate = outcome.status < 500 ? formatChallenge(outcome, options?.challenge ?? {}) : undefined;
    this.retryAfterSeconds = outcome.status === 503 ? retryAfterSeconds : undefined;
  }
}

function formatChallenge(outcome: Outcome, challenge: Challenge): string {
  const description = outcome.error === 'invalid_token' ? invalidTokenDescription : outcome.message;
  // RFC 6750 §3 wants at least one attribute after the scheme, also when there is no error to name.
  const attributes = [`realm="${quotable(challenge.realm) ?? 'writ'}"`];
  if (outcome.error !== undefined) {
    attributes.push(`error="${outcome.error}"`, `error_description="${description}"`);
    const scope = outcome.error === 'insufficient_scope' ? quotable(challenge.scope) : undefined;
    if (scope !== undefined) attributes.push(`scope="${scope}"`);
  }
  return `Bearer ${attributes.join(', ')}`;
}

/** Only what fits between quotes unescaped, so that no value can end the header or start another attribute. */
function quotable(value: string | undefined): string | undefined {
  return value !== undefined && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(value) ? value : undefined;
}
