/** How the agent talks to the server: metadata first, then the token endpoint, with the attempts that are safe. */

import { setTimeout as sleep } from 'node:timers/promises';
import { refusalReasons } from '../../protocol.ts';
import { locateMetadata, parseSecureUrl } from '../issuer.ts';
import type { Authenticate } from './credential.ts';
import { AgentError, type Refusal } from './errors.ts';

export type Fetch = typeof globalThis.fetch;

export interface Transport {
  issuer: string;
  authenticate: Authenticate;
  fetch: Fetch;
  timeoutSeconds: number;
}

const maxAttempts = 4;
const firstDelayMs = 100;
/** A server that asks for more patience gets none here: the caller knows better what can wait that long. */
const maxRetryAfterSeconds = 10;
const maxBytes = 256 * 1024;
const metadataMaxAgeMs = 600_000;

/**
 * Returns a function that sends a form to the token endpoint and gives the JSON of a 200. Asking for a token changes nothing
 * that asking again would spoil, so an attempt without an answer, and 429, 502, 503, 504, are repeated, each time with an
 * authentication of its own; any other answer is final. Rejects with `AgentError`, or with the signal's reason.
 */
export function createTokenRequester(
  transport: Transport,
): (form: URLSearchParams, signal: AbortSignal) => Promise<Record<string, unknown>> {
  const readTokenEndpoint = createEndpointReader(transport);
  return async (form, signal) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const endpoint = await readTokenEndpoint(signal);
        return await postForm(transport, endpoint, form, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof AgentError) || !isWorthRepeating(error) || attempt === maxAttempts) throw error;
        const asked = error.retryAfterSeconds ?? 0;
        if (asked > maxRetryAfterSeconds) throw error;
        const delay = firstDelayMs * 4 ** (attempt - 1) * (0.5 + Math.random() / 2);
        await sleep(Math.max(delay, asked * 1000), undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    }
  };
}

/** A 500 is a defect and not an outage: it would be one again. */
function isWorthRepeating(error: AgentError): boolean {
  return error.code === 'unavailable' && error.status !== 500;
}

/** The token endpoint, from metadata read at most every ten minutes. */
function createEndpointReader(transport: Transport): (signal: AbortSignal) => Promise<string> {
  const location = locateMetadata(transport.issuer);
  let known: { endpoint: string; readAt: number } | undefined;
  return async (signal) => {
    if (known && performance.now() - known.readAt < metadataMaxAgeMs) return known.endpoint;
    const { response, body } = await exchangeOnce(transport, location, {}, signal);
    if (response.status !== 200) throw refuseStatus(response, 'The metadata could not be read');
    const metadata = parseObject(body);
    // RFC 8414 §3.3, §6.2: metadata that names another issuer could send this client's credentials to its endpoint.
    if (metadata?.issuer !== transport.issuer) {
      throw new AgentError('protocol', 'The metadata is of another issuer', { cause: metadata?.issuer });
    }
    try {
      known = { endpoint: parseSecureUrl(metadata.token_endpoint, 'token_endpoint').href, readAt: performance.now() };
    } catch (cause) {
      throw new AgentError('protocol', 'The metadata names no usable token endpoint', { cause });
    }
    return known.endpoint;
  };
}

async function postForm(
  transport: Transport,
  endpoint: string,
  form: URLSearchParams,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const authenticated = new URLSearchParams(form);
  const headers = new Headers({ 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' });
  await transport.authenticate(authenticated, headers);
  const request = { method: 'POST', headers, body: authenticated.toString() };
  const { response, body } = await exchangeOnce(transport, endpoint, request, signal);
  const answer = parseObject(body);
  if (response.status === 200) {
    if (!answer) throw new AgentError('protocol', 'The token endpoint answered no JSON object');
    return answer;
  }
  if (response.status >= 400 && response.status < 500 && response.status !== 429 && typeof answer?.error === 'string') {
    throw readRefusal(response, answer);
  }
  throw refuseStatus(response, 'The token endpoint gave no token');
}

/** One request and its whole answer, in the time that is allowed. */
async function exchangeOnce(
  transport: Transport,
  url: string,
  init: { method?: string; headers?: Headers; body?: string },
  signal: AbortSignal,
): Promise<{ response: Response; body: string }> {
  const attempt = new AbortController();
  const end = (): void => attempt.abort(signal.reason);
  const timer = setTimeout(() => attempt.abort(new Error('No answer in time')), transport.timeoutSeconds * 1000);
  signal.addEventListener('abort', end);
  if (signal.aborted) end();
  try {
    const headers = new Headers(init.headers);
    headers.set('accept', 'application/json');
    const response = await transport.fetch(url, { ...init, headers, redirect: 'manual', signal: attempt.signal });
    return { response, body: await readText(response) };
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    throw new AgentError('unavailable', 'The server gave no answer', { cause });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  }
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new AgentError('protocol', 'The server answered more than is read');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Not JSON is not an object; the caller says what that means.
  }
  return undefined;
}

/** An answer without an OAuth error in it: an outage, or not the endpoint it should be. */
function refuseStatus(response: Response, message: string): AgentError {
  const isOutage = [429, 500, 502, 503, 504].includes(response.status);
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const refusal: Refusal = { status: response.status };
  if (Number.isFinite(seconds) && seconds >= 0) refusal.retryAfterSeconds = seconds;
  return new AgentError(isOutage ? 'unavailable' : 'protocol', message, { refusal });
}

/** An OAuth error (RFC 6749 §5.2) with Writ's `reason`. Two reasons are final. */
function readRefusal(response: Response, answer: Record<string, unknown>): AgentError {
  const refusal: Refusal = { status: response.status };
  const { error, reason, error_description: description, error_uri: errorUri } = answer;
  if (typeof error === 'string') refusal.error = error;
  if (typeof reason === 'string') refusal.reason = reason;
  if (typeof description === 'string') refusal.description = description;
  if (typeof errorUri === 'string') refusal.errorUri = errorUri;
  const known = refusalReasons.find((one) => one === reason);
  const isFinal = error === 'access_denied' && (reason === 'owner_inactive' || reason === 'agent_inactive');
  return isFinal
    ? new AgentError('stopped', 'The agent or its owner is no longer active', { refusal })
    : new AgentError('refused', `The token request was refused${known === undefined ? '' : `: ${known}`}`, { refusal });
}
