/**
 * The load generator: a closed loop over a fixed number of keep-alive connections on node:http. Requests are made before
 * the clock runs (signed assertions included), so that the client spends as little as it can while a server is measured.
 */
import { Agent, request as openRequest } from 'node:http';

export interface Request {
  method?: string;
  path: string;
  headers: Record<string, string>;
  body?: string;
}

export interface Answer {
  status: number;
  body: string;
}

export interface Run {
  /** Requests a second. */
  rate: number;
  /** Of each request, in milliseconds, ascending. */
  latencies: number[];
  elapsedMs: number;
}

export interface Client {
  send(request: Request): Promise<Answer>;
  /** Sends all of `requests` and rejects on the first answer that is not 2xx: an error is no work. */
  run(requests: readonly Request[]): Promise<Run>;
  close(): void;
}

/** `localAddress`: which of this machine's it calls from. */
export function createClient(base: string, connections: number, localAddress?: string): Client {
  const { hostname, port } = new URL(base);
  const from = localAddress === undefined ? {} : { localAddress };
  const agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: 'fifo', ...from });

  function send({ method = 'POST', path, headers, body }: Request): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
      const outgoing = openRequest({ agent, hostname, port, method, path, headers: { ...headers, ...length } });
      outgoing.once('error', reject);
      outgoing.once('response', (incoming) => {
        const pieces: Buffer[] = [];
        incoming.on('data', (piece: Buffer) => pieces.push(piece));
        incoming.once('error', reject);
        incoming.once('end', () =>
          resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(pieces).toString('utf8') }),
        );
      });
      outgoing.end(body);
    });
  }

  async function run(requests: readonly Request[]): Promise<Run> {
    const latencies: number[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      for (let request = requests[next++]; request !== undefined; request = requests[next++]) {
        const startedAt = performance.now();
        const { status, body } = await send(request);
        if (status < 200 || status > 299) throw new Error(`${request.path} answered ${status}: ${body.slice(0, 300)}`);
        latencies.push(performance.now() - startedAt);
      }
    };
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: connections }, work));
    const elapsedMs = performance.now() - startedAt;
    return { rate: (latencies.length * 1000) / elapsedMs, latencies: latencies.sort((a, b) => a - b), elapsedMs };
  }

  return { send, run, close: () => agent.destroy() };
}
