/**
 * The protocol endpoints, on Node's own request and response, which the engine speaks as well: making a web standard
 * Request of every token request, and a Response of its answer, costs a quarter of the token.
 */
import type { IncomingMessage } from 'node:http';
import type { Provider } from 'oidc-provider';
import type { Act } from '../../domain/audit/append.ts';
import { WritError } from '../../errors.ts';
import { parseForm, readIncoming } from '../../platform/http/body.ts';
import { withDeadline } from '../../platform/http/deadline.ts';
import type { Asked, Call, CallAnswer } from '../../platform/http/observe.ts';
import { type Limits, RateLimited } from '../../platform/http/rate-limit.ts';
import { type BridgeParts, deadlineMs, headersOf, runEngine, toFailure } from './bridge.ts';
import { holdBack } from './hold-back.ts';
import { answerPlainRequest, type ShortPath } from './short-path.ts';
import { claimedId, type RequestState } from './state.ts';

export const tokenPath = '/oauth/token';
export const endpointPaths: readonly string[] = [tokenPath, '/oauth/introspect', '/oauth/revoke'];

export interface EndpointParts {
  engine: Provider;
  short: ShortPath;
  limits: Limits;
  /** The act of a request before its caller is known. */
  actOf(asked: Asked, by: Act['by']): Act;
  report: BridgeParts['report'];
}

/** Longest form: an assertion, a subject token and details, with room. The engine reads no more. */
const maxFormBytes = 56 * 1024;
const formType = 'application/x-www-form-urlencoded';
/** What the engine is given to look for in its own, empty storage. */
const standIn = 'held-by-writ';

/** The engine knows no JWT access tokens and would refuse them: it authenticates, Writ answers. */
function hideToken(bytes: Uint8Array, form: readonly (readonly [string, string])[]): Uint8Array {
  if (form.filter(([name]) => name === 'token').length !== 1) return bytes;
  const shown = form.map(([name, value]): [string, string] => [
    name,
    name === 'token' && value !== '' ? standIn : value,
  ]);
  return Buffer.from(new URLSearchParams(shown).toString());
}

/**
 * Whether the body is a form. The engine would decode it by a `charset` of the sender's choice and see other parameters
 * than `parseForm`; a form is UTF-8 (RFC 6749 appendix B), and the engine is told nothing else.
 */
function normaliseType({ headers }: IncomingMessage): boolean {
  if (headers['content-type'] === formType) return true;
  const [type = '', ...parameters] = (headers['content-type'] ?? '').toLowerCase().split(';');
  if (type.trim() !== formType) return false;
  const charsets = parameters.map((one) => one.trim()).filter((one) => one.startsWith('charset'));
  if (!charsets.every((one) => /^charset="?utf-8"?$/.test(one)))
    throw new WritError('invalid_request', 'a form is encoded in UTF-8');
  headers['content-type'] = formType;
  return true;
}

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: object;
}

/** What the sender did wrong before anything of it was read as a token request. */
function toRefusal(error: WritError): Answer {
  const isLarge = error.code === 'too_large';
  // The rest of a body that is too large is not waited for.
  const headers: Record<string, string> = isLarge ? { Connection: 'close' } : {};
  return { status: isLarge ? 413 : 400, headers, body: { error: 'invalid_request', error_description: error.detail } };
}

function isRefusal(error: unknown): error is WritError {
  return error instanceof WritError && error.code !== 'unavailable' && !(error instanceof RateLimited);
}

function write({ outgoing, requestId }: Call, { status, headers, body }: Answer): void {
  // Somebody who went away is told nothing.
  if (outgoing.headersSent || outgoing.destroyed) return;
  outgoing.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    ...headersOf(requestId),
    ...headers,
  });
  outgoing.end(JSON.stringify(body));
}

/** What answers a POST to one of `endpointPaths`. */
export function createEndpoint(parts: EndpointParts): CallAnswer {
  const { engine, short, limits, report } = parts;

  async function answer(call: Call): Promise<void> {
    const { path, incoming } = call;
    const bytes = await readIncoming(incoming, maxFormBytes);
    const form = normaliseType(incoming) ? parseForm(bytes) : [];
    const by = { type: 'agent', id: claimedId(form) ?? 'unauthenticated' } as const;
    const state: RequestState = { act: parts.actOf(call, by), form };
    const charge = holdBack(limits, state, call);
    const isToken = path === tokenPath;
    const plain = isToken
      ? await withDeadline(deadlineMs, () => answerPlainRequest(short, state, incoming.headers.authorization))
      : undefined;
    if (plain !== undefined) write(call, { ...plain, headers: {} });
    else await runEngine(engine, call, isToken ? bytes : hideToken(bytes, form), state);
    if (plain !== undefined || state.proven === true) charge();
  }

  return async (call) => {
    try {
      await answer(call);
    } catch (error) {
      const refused = isRefusal(error) ? toRefusal(error) : undefined;
      if (refused === undefined && !(error instanceof RateLimited)) report(error, call.requestId);
      write(call, refused ?? toFailure(error));
    }
  };
}
