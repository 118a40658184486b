/**
 * All nodes are replaced one after the other behind a balancer that knows nothing but `/readyz`, under load, and no
 * request fails: a node that is told to stop says that it is not ready, goes on answering until the balancer has noticed,
 * finishes what it has in hand, and closes.
 */
import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { Verifier } from '../../src/sdk/api/verify.ts';
import {
  type Cluster,
  type Company,
  isReady,
  openCluster,
  openCompany,
  showOnFailure,
  untilJudged,
  type WritNode,
} from '../support/nodes.ts';
import { must } from '../support/world.ts';
import type { Answer } from '../support/writ.ts';

interface Balancer extends AsyncDisposable {
  url: string;
  nodes: Set<WritNode>;
  /** The nodes that it sends requests to. */
  serving(): WritNode[];
}

const probeMs = 100;

/** Round robin over the nodes that were ready at the last probe, with connections that are kept. */
async function startBalancer(): Promise<Balancer> {
  const nodes = new Set<WritNode>();
  let ready: WritNode[] = [];
  let turn = 0;
  const agent = new Agent({ keepAlive: true });

  /** Once more elsewhere only when nothing was sent, as the connection was refused: anything else may have been done. */
  function forward(incoming: IncomingMessage, outgoing: ServerResponse, body: Buffer, attempt = 0): void {
    const node = ready[turn++ % Math.max(1, ready.length)];
    if (node === undefined) {
      outgoing.writeHead(502).end('no node is ready');
      return;
    }
    const { method, url, headers } = incoming;
    const passed = request(`${node.url}${url}`, { method: method ?? 'GET', headers, agent }, (answer) => {
      const { connection, 'keep-alive': _, ...rest } = answer.headers;
      outgoing.writeHead(answer.statusCode ?? 502, rest);
      answer.pipe(outgoing);
      // A stream that its node has ended is over for the client, too.
      answer.once('error', () => outgoing.destroy());
      outgoing.once('close', () => answer.destroy());
    });
    passed.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' && attempt < 3) forward(incoming, outgoing, body, attempt + 1);
      else if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(502).end(`${node.url}: ${error.message}`);
    });
    passed.end(body);
  }

  const server: Server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    forward(incoming, outgoing, Buffer.concat(chunks));
  });
  server.keepAliveTimeout = 75_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const probing = new AbortController();
  const probe = async (): Promise<void> => {
    while (!probing.signal.aborted) {
      const found = await Promise.all([...nodes].map(async (node) => ((await isReady(node)) ? [node] : [])));
      ready = found.flat();
      await sleep(probeMs);
    }
  };
  const probed = probe();
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    nodes,
    serving: () => ready,
    async [Symbol.asyncDispose]() {
      probing.abort();
      await probed;
      agent.destroy();
      server.close();
      server.closeAllConnections();
    },
  };
}

let balancer: Balancer;
let cluster: Cluster;
let company: Company;
let verifier: Verifier;

/** More than the balancer needs to notice, also on a busy machine. */
const env = { WRIT_DRAIN_SECONDS: '2' };

async function add(): Promise<WritNode> {
  const node = await cluster.start({ env });
  balancer.nodes.add(node);
  await vi.waitUntil(() => balancer.serving().includes(node), { timeout: 20_000 });
  return node;
}

beforeAll(async () => {
  balancer = await startBalancer();
  cluster = await openCluster({ issuer: balancer.url });
  const [node] = await Promise.all([add(), add()]);
  company = await openCompany(cluster, node);
  verifier = await company.follow(balancer);
});
afterAll(async () => {
  await verifier?.close();
  await cluster?.[Symbol.asyncDispose]();
  await balancer?.[Symbol.asyncDispose]();
});
showOnFailure(() => cluster?.said());

test('rolling restart under load: no request fails, and verifiers stay fresh', { timeout: 120_000 }, async ({
  annotate,
}) => {
  // Made now, because the node that the company was made with goes.
  const { person, agents } = await company.createTeam();
  const answers: Answer[] = [];
  const isOver = { yes: false };
  const work = async (fire: () => Promise<Answer>): Promise<void> => {
    while (!isOver.yes) {
      answers.push(await fire());
      await sleep(5);
    }
  };
  const workers = Array.from({ length: 8 }, (_, index) =>
    work(() =>
      index === 0
        ? company.scim('GET', `/Users/${company.alice}`)
        : cluster.ask(balancer, index % 2 === 0 ? company.triage : company.helper),
    ),
  );
  const failed = Promise.all(workers);
  failed.catch(() => {});
  const old = [...balancer.nodes];
  for (const node of old) {
    await add();
    node.signal('SIGTERM');
    await expect.poll(() => balancer.serving(), { timeout: 20_000 }).not.toContain(node);
    // Whoever still comes is answered.
    expect((await cluster.ask(node, company.triage)).headers.get('connection')).toBe('close');
    expect(await node.ended).toBe('0');
    balancer.nodes.delete(node);
  }
  isOver.yes = true;
  await failed;
  const bad = answers
    .filter(({ status }) => status !== 200)
    .map(({ status, body }) => `${status} ${JSON.stringify(body)}`);
  expect(bad).toEqual([]);
  expect(answers.length).toBeGreaterThan(100);
  await annotate(`${answers.length} requests over the restart of ${old.length} nodes`);

  // The verifier has followed the feed from node to node.
  const token = must(await cluster.ask(balancer, agents[0])).body.access_token;
  expect(await untilJudged(verifier, token, 'accepted')).toBe('accepted');
  must(await company.beActive(balancer, person, false));
  expect(await untilJudged(verifier, token, 'token_revoked')).toBe('token_revoked');
  const [last] = balancer.serving();
  expect((await last?.admin('POST', '/audit/verify', {}))?.body).toMatchObject({ ok: true });
});
