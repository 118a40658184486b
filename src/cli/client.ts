/**
 * The administration API as the CLI sees it: one bearer, JSON in and out, lists by cursor. Every failure leaves here as
 * a `CliFailure` with one sentence that says what to do next. Nothing is retried: a person or a script decides that.
 */
import { CliFailure, type ExitCode, exitCodes } from './failure.ts';
import { isRow, parseJson, type Row } from './json.ts';
import { visible } from './print.ts';

export type Query = Record<string, string | undefined>;

export interface Client {
  get(path: string): Promise<Row>;
  post(path: string, body?: Row, options?: { timeoutMs?: number }): Promise<Row>;
  put(path: string, body: Row): Promise<Row>;
  patch(path: string, body: Row, options?: { timeoutMs?: number }): Promise<Row>;
  /** An answer that is too long to hold: as it arrives. */
  stream(path: string): Promise<AsyncIterable<Uint8Array>>;
  /** All items of a list, or the first `limit`; `onPage` hears how many have arrived. `isCut`: there are more. */
  list(path: string, query?: Query, options?: ListOptions): Promise<{ items: Row[]; isCut: boolean }>;
}
export interface ListOptions {
  limit?: number | undefined;
  onPage?: (count: number) => void;
}
export interface ClientOptions {
  url: string;
  token: string;
  /** Where the token was found, for the sentence about a token that is refused. */
  tokenSource: string;
  fetch: typeof fetch;
  trace: (line: string) => void;
}

const pageSize = 200;
const timeoutMs = 30_000;

/** @see design "Administration API"; errors are RFC 9457 problem details. */
export function createClient(options: ClientOptions): Client {
  const send = async (method: string, path: string, signal: AbortSignal, body?: Row): Promise<Response> => {
    const target = `${options.url}/api/v1${path}`;
    const started = performance.now();
    const response = await reach(options.fetch, target, {
      method,
      headers: {
        accept: 'application/json, application/problem+json',
        authorization: `Bearer ${options.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal,
    });
    options.trace(`${method} ${target} ${response.status} in ${Math.round(performance.now() - started)} ms`);
    if (!response.ok) throw await refusalOf(response, `${method} ${path}`, options.tokenSource);
    return response;
  };
  const request = async (method: string, path: string, body?: Row, patienceMs = timeoutMs): Promise<Row> =>
    readObject(await send(method, path, AbortSignal.timeout(patienceMs), body), `${options.url}/api/v1${path}`);
  return {
    get: (path) => request('GET', path),
    post: (path, body, { timeoutMs: patienceMs } = {}) => request('POST', path, body ?? {}, patienceMs),
    put: (path, body) => request('PUT', path, body),
    patch: (path, body, { timeoutMs: patienceMs } = {}) => request('PATCH', path, body, patienceMs),
    stream: async (path) => {
      const patience = new AbortController();
      const timer = setTimeout(() => patience.abort(), timeoutMs);
      const response = await send('GET', path, patience.signal).finally(() => clearTimeout(timer));
      return readPieces(response, options.url);
    },
    list: (path, query = {}, listOptions = {}) =>
      collectPages((search) => request('GET', `${path}?${search}`), path, query, listOptions),
  };
}

async function collectPages(
  get: (search: string) => Promise<Row>,
  path: string,
  query: Query,
  { limit, onPage }: ListOptions,
): Promise<{ items: Row[]; isCut: boolean }> {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, value);
  const items: Row[] = [];
  for (;;) {
    search.set('limit', String(Math.min(pageSize, limit === undefined ? pageSize : limit - items.length)));
    const page = await get(search.toString());
    if (!Array.isArray(page.items)) {
      throw new CliFailure(exitCodes.unavailable, `The answer to GET ${path} is not a list: is this a Writ server?`);
    }
    items.push(...page.items.filter(isRow));
    onPage?.(items.length);
    const cursor = page.nextCursor;
    if (typeof cursor !== 'string' || cursor === '') return { items, isCut: false };
    if (limit !== undefined && items.length >= limit) return { items: items.slice(0, limit), isCut: true };
    if (search.get('cursor') === cursor) {
      throw new CliFailure(exitCodes.unavailable, `The list ${path} leads back to the page it came from.`);
    }
    search.set('cursor', cursor);
  }
}

/** A request whose network failures are sentences. Redirects are refused: the bearer goes to the named server alone. */
export async function reach(fetcher: typeof fetch, target: string, init: RequestInit): Promise<Response> {
  try {
    return await fetcher(target, { ...init, redirect: 'error' });
  } catch (error) {
    throw networkFailure(error, new URL(target).origin);
  }
}

function networkFailure(error: unknown, origin: string): CliFailure {
  const cause = error instanceof Error && isRow(error.cause) ? error.cause : undefined;
  const code = typeof cause?.code === 'string' ? cause.code : '';
  const fail = (message: string, outcomeUnknown: boolean) =>
    new CliFailure(exitCodes.unavailable, message, { cause: error, outcomeUnknown });
  if (code === 'ECONNREFUSED') {
    return fail(
      `Nothing listens at ${origin}. Is Writ running? Start it with \`npm start\` (or \`writ serve\`), or name another server with --url or WRIT_URL.`,
      false,
    );
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return fail(`The name in ${origin} cannot be resolved: check --url or WRIT_URL.`, false);
  }
  if (error instanceof Error && error.name === 'TimeoutError') {
    return fail(`No answer from ${origin} in time; what was asked may have happened: look before you repeat it.`, true);
  }
  const why = code || (typeof cause?.message === 'string' ? cause.message : String(error));
  return fail(`The connection to ${origin} failed (${why}): check --url or WRIT_URL, and the server's log.`, true);
}

async function* readPieces(response: Response, url: string): AsyncGenerator<Uint8Array> {
  try {
    yield* response.body ?? [];
  } catch (error) {
    throw networkFailure(error, new URL(url).origin);
  }
}

async function readObject(response: Response, target: string): Promise<Row> {
  const text = await response.text().catch((error: unknown) => {
    throw networkFailure(error, new URL(target).origin);
  });
  if (text === '') return {};
  const value = parseJson(text);
  if (isRow(value)) return value;
  throw new CliFailure(
    exitCodes.unavailable,
    `What answered at ${target} is not Writ's administration API: check --url or WRIT_URL.`,
  );
}

/** Turns a problem (RFC 9457) into one sentence and the exit code. */
async function refusalOf(response: Response, call: string, tokenSource: string): Promise<CliFailure> {
  const parsed = parseJson(await response.text().catch(() => ''));
  const problem = isRow(parsed) ? parsed : {};
  const said = [problem.detail, problem.title].find((text) => typeof text === 'string' && text !== '');
  const detail = said === undefined ? `HTTP ${response.status}` : visible(String(said)).replace(/[.\s]+$/, '');
  const { status } = response;
  const fail = (exitCode: ExitCode, message: string) =>
    new CliFailure(exitCode, message, { cause: problem, outcomeUnknown: status >= 500 });
  if (status === 401) {
    return fail(
      exitCodes.forbidden,
      `Writ did not accept the administration token from ${tokenSource}. Set WRIT_ADMIN_TOKEN to the server's token: the value it was started with, or the content of the file whose path it prints at start.`,
    );
  }
  if (status === 403) return fail(exitCodes.forbidden, `This credential may not ${call}: ${detail}.`);
  if (status === 404) {
    if (problem.code === undefined) {
      return fail(exitCodes.notFound, `This server does not know ${call}: check --url or WRIT_URL, and its version.`);
    }
    return fail(exitCodes.notFound, `Not found: ${detail}. List what there is with the \`list\` command.`);
  }
  const wait = response.headers.get('retry-after');
  const again = wait !== null && /^\d+$/.test(wait) ? `in ${wait} s` : 'in a moment';
  if (status === 429) return fail(exitCodes.refused, `Writ is asked too often: try again ${again}.`);
  if (status >= 500) {
    const id = problem.requestId ?? response.headers.get('x-request-id');
    const trail = id === undefined || id === null ? '' : ` (request ${String(id)} in the server's log)`;
    return fail(exitCodes.unavailable, `Writ cannot answer now: ${detail}${trail}. Try again ${again}.`);
  }
  const code = typeof problem.code === 'string' ? ` (${problem.code})` : '';
  return fail(exitCodes.refused, `Writ refused${code}: ${memberErrors(problem) ?? detail}.`);
}

/** All that is wrong with the input, when the server lists more than the `detail` names. */
function memberErrors(problem: Row): string | undefined {
  const errors = Array.isArray(problem.errors) ? problem.errors.filter(isRow) : [];
  if (errors.length < 2) return undefined;
  return errors.map((error) => visible(`${error.path || 'the body'}: ${error.message}`)).join('; ');
}
