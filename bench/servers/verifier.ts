/**
 * An API with a verifier in simulated time: its clocks show what the feed says, so a day is as long as it takes to read
 * it. Ends when the verifier is wrong about a token. Answers `GET /` once feed and keys are read.
 */
import { createServer } from 'node:http';
import { createVerifier, VerifyError } from '../../src/sdk/api/verify.ts';
import { api } from '../callers.ts';
import type { Judgement } from '../simulated-issuer.ts';

/** Milliseconds since 1970 in the feed's time. */
let clock = Date.now();

const verifier = await createVerifier({
  issuer: process.env.BENCH_ISSUER ?? '',
  audience: api,
  credentials: { clientId: 'bench', clientSecret: 'bench' },
  now: () => new Date(clock),
  monotonic: () => clock,
  // Few, for what is remembered comes and goes in generations: of the default's, memory would be a saw.
  rememberedTokens: 400,
  fetch: async (input, init) => {
    const response = await fetch(input, init);
    if (response.headers.get('content-type') !== 'text/event-stream' || response.body === null) return response;
    const { status, headers } = response;
    // Taken one by one: the next event is looked at when the SDK has applied the one before.
    return new Response(ReadableStream.from(readEvents(response.body)), { status, headers });
  },
});

/** The stream, event by event, without the tokens that travel in it: those are judged here. */
async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const encoder = new TextEncoder();
  let rest = '';
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + text).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) {
      const data = JSON.parse(event.slice(event.indexOf('data: ') + 6));
      if (event.startsWith('event: token\n')) {
        await judge(data);
        continue;
      }
      clock = Date.parse(data.readAt ?? data.at);
      yield encoder.encode(`${event}\n\n`);
    }
  }
}

/** Twice: the second time the token is one that was seen before. */
async function judge({ token, isRevoked }: Judgement): Promise<void> {
  for (let turn = 0; turn < 2; turn++) {
    const found = await verifier.verify(token).then(
      () => 'good',
      (error: unknown) => (error instanceof VerifyError ? error.code : String(error)),
    );
    const wanted = isRevoked ? 'token_revoked' : 'good';
    if (found === wanted) continue;
    process.stderr.write(`a token that is ${wanted} was found ${found}\n`);
    process.exit(1);
  }
}

await verifier.ready();
createServer((_request, response) => response.end()).listen(Number(process.env.PORT), '127.0.0.1');
