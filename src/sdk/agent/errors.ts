import type { RefusalReason } from '../../protocol.ts';

/** What to do about it. Closed. */
export type AgentErrorCode =
  | 'refused' // the server answered no to this request; asking the same again is pointless until something changes
  | 'stopped' // the agent or its owner is gone; this agent never asks again
  | 'unavailable' // no answer, or an outage, after all attempts; later it may work
  | 'protocol'; // the server's answer breaks the protocol: wrong issuer, unreadable, not a bearer token

export interface Refusal {
  /** The OAuth error code, as sent. */
  error?: string;
  /** Writ's reason; one that this version does not know is passed on as it came. */
  reason?: RefusalReason | (string & {});
  description?: string;
  /** Where to ask, for `approval_required`. */
  errorUri?: string;
  status?: number;
  /** Seconds after which the server said to come back. */
  retryAfterSeconds?: number;
}

/** The error of `writ/agent`. `message` says what happened in fixed words, a known reason among them; what the server sent is in the members. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly code: AgentErrorCode;
  readonly error: string | undefined;
  readonly reason: RefusalReason | (string & {}) | undefined;
  readonly description: string | undefined;
  readonly errorUri: string | undefined;
  readonly status: number | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: AgentErrorCode, message: string, options?: { refusal?: Refusal; cause?: unknown }) {
    super(message, options && 'cause' in options ? { cause: options.cause } : undefined);
    const refusal = options?.refusal ?? {};
    this.code = code;
    this.error = refusal.error;
    this.reason = refusal.reason;
    this.description = refusal.description;
    this.errorUri = refusal.errorUri;
    this.status = refusal.status;
    this.retryAfterSeconds = refusal.retryAfterSeconds;
  }
}
