/** What the verifier's three readers (metadata, keys, feed) share: bounded, unredirected requests to the issuer. */

export type Fetch = typeof globalThis.fetch;

/** An answer that cannot be used. `status` and `retryAfterSeconds` are those of the answer, if there was one. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';
  readonly status: number | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, options?: { response?: Response; cause?: unknown }) {
    super(message, options && 'cause' in options ? { cause: options.cause } : undefined);
    this.status = options?.response?.status;
    const seconds = Number(options?.response?.headers.get('retry-after') ?? Number.NaN);
    this.retryAfterSeconds = Number.isFinite(seconds) && seconds >= 0 ? seconds : undefined;
  }
}

/**
 * Basic credentials of an OAuth client: each part is form-urlencoded before they are joined.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1 RFC 6749 §2.3.1}
 */
export function formatBasic(clientId: string, clientSecret: string): string {
  const encode = (part: string): string => new URLSearchParams([['', part]]).toString().slice(1);
  return `Basic ${Buffer.from(`${encode(clientId)}:${encode(clientSecret)}`).toString('base64')}`;
}

/** Runs `work` with a signal that ends it after `timeoutMs`, or when `closed` does. */
export async function withDeadline<T>(
  closed: AbortSignal,
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  // Not AbortSignal.any: on older Nodes each use leaves something behind on a signal that lives as long as the process.
  const deadline = new AbortController();
  const close = (): void => deadline.abort(closed.reason);
  const timer = setTimeout(() => deadline.abort(new AnswerError('No answer in time')), timeoutMs);
  closed.addEventListener('abort', close);
  if (closed.aborted) close();
  try {
    return await work(deadline.signal);
  } finally {
    clearTimeout(timer);
    closed.removeEventListener('abort', close);
  }
}

/** GETs one JSON object. Follows no redirect, reads at most `maxBytes`. Throws on anything but a 200 with an object. */
export async function getObject(
  fetch: Fetch,
  url: string,
  options: { signal: AbortSignal; maxBytes: number },
): Promise<Record<string, unknown>> {
  const response = await fetch(url, {
    headers: { accept: 'application/json' },
    redirect: 'manual',
    signal: options.signal,
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new AnswerError(`GET answered ${response.status}`, { response, cause: url });
  }
  const text = await readText(response, options.maxBytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new AnswerError('GET answered no JSON', { response, cause });
  }
  if (!isObject(value)) throw new AnswerError('GET answered no JSON object', { response, cause: url });
  return value;
}

async function readText(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new AnswerError('GET answered more than is read', { response, cause: maxBytes });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
