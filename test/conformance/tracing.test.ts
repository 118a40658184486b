/** W3C Trace Context in, spans out, through the public API of OpenTelemetry alone. */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Context,
  type ContextManager,
  context,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  type SpanOptions,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readTraceparent } from '../../src/platform/http/tracing.ts';
import { createWorld, crm, detail, encodeForm, makeAssertion, readIntent, type World } from '../support/world.ts';
import { type Answer, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

interface Recorded {
  name: string;
  context: SpanContext;
  parent: SpanContext | undefined;
  links: Link[];
  attributes: Record<string, unknown>;
  failed: boolean;
  ended: boolean;
}

const recorded: Recorded[] = [];
const storage = new AsyncLocalStorage<Context>();
const contexts: ContextManager = {
  active: () => storage.getStore() ?? ROOT_CONTEXT,
  with: (active, fn, thisArg, ...args) => storage.run(active, () => Reflect.apply(fn, thisArg, args)),
  bind: (active, target) => target && active && target,
  enable: () => contexts,
  disable: () => contexts,
};

let counter = 0;
const makeId = (length: number): string => (++counter).toString(16).padStart(length, '0');

function startSpan(name: string, options: SpanOptions = {}, given?: Context): Span {
  const parent = options.root === true ? undefined : trace.getSpanContext(given ?? context.active());
  const own = { traceId: parent?.traceId ?? makeId(32), spanId: makeId(16), traceFlags: 1 };
  const record: Recorded = {
    name,
    context: own,
    parent,
    links: [...(options.links ?? [])],
    attributes: { ...options.attributes },
    failed: false,
    ended: false,
  };
  recorded.push(record);
  const span: Span = {
    spanContext: () => own,
    isRecording: () => !record.ended,
    setAttribute: (key, value) => span.setAttributes({ [key]: value }),
    setAttributes: (attributes) => {
      Object.assign(record.attributes, attributes);
      return span;
    },
    updateName: (next) => {
      record.name = next;
      return span;
    },
    setStatus: ({ code }) => {
      record.failed = code === SpanStatusCode.ERROR;
      return span;
    },
    addEvent: () => span,
    addLink: (link) => span.addLinks([link]),
    addLinks: (links) => {
      record.links.push(...links);
      return span;
    },
    recordException: () => {},
    end: () => {
      record.ended = true;
    },
  };
  return span;
}

const tracer: Tracer = {
  startSpan,
  startActiveSpan: (name: string, ...rest: unknown[]) => {
    const work = rest.pop() as (span: Span) => unknown;
    const [options, given] = rest as [SpanOptions | undefined, Context | undefined];
    const parent = given ?? context.active();
    const span = startSpan(name, options, parent);
    return context.with(trace.setSpan(parent, span), () => work(span)) as never;
  },
};

let writ: TestWrit;
let world: World;
beforeAll(async () => {
  context.setGlobalContextManager(contexts);
  trace.setGlobalTracerProvider({ getTracer: () => tracer });
  writ = await startWrit();
  world = await createWorld(writ);
});
afterAll(async () => {
  await writ.close();
  trace.disable();
  context.disable();
});

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const good = `00-${traceId}-00f067aa0ba902b7-01`;

const askTraced = async (traceparent: string): Promise<Answer> =>
  readAnswer(
    await fetch(`${writ.url}/oauth/token`, {
      method: 'POST',
      headers: { traceparent },
      body: encodeForm({
        grant_type: 'client_credentials',
        resource: crm,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: makeAssertion(writ, world.triage),
        authorization_details: detail(readIntent),
      }),
    }),
  );

const auditOf = async (answer: Answer): Promise<Record<string, unknown>> => {
  const { items } = (await writ.admin('GET', '/audit?limit=50')).body;
  return items.find((item: { requestId: string }) => item.requestId === answer.headers.get('x-request-id'));
};

describe('W3C Trace Context §3.2: traceparent', () => {
  test.each([
    ['of a later version, with more at its end', `cc-${traceId}-00f067aa0ba902b7-01-more`],
    ['not sampled', `00-${traceId}-00f067aa0ba902b7-00`],
  ])('is read: %s', (_title, header) => {
    expect(readTraceparent(header)).toMatchObject({ traceId, spanId: '00f067aa0ba902b7', isRemote: true });
  });

  test.each([
    undefined,
    '',
    'nonsense',
    `ff-${traceId}-00f067aa0ba902b7-01`,
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId}-00f067aa0ba902b7-01-more`,
    `00-${traceId.toUpperCase()}-00f067aa0ba902b7-01`,
    `00-${traceId}-00f067aa0ba902b7`,
    ` ${good}`,
  ])('is not believed: %j', (header) => {
    expect(readTraceparent(header)).toBeUndefined();
  });
});

describe('spans', () => {
  test('a token request continues its caller’s trace; its batch is a trace of its own that links to it', async () => {
    recorded.length = 0;
    const answer = await askTraced(good);
    expect(answer.status).toBe(200);
    const request = recorded.find(({ name }) => name === 'POST /oauth/token');
    expect(request?.context.traceId).toBe(traceId);
    expect(request?.parent).toMatchObject({ spanId: '00f067aa0ba902b7', isRemote: true });
    expect(request?.attributes).toEqual({
      'http.request.method': 'POST',
      'http.route': '/oauth/token',
      'http.response.status_code': 200,
    });
    const batch = recorded.find(({ name }) => name === 'issue');
    expect(batch?.parent).toBeUndefined();
    expect(batch?.links.map((link) => link.context.spanId)).toEqual([request?.context.spanId]);
    expect(batch?.attributes).toEqual({ 'writ.batch': 1 });
    expect([request?.ended, batch?.ended]).toEqual([true, true]);
    expect(await auditOf(answer)).toMatchObject({ kind: 'token.issued', details: { traceId } });
  });

  test('a bad header starts a new trace, refuses nothing, and is not recorded', async () => {
    recorded.length = 0;
    const answer = await askTraced(`00-${traceId}-xyz-01`);
    expect(answer.status).toBe(200);
    const request = recorded.find(({ name }) => name === 'POST /oauth/token');
    expect(request?.parent).toBeUndefined();
    expect(request?.context.traceId).not.toBe(traceId);
    expect(JSON.stringify(await auditOf(answer))).not.toContain('traceId');
  });

  test('an offboarding: request, transaction, cascade, one below the other; the log names the trace', async () => {
    recorded.length = 0;
    const response = await fetch(`${world.directory.scimUrl}/Users/${world.alice}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${world.directory.scimToken}`, traceparent: good },
    });
    expect(response.status).toBe(204);
    const cascade = recorded.find(({ name }) => name === 'offboard');
    expect(cascade?.attributes).toEqual({ 'writ.agents': 2 });
    const transaction = recorded.find(({ context: { spanId } }) => spanId === cascade?.parent?.spanId);
    expect(transaction?.name).toBe('transaction');
    const request = recorded.find(({ context: { spanId } }) => spanId === transaction?.parent?.spanId);
    expect(request).toMatchObject({ name: 'DELETE /scim/v2/Users/:id', context: { traceId }, failed: false });
    const { items } = (await writ.admin('GET', `/audit?person=${world.alice}&kind=person.offboarded`)).body;
    expect(items).toMatchObject([{ details: { traceId, agents: 2 } }]);
  });

  test('no span names anybody', () => {
    expect(recorded.map(({ name }) => name).filter((name) => /[0-9a-f]{8}-/.test(name))).toEqual([]);
    const values = recorded.flatMap(({ attributes }) => Object.values(attributes)).map(String);
    expect(values.filter((value) => /[0-9a-f]{8}-|@/.test(value))).toEqual([]);
  });
});
