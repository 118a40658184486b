/**
 * The remote side of a verifier in simulated time: metadata, keys, and a feed that tells a day as fast as it is read. Each
 * second has a heartbeat and a token for the verifier to judge; some seconds have a revocation, before which its token is
 * good, and after which it is not. Tokens travel in the stream, as events that the SDK never sees, so that they arrive in
 * their second. Connections end now and then, in good order or not, and are resumed or begun anew.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AccessTokenClaims, FeedRevocation } from '../src/protocol.ts';
import { api, readIntent, signJwt } from './callers.ts';

/** A token that the verifier is to judge, and what it has to find. */
export interface Judgement {
  token: string;
  isRevoked: boolean;
}

export interface SimulatedIssuer extends AsyncDisposable {
  url: string;
  /** Tells so many seconds more, and resolves when the verifier has applied them. `check` throws when it is gone. */
  tell(seconds: number, check: () => void): Promise<void>;
  /** How many of each there have been. */
  counts: { revocations: number; resumed: number; snapshots: number };
}

/** On average. */
const secondsPerRevocation = 4.32;
const secondsPerConnection = 600;
/** A revocation is kept for as long as the longest token may live, and some room, as Writ does. */
const keptSeconds = 1_200;
const tokenSeconds = 300;
const key = { kid: 'bench', ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) };

const encodeEvent = (name: string, data: object): string => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

function signToken(issuer: string, agent: string, second: number): string {
  const claims: AccessTokenClaims = {
    iss: issuer,
    aud: api,
    sub: agent,
    client_id: agent,
    iat: second,
    exp: second + tokenSeconds,
    jti: randomUUID(),
    authorization_details: [
      { type: 'agent_intent', task_intent: readIntent, actions: ['read'], locations: [api], datatypes: ['ticket'] },
    ],
    human_owner_id: 'person',
    epochs: { [agent]: 0, person: 0 },
    agent: { name: 'agent', environment: 'production', trust: 1 },
  };
  return signJwt(key.privateKey, { typ: 'at+jwt', kid: key.kid }, claims);
}

/** What the feed has to tell, second by second, from now on. */
function createHistory(url: string, counts: SimulatedIssuer['counts']) {
  let second = Math.floor(Date.now() / 1000);
  let kept: (FeedRevocation & { subject: string; epoch: number; second: number })[] = [];
  let seq = 0;

  const now = (): string => new Date(second * 1000).toISOString();
  const encodeToken = (token: string, isRevoked: boolean): string =>
    encodeEvent('token', { token, isRevoked } satisfies Judgement);

  function encodeHeartbeat(): string {
    const checkpoint = ['e30', Buffer.from(JSON.stringify({ number: second })).toString('base64url'), 'e30'].join('.');
    return encodeEvent('heartbeat', { seq, readAt: now(), checkpoint });
  }

  function revoke(agent: string): string {
    seq += 1;
    counts.revocations += 1;
    const entry = { seq, subject: agent, epoch: 1, at: now(), second };
    kept.push(entry);
    return encodeEvent('revocation', entry);
  }

  return {
    seq: () => seq,
    encodeSnapshot(): string {
      const revocations = kept.map(({ subject, epoch }) => ({ subject, epoch }));
      return encodeEvent('snapshot', { seq, revocations, keys: [], readAt: now(), checkpoint: null });
    },
    encodeMissed(after: number): string {
      const missed = kept.filter((entry) => entry.seq > after);
      return missed.map((entry) => encodeEvent('revocation', entry)).join('') + encodeHeartbeat();
    },
    encodeNext(isRevocationWanted: boolean): string {
      second += 1;
      kept = kept.filter((entry) => entry.second >= second - keptSeconds);
      const agent = randomUUID();
      const token = signToken(url, agent, second);
      const text = encodeHeartbeat() + encodeToken(token, false);
      const isDue = isRevocationWanted || Math.random() < 1 / secondsPerRevocation;
      return isDue ? text + revoke(agent) + encodeToken(token, true) : text;
    },
  };
}

/** Resolves when the connection takes more, or is no more. */
function awaitRoom(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.once('drain', done).once('close', done);
  });
}

export async function openSimulatedIssuer(): Promise<SimulatedIssuer> {
  const counts = { revocations: 0, resumed: 0, snapshots: 0 };
  let acknowledged = 0;
  let stream: ServerResponse | undefined;
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const history = createHistory(url, counts);

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += chunk;
    const json = (value: object) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
    if (request.url === '/revocations') openStream(request, response);
    else if (request.url === '/jwks') json({ keys: [{ ...key.publicKey.export({ format: 'jwk' }), kid: key.kid }] });
    else if (request.url === '/revocations/ack') {
      acknowledged = Math.max(acknowledged, JSON.parse(body).seq);
      response.writeHead(204).end();
    } else json({ issuer: url, jwks_uri: `${url}/jwks`, writ_feed_endpoint: `${url}/revocations` });
  }

  function openStream(request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const last = request.headers['last-event-id'];
    // Every tenth is treated like one that has been away for too long.
    const isResumed = last !== undefined && (counts.resumed + counts.snapshots) % 10 !== 9;
    counts[isResumed ? 'resumed' : 'snapshots'] += 1;
    response.write(isResumed ? history.encodeMissed(Number(last)) : history.encodeSnapshot());
    response
      .once('error', () => {})
      .once('close', () => {
        if (stream === response) stream = undefined;
      });
    stream = response;
  }

  async function tell(seconds: number, check: () => void): Promise<void> {
    for (let told = 1; told <= seconds; told++) {
      for (; stream === undefined; await sleep(5)) check();
      const current = stream;
      const text = history.encodeNext(told === seconds);
      if (told % secondsPerConnection === 0 && told < seconds) {
        stream = undefined;
        if (told % (2 * secondsPerConnection) === 0) current.end(text);
        else current.destroy();
      } else if (!current.write(text) && !current.destroyed) await awaitRoom(current);
    }
    // The last second has a revocation: whoever has applied it has read everything.
    for (; acknowledged < history.seq(); await sleep(5)) check();
  }

  return {
    url,
    counts,
    tell,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
