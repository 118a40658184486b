/**
 * Traces (OpenTelemetry), all of them: one server span for each request, one for each transaction that changes something,
 * one for each batch of issuances, with links to the requests in it. Only the API is used: who wants traces registers an
 * SDK before Writ starts (`node --import`); without one every call here ends in an empty function.
 *
 * W3C Trace Context is read here and not by the SDK's propagator, so that one rule holds whether an SDK is there or not:
 * a valid `traceparent` is continued, anything else starts a new trace (§3.2.1), and nothing is ever refused for it.
 * What a stranger sends is an id to be written down, never more.
 *
 * @see https://www.w3.org/TR/trace-context/
 */
import {
  type Attributes,
  type Context,
  context,
  createTraceState,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';

export type { Link } from '@opentelemetry/api';

// Finds the SDK when it is first needed, which may have been registered after this file was read.
const tracer: Tracer = trace.getTracer('writ');

const traceparentPattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const maxTracestate = 512;

/** The remote parent that a request names; `undefined`: none, or none that is valid. Pure. */
export function readTraceparent(header: string | undefined, state?: string): SpanContext | undefined {
  const [, version, traceId, spanId, flags, rest] = traceparentPattern.exec(header ?? '') ?? [];
  if (version === undefined || traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  // Of version 00 there is no more; later ones may be longer, and are read as far as they are known.
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & 1,
    isRemote: true,
    ...(state === undefined || state.length > maxTracestate ? {} : { traceState: createTraceState(state) }),
  };
}

export interface TracedRequest {
  method: string;
  /** As sent: the remote parent. */
  traceparent: string | undefined;
  tracestate: string | undefined;
}

/**
 * Runs `answer` in a server span. `describe` is asked for route and status once it has answered.
 * @returns what `answer` does; `traceId` is given to it when the caller sent a valid one.
 */
export async function traceRequest(
  { method, traceparent, tracestate }: TracedRequest,
  answer: (traceId: string | undefined) => Promise<void>,
  describe: () => { route: string; status: number },
): Promise<void> {
  const parent = traceparent === undefined ? undefined : readTraceparent(traceparent, tracestate);
  const within = parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent);
  const attributes = { 'http.request.method': method };
  await run(method, { kind: SpanKind.SERVER, attributes }, within, async (span) => {
    await answer(parent?.traceId);
    if (!span.isRecording()) return;
    const { route, status } = describe();
    span.updateName(`${method} ${route}`);
    span.setAttributes({ 'http.route': route, 'http.response.status_code': status });
    if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  });
}

/** Runs `work` in a span below the one that is active, unless `root` says otherwise; it adds what is known only then. */
export const inSpan = <T>(
  name: string,
  options: Pick<SpanOptions, 'root'>,
  work: (note: (attributes: Attributes) => void, link: (links: Link[]) => void) => Promise<T>,
): Promise<T> =>
  run(name, options, undefined, (span) =>
    work(
      (attributes) => span.setAttributes(attributes),
      (links) => span.addLinks(links),
    ),
  );

/** The span that is active here, for work that is done for several at once. */
export function linkHere(): Link | undefined {
  const span = trace.getActiveSpan();
  return span === undefined ? undefined : { context: span.spanContext() };
}

async function run<T>(
  name: string,
  options: SpanOptions,
  parent: Context | undefined,
  work: (span: Span) => Promise<T>,
): Promise<T> {
  const within = parent ?? context.active();
  const span = tracer.startSpan(name, options, within);
  // Nobody traces: there is nothing to hand down, and no way of it to pay for.
  if (!isSpanContextValid(span.spanContext())) return work(span);
  try {
    return await context.with(trace.setSpan(within, span), work, undefined, span);
  } catch (error) {
    // Not its message: that may hold what nobody may read.
    span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.name : 'error' });
    throw error;
  } finally {
    span.end();
  }
}
