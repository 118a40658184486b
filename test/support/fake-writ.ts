/**
 * The remote side of the SDKs, for their unit tests only: metadata, keys, feed and token endpoint over real HTTP, each of
 * which can be told to fail. What it plays is the protocol; Writ itself is tested by the journeys.
 */

import { generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AccessTokenClaims } from '../../src/protocol.ts';

export interface FakeKey {
  kid: string;
  alg: 'ES256' | 'Ed25519' | 'EdDSA' | 'RS256';
  privateKey: KeyObject;
  publicKey: KeyObject;
}

export interface SeenRequest {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
  /** Close the connection without any answer. */
  hangUp?: boolean;
}

export const audience = 'https://crm.example.com';

export function makeKey(kid: string, alg: FakeKey['alg'], modulusLength = 2048): FakeKey {
  if (alg === 'RS256') return { kid, alg, ...generateKeyPairSync('rsa', { modulusLength }) };
  if (alg === 'ES256') return { kid, alg, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };
  return { kid, alg, ...generateKeyPairSync('ed25519') };
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A compact JWS; `header` and `claims` go out as given, right or wrong. */
export function signJws(key: FakeKey, claims: object, header: object = {}): string {
  const input = `${encode({ alg: key.alg, typ: 'at+jwt', kid: key.kid, ...header })}.${encode(claims)}`;
  const digest = key.alg === 'ES256' || key.alg === 'RS256' ? 'sha256' : null;
  const signature = sign(digest, Buffer.from(input), { key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

export interface FakeWrit extends AsyncDisposable {
  issuer: string;
  keys: FakeKey[];
  requests: SeenRequest[];
  /** What the feed knows; events sent while nobody is connected are resumed from here. */
  feed: {
    seq: number;
    beats: boolean;
    /** Status that a new connection is refused with. */
    refusesWith: number | undefined;
    /** Hold heartbeats' number this far ahead of what was sent. */
    ahead: number;
    acks: { seq: number; verifier: string }[];
    ackStatus: number;
    connections(): number;
    revoke(event: { subject: string; epoch: number } | { kid: string }, options?: { lost?: boolean }): number;
    send(text: string): void;
    cut(): void;
  };
  /** Taken one for each token request; when none is left, a token is given. */
  answers: Answer[];
  keysStatus: number;
  metadata: Record<string, unknown>;
  tokenDelayMs: number;
  tokenLifeSeconds: number;
  claims(overrides?: object): AccessTokenClaims;
  token(overrides?: object, header?: object, key?: FakeKey): string;
  seen(path: string): SeenRequest[];
}

type Revoked = { seq: number; at: string } & ({ subject: string; epoch: number } | { kid: string });

export async function startFakeWrit(options: { path?: string } = {}): Promise<FakeWrit> {
  const path = options.path ?? '';
  const streams = new Set<ServerResponse>();
  const log: Revoked[] = [];
  const server = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const key = makeKey('key-1', 'ES256');

  const event = (name: string, data: object, id?: number): string =>
    `event: ${name}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
  const heartbeat = (): string =>
    event('heartbeat', { seq: fake.feed.seq + fake.feed.ahead, readAt: new Date().toISOString(), checkpoint: null });
  const broadcast = (text: string): void => {
    for (const stream of streams) stream.write(text);
  };
  const beating = setInterval(() => fake.feed.beats && broadcast(heartbeat()), 100);

  const fake: FakeWrit = {
    issuer: `${origin}${path}`,
    keys: [key],
    requests: [],
    answers: [],
    keysStatus: 200,
    tokenDelayMs: 0,
    tokenLifeSeconds: 300,
    metadata: {
      issuer: `${origin}${path}`,
      token_endpoint: `${origin}/oauth/token`,
      jwks_uri: `${origin}/oauth/jwks`,
      writ_feed_endpoint: `${origin}/revocations`,
    },
    feed: {
      seq: 0,
      beats: true,
      refusesWith: undefined,
      ahead: 0,
      acks: [],
      ackStatus: 204,
      connections: () => streams.size,
      revoke(what, { lost = false } = {}) {
        fake.feed.seq += 1;
        const revoked = { seq: fake.feed.seq, at: new Date().toISOString(), ...what };
        log.push(revoked);
        if (!lost) broadcast(event('revocation', revoked, revoked.seq));
        return revoked.seq;
      },
      send: broadcast,
      cut() {
        for (const stream of streams) stream.destroy();
      },
    },
    claims(overrides = {}) {
      const iat = Math.floor(Date.now() / 1000);
      return {
        iss: fake.issuer,
        aud: audience,
        sub: 'agent-1',
        client_id: 'agent-1',
        iat,
        exp: iat + 300,
        jti: randomUUID(),
        authorization_details: [
          {
            type: 'agent_intent',
            task_intent: 'incident.ticket',
            actions: ['read', 'update'],
            locations: [audience],
            datatypes: ['ticket'],
          },
        ],
        human_owner_id: 'person-1',
        epochs: { 'agent-1': 0, 'person-1': 3 },
        agent: { name: 'Ticket bot', environment: 'test', trust: 1 },
        ...overrides,
      };
    },
    token: (overrides = {}, header = {}, signer = key) => signJws(signer, fake.claims(overrides), header),
    seen: (wanted) => fake.requests.filter((request) => request.path === wanted),
    async [Symbol.asyncDispose]() {
      clearInterval(beating);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  function openFeed(request: IncomingMessage, response: ServerResponse): void {
    if (fake.feed.refusesWith !== undefined) {
      response.writeHead(fake.feed.refusesWith).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    streams.add(response);
    response.on('close', () => streams.delete(response));
    const last = request.headers['last-event-id'];
    if (last === undefined) {
      const revocations = log.filter((revoked) => 'subject' in revoked);
      const keys = log.flatMap((revoked) => ('kid' in revoked ? [revoked.kid] : []));
      const readAt = new Date().toISOString();
      const { seq } = fake.feed;
      response.write(event('snapshot', { seq, revocations, keys, readAt, checkpoint: null }, seq));
    } else {
      for (const revoked of log.filter(({ seq }) => seq > Number(last))) {
        response.write(event('revocation', revoked, revoked.seq));
      }
      if (fake.feed.beats) response.write(heartbeat());
    }
  }

  async function answerToken(response: ServerResponse): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, fake.tokenDelayMs));
    const answer = fake.answers.shift() ?? {
      status: 200,
      body: {
        access_token: fake.token(),
        token_type: 'Bearer',
        expires_in: fake.tokenLifeSeconds,
        scope: 'incident.ticket',
      },
    };
    if (answer.hangUp) response.destroy();
    else response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers }).end(text(answer));
  }

  const text = (answer: Answer): string =>
    typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body ?? {});
  const respond = (response: ServerResponse, status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += chunk;
    const seen = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body };
    fake.requests.push(seen);
    if (seen.path === `/.well-known/oauth-authorization-server${path}`) respond(response, 200, fake.metadata);
    else if (seen.path === '/oauth/jwks') {
      const keys = fake.keys.map(({ kid, alg, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), kid, alg }));
      respond(response, fake.keysStatus, { keys });
    } else if (seen.path === '/revocations') openFeed(request, response);
    else if (seen.path === '/revocations/ack') {
      if (fake.feed.ackStatus < 300) fake.feed.acks.push(JSON.parse(body));
      response.writeHead(fake.feed.ackStatus).end();
    } else if (seen.path === '/oauth/token') await answerToken(response);
    else respond(response, 404, {});
  }
  return fake;
}

/** Polls until `isTrue`, or fails after two seconds. */
export async function until(isTrue: () => boolean | Promise<boolean>, timeoutMs = 2_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await isTrue())) {
    if (performance.now() > deadline) throw new Error('It did not become true in time');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
