/**
 * Several nodes of one Writ, each a process of its own as `npm start` runs it, on one database: for what only happens to
 * processes, such as being killed, stopped or replaced.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, vi } from 'vitest';
import { connect, type Sql } from '../../src/platform/db/client.ts';
import { createVerifier, type Verifier, type VerifierOptions } from '../../src/sdk/api/verify.ts';
import { createTestDatabase } from './database.ts';
import {
  callScim,
  createWorld,
  crm,
  type Form,
  type KeyedAgent,
  makeAssertion,
  must,
  postForm,
  readIntent,
  type World,
} from './world.ts';
import { type Answer, freePort, readAnswer, type TestWrit } from './writ.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const startMs = 60_000;
// Processes start, and end, slowly on a busy machine.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });
const token = randomBytes(24).toString('hex');

export interface WritNode extends TestWrit {
  pid: number;
  /** Exit code or signal, once the process has ended. */
  ended: Promise<string>;
  /** Standard output and error so far, the end of them. */
  said(): string;
  signal(name: NodeJS.Signals): void;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
}

export interface NodeOptions {
  /** Default: the issuer's, when no node of the cluster has it, else any. */
  port?: number;
  /** The cluster's database by another way. */
  databaseUrl?: string;
  env?: Record<string, string>;
  /** Seconds by which the process sees the wall clock off. */
  clockOffsetSeconds?: number;
}

export interface Cluster extends AsyncDisposable {
  issuer: string;
  databaseUrl: string;
  /** What every node is started with. */
  kek: string;
  /** Past the nodes. */
  sql: Sql;
  start(options?: NodeOptions): Promise<WritNode>;
  /** Of all its nodes. */
  said(): string;
  /** A token request at one node; the assertion is for the issuer, whichever node answers. */
  ask(node: { url: string }, agent: KeyedAgent, form?: Form): Promise<Answer>;
  exchange(node: { url: string }, agent: KeyedAgent, subjectToken: string): Promise<Answer>;
}

/** A process of the test that is still there when the test process ends would be nobody's. */
const living = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});

/** `issuer`: of a balancer; by default the first node's own address. `databaseUrl`: of the nodes, past a proxy for example. */
export async function openCluster(given: { issuer?: string } = {}): Promise<Cluster> {
  const database = await createTestDatabase();
  const { sql, close } = connect({ url: database.url, poolSize: 4, applicationName: 'test' });
  const port = await freePort();
  const issuer = given.issuer ?? `http://localhost:${port}`;
  const kek = randomBytes(32).toString('base64');
  const nodes = new Set<WritNode>();
  const usedPorts = new Map<number, WritNode>();
  const ask: Cluster['ask'] = (node, agent, form = {}) =>
    postForm(`${node.url}/oauth/token`, {
      grant_type: 'client_credentials',
      resource: crm,
      scope: readIntent,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: makeAssertion({ url: issuer } as TestWrit, agent),
      ...form,
    });
  return {
    issuer,
    databaseUrl: database.url,
    kek,
    sql,
    ask,
    said: () => [...nodes].map((node) => `--- ${node.url}\n${node.said().slice(-4_000)}`).join('\n'),
    exchange: (node, agent, subjectToken) =>
      ask(node, agent, {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: subjectToken,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      }),
    start: async (options = {}) => {
      const own = options.port ?? (given.issuer === undefined && !usedPorts.has(port) ? port : await freePort());
      const node = spawnNode(own, {
        ...(options.clockOffsetSeconds === undefined ? {} : { NODE_OPTIONS: shiftClock(options.clockOffsetSeconds) }),
        WRIT_ISSUER: issuer,
        DATABASE_URL: options.databaseUrl ?? database.url,
        WRIT_KEK: kek,
        ...options.env,
      });
      nodes.add(node);
      usedPorts.set(own, node);
      void node.ended.then(() => usedPorts.get(own) === node && usedPorts.delete(own));
      await becomesReady(node);
      return node;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...nodes].map((node) => node.kill()));
      await close();
      await database.drop();
    },
  };
}

/** Prints what the processes said when a test of the file fails. To be called once, outside of any test. */
export function showOnFailure(said: () => string | undefined): void {
  afterEach(async ({ task }) => {
    if (task.result?.state !== 'fail') return;
    // A process that has ended is heard of a moment later than its connections.
    await sleep(500);
    process.stderr.write(`${said() ?? ''}\n`.slice(-20_000));
  });
}

/** Node options that move the wall clock of a process, and leave its monotonic clock alone. */
function shiftClock(seconds: number): string {
  const source = `
    const Real = Date; const ms = ${seconds * 1000}; const now = () => Real.now() + ms;
    globalThis.Date = new Proxy(Real, {
      construct: (target, args, self) => Reflect.construct(target, args.length === 0 ? [now()] : args, self === Date ? target : self),
      apply: () => new Real(now()).toString(),
      get: (target, key) => (key === 'now' ? now : Reflect.get(target, key)),
    });`;
  return `--import=data:text/javascript,${encodeURIComponent(source)}`;
}

/** `env` is all that the process gets besides PATH. Starts it and does not wait. */
export function spawnNode(port: number, env: Record<string, string>): WritNode {
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH ?? '',
      PORT: String(port),
      WRIT_ADMIN_TOKEN: token,
      WRIT_LOG_LEVEL: 'warn',
      ...env,
    },
  });
  living.add(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-500_000);
    });
  }
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(String(code ?? signal)));
  });
  void ended.then((how) => {
    living.delete(child);
    text += `(ended: ${how})\n`;
  });
  const url = `http://localhost:${port}`;
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  return {
    url,
    databaseUrl: env.DATABASE_URL ?? '',
    pid: child.pid ?? 0,
    // Known only inside the process.
    routes: [],
    ended,
    said: () => text,
    signal: (name) => void child.kill(name),
    kill,
    close: kill,
    [Symbol.asyncDispose]: kill,
    admin: async (method, path, body) =>
      readAnswer(
        await fetch(`${url}/api/v1${path}`, {
          method,
          headers: {
            authorization: `Bearer ${token}`,
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      ),
  };
}

/** @throws when the process ends before, with what it said. */
export async function becomesReady(node: WritNode): Promise<void> {
  const state = { hasEnded: false };
  void node.ended.then(() => {
    state.hasEnded = true;
  });
  const giveUpAt = performance.now() + startMs;
  while (!(await isReady(node))) {
    if (state.hasEnded || performance.now() > giveUpAt)
      throw new Error(`a node does not start: ${node.said().slice(-4_000)}`);
    await sleep(20);
  }
}

/** What a balancer asks. */
export async function isReady(node: { url: string }): Promise<boolean> {
  const answer = await fetch(`${node.url}/readyz`, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
  await answer?.arrayBuffer().catch(() => undefined);
  return answer?.status === 200;
}

/** The company of `createWorld`; the directory is reached at the node that is named with each call. */
export interface Company extends World {
  /** Makes a person with an agent and its sub-agent. */
  createTeam(): Promise<Team>;
  /** The directory says at this node that the person is, or is no longer, active. */
  beActive(node: { url: string }, person: string, active: boolean): Promise<Answer>;
  isActive(node: { url: string }, token: string): Promise<boolean>;
  /** A verifier on this node's feed, ready. */
  follow(node: { url: string }, options?: Partial<VerifierOptions>): Promise<Verifier>;
}

export interface Team {
  person: string;
  agents: [root: KeyedAgent, child: KeyedAgent];
}

export async function openCompany(cluster: Cluster, node: WritNode): Promise<Company> {
  const world = await createWorld(node);
  const at = ({ url }: { url: string }): World['directory'] => ({ ...world.directory, scimUrl: `${url}/scim/v2` });
  const { clientId, clientSecret } = world.api.feedCredentials;
  const authorization = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
  return {
    ...world,
    createTeam: async () => {
      const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];
      const user = { schemas, userName: `${randomUUID()}@example.com` };
      const person = must(await callScim(at(node), 'POST', '/Users', user)).body.id;
      const first = await world.createAgent({ name: 'root', owner: person, environment: 'production' });
      const second = await world.createAgent({ name: 'child', parent: first.id, environment: 'production' });
      return { person, agents: [first, second] };
    },
    beActive: (where, person, active) =>
      callScim(at(where), 'PATCH', `/Users/${person}`, {
        schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
        Operations: [{ op: 'replace', value: { active } }],
      }),
    isActive: async (where, about) =>
      must(await postForm(`${where.url}/oauth/introspect`, { token: about }, { authorization })).body.active,
    follow: async (where, options = {}) => {
      const verifier = await createVerifier({
        issuer: cluster.issuer,
        audience: crm,
        credentials: world.api.feedCredentials,
        feedUrl: `${where.url}/revocations`,
        ...options,
      });
      await verifier.ready();
      return verifier;
    },
  };
}

/** The code of the refusal, or `accepted`. */
export async function judge(verifier: Verifier, about: string, action: 'read' | 'update' = 'read'): Promise<string> {
  try {
    await verifier.verify(about, { intent: readIntent, action });
    return 'accepted';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** Waits until the verifier says so, `ms` at most; what it said last. */
export async function untilJudged(verifier: Verifier, about: string, wanted: string, ms = 10_000): Promise<string> {
  const giveUpAt = performance.now() + ms;
  for (;;) {
    const verdict = await judge(verifier, about);
    if (verdict === wanted || performance.now() > giveUpAt) return verdict;
    await sleep(5);
  }
}

/** Tries again as an IdP does, while the answer is 5xx or there is none. */
export async function insist(fire: () => Promise<Answer>, ms = 20_000): Promise<Answer> {
  const giveUpAt = performance.now() + ms;
  for (;;) {
    const answer = await fire().catch(() => undefined);
    if (answer !== undefined && (answer.status < 500 || performance.now() > giveUpAt)) return answer;
    if (performance.now() > giveUpAt) throw new Error('no answer');
    await sleep(100);
  }
}
