/**
 * The pipeline of every call, in this order: path, query, content type, body, schemas, the act itself, the answer.
 * (Who is calling was settled before, for every path alike.) Everything that is wrong with the input is told at once.
 */
import type { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Act } from '../../domain/audit/append.ts';
import { WritError } from '../../errors.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { parseJson, readBody } from '../../platform/http/body.ts';
import type { Call } from './call.ts';
import { EdgeRefusal, type ProblemIssue } from './problem.ts';
import { environment } from './schemas.ts';

/** Bytes; the largest honest body is an intent with its APIs. */
const maxBodyBytes = 256 * 1024;

/**
 * `report` is told of a failure in the middle of an answer of lines, when the status has long been sent.
 * @throws WritError for what the caller did wrong; anything else is a fault.
 */
export async function answerCall(
  c: Context,
  call: Call,
  act: Act,
  { baseUrl, report }: { baseUrl: string; report: (error: unknown, requestId: string) => void },
): Promise<Response> {
  const id = readId(c);
  const issues: ProblemIssue[] = [];
  const query = readQuery(call, new URL(c.req.url).searchParams, issues);
  const body = call.body === undefined ? undefined : check(call.body, await readJson(c, call), issues);
  if (issues.length > 0) throw new EdgeRefusal('invalid_request', summaryOf(issues), { errors: issues });
  const answer = await call.run({ id, query, body, act });
  if (Symbol.asyncIterator in answer) {
    const lines = answer as AsyncIterable<string>;
    const stream = await streamLines(lines, (error) => report(error, act.requestId));
    const type = call.mediaType ?? 'text/plain';
    return c.body(stream, call.status, {
      'content-type': type,
      'cache-control': 'no-store',
      'x-request-id': act.requestId,
    });
  }
  const isMade = call.status === 201 && 'id' in answer;
  return c.json(answer, call.status, {
    'cache-control': 'no-store',
    'x-request-id': act.requestId,
    ...(isMade ? { location: `${baseUrl}${call.path}/${answer.id}` } : {}),
  });
}

/**
 * Each piece is made when the connection asks for it. What fails before the first is still an answer; later it cuts the
 * connection, so that nobody takes half for the whole.
 */
async function streamLines(
  lines: AsyncIterable<string>,
  report: (error: unknown) => void,
): Promise<ReadableStream<Uint8Array>> {
  const iterator = lines[Symbol.asyncIterator]();
  let next: Promise<IteratorResult<string>> | undefined = Promise.resolve(await iterator.next());
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { value, done } = await (next ?? iterator.next());
          next = undefined;
          if (done === true) controller.close();
          else controller.enqueue(encoder.encode(value));
        } catch (error) {
          report(error);
          throw error;
        }
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** An id that cannot exist is not looked for. Key ids are no UUIDs, and bounded instead; an environment is a name. */
function readId(c: Context): string {
  const kid = c.req.param('kid');
  if (kid !== undefined) {
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(kid)) throw new WritError('not_found', 'no such key');
    return kid;
  }
  const name = c.req.param('name');
  if (name !== undefined) {
    if (!environment.safeParse(name).success) throw new WritError('not_found', 'no such environment');
    return name;
  }
  const id = c.req.param('id');
  if (id === undefined) return '';
  const canonical = canonicalId(id);
  if (canonical === null) throw new WritError('not_found', 'no such id');
  return canonical;
}

/** Each parameter at most once: which of two would count is nobody's guess. */
function readQuery(call: Call, search: URLSearchParams, issues: ProblemIssue[]): unknown {
  const values: Record<string, string> = Object.create(null);
  for (const name of new Set(search.keys())) {
    const all = search.getAll(name);
    if (all.length > 1) issues.push({ path: name, message: 'is given more than once' });
    if (call.query === undefined) issues.push({ path: name, message: 'is not a parameter of this call' });
    values[name] = all[0] ?? '';
  }
  return call.query === undefined ? undefined : check(call.query, { ...values }, issues);
}

/** An absent body is an empty object: calls whose members are all optional need none. */
async function readJson(c: Context, call: Call): Promise<unknown> {
  const type = c.req.header('content-type');
  const bytes = await readBody(c.req.raw, maxBodyBytes);
  if (bytes.length === 0) return {};
  const accepted =
    call.method === 'patch' ? ['application/json', 'application/merge-patch+json'] : ['application/json'];
  const [mediaType = '', ...parameters] = (type ?? '')
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  const isUtf8 = parameters.every(
    (parameter) => !parameter.startsWith('charset=') || /^charset="?utf-8"?$/.test(parameter),
  );
  if (!accepted.includes(mediaType) || !isUtf8) {
    throw new WritError('unsupported_media_type', `The body has to be ${accepted.join(' or ')}, in UTF-8.`);
  }
  return parseJson(bytes);
}

function check(schema: z.ZodType, value: unknown, issues: ProblemIssue[]): unknown {
  const result = schema.safeParse(value, {
    // Where a schema says nothing of its own.
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') return 'is not known here';
      return issue.code === 'invalid_type' && issue.input === undefined ? 'is required' : undefined;
    },
  });
  if (result.success) return result.data;
  for (const issue of result.error.issues) {
    const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
    issues.push(...paths.map((path) => ({ path: pathOf(path), message: issue.message })));
  }
  return undefined;
}

const pathOf = (path: PropertyKey[]): string =>
  path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '');

function summaryOf(issues: ProblemIssue[]): string {
  const [first] = issues;
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  return first === undefined ? '' : `${first.path === '' ? 'the body' : first.path}: ${first.message}${more}`;
}
