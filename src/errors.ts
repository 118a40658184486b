/**
 * The one error that Writ throws on purpose. `code` comes from a closed union; each edge has an exhaustive table from
 * code to its wire form. Everything else that is thrown is a fault: 5xx, logged with its cause, shown to nobody.
 */
export type ErrorCode =
  | 'invalid_request' // the request is malformed or breaks a rule it could have known
  | 'unauthenticated' // no credential, or not one of ours
  | 'forbidden' // authenticated, but not allowed to do this
  | 'not_found'
  | 'conflict' // true of the state it met, not of the request: try again after looking
  | 'too_large'
  | 'unsupported_media_type'
  | 'method_not_allowed'
  | 'rate_limited' // asked too often; nothing was decided
  | 'unavailable'; // an outage; nothing was decided

export class WritError extends Error {
  override readonly name = 'WritError';
  readonly code: ErrorCode;
  /** Which rule, on which member: shown to callers who are administrators, never to strangers. */
  readonly detail: string;

  constructor(code: ErrorCode, detail: string, options?: { cause?: unknown }) {
    super(`${code}: ${detail}`, options);
    this.code = code;
    this.detail = detail;
  }
}
