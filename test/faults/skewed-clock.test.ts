/**
 * Nodes whose wall clock is a minute off. What they put into tokens, receipts and the feed comes from the database's
 * clock, so nothing that others rely on moves. Only what they compare with their own clock does: the life of a client's
 * assertion and of a token that is presented to them.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Cluster,
  type Company,
  openCluster,
  openCompany,
  showOnFailure,
  untilJudged,
  type WritNode,
} from '../support/nodes.ts';
import { decodeToken, type KeyedAgent, makeAssertion, must } from '../support/world.ts';
import type { Answer, TestWrit } from '../support/writ.ts';

let cluster: Cluster;
let right: WritNode;
let ahead: WritNode;
let behind: WritNode;
let company: Company;

beforeAll(async () => {
  cluster = await openCluster();
  [right, ahead, behind] = await Promise.all([
    cluster.start(),
    cluster.start({ clockOffsetSeconds: 60 }),
    cluster.start({ clockOffsetSeconds: -60 }),
  ]);
  company = await openCompany(cluster, right);
});
afterAll(async () => await cluster?.[Symbol.asyncDispose]());
showOnFailure(() => cluster?.said());

/** With an assertion by a clock that is right, which lives for so many seconds from now. */
function ask(node: WritNode, lifeSeconds: number, agent: KeyedAgent = company.triage): Promise<Answer> {
  const seconds = Math.floor(Date.now() / 1000);
  const claims = { iat: seconds, exp: seconds + lifeSeconds };
  return cluster.ask(node, agent, {
    client_assertion: makeAssertion({ url: cluster.issuer } as TestWrit, agent, claims),
  });
}

const databaseSeconds = async (): Promise<number> => {
  const [row] = await cluster.sql<{ at: number }[]>`select extract(epoch from clock_timestamp())::float8 as at`;
  return row?.at ?? 0;
};

describe('assertions of clients whose clock is right', () => {
  test('a node that is ahead takes those that live longer than it is off', async () => {
    expect((await ask(right, 30)).status).toBe(200);
    expect(await ask(ahead, 30)).toMatchObject({ status: 401, body: { error: 'invalid_client' } });
    expect((await ask(ahead, 120)).status).toBe(200);
  });

  test('a node that is behind takes those that it does not find too long', async () => {
    expect((await ask(behind, 120)).status).toBe(200);
    // 300 s are allowed, and 10 s of difference.
    expect((await ask(right, 300)).status).toBe(200);
    expect(await ask(behind, 300)).toMatchObject({ status: 401, body: { error: 'invalid_client' } });
  });
});

describe.each([
  ['ahead', () => ahead],
  ['behind', () => behind],
] as const)('a node that is %s', (_, nodeOf) => {
  test('issues by the clock of the database', async () => {
    const before = await databaseSeconds();
    const answer = must(await ask(nodeOf(), 120)).body;
    const after = await databaseSeconds();
    const { claims } = decodeToken(answer.access_token);
    expect(claims.iat).toBeGreaterThanOrEqual(Math.floor(before));
    expect(claims.iat).toBeLessThanOrEqual(Math.floor(after));
    expect(claims.exp - claims.iat).toBe(300);
    expect(answer.expires_in).toBe(300);
    expect(await company.isActive(right, answer.access_token)).toBe(true);
    expect(await company.isActive(nodeOf(), answer.access_token)).toBe(true);
    const own = must(await right.admin('GET', `/audit?jti=${claims.jti}`)).body.items[0];
    expect(Math.abs(Date.parse(own.at) / 1000 - claims.iat)).toBeLessThan(5);
  });

  test('offboards, and its feed tells, as fast as any', async () => {
    const node = nodeOf();
    const { person, agents } = await company.createTeam();
    const verifiers = await Promise.all([right, node].map((where) => company.follow(where)));
    const tokens = await Promise.all(
      [right, node].map(async (where) => must(await ask(where, 120, agents[1])).body.access_token),
    );
    for (const verifier of verifiers) expect(verifier.staleness()).toBeLessThan(5);
    const before = await databaseSeconds();
    const left = await company.beActive(node, person, false);
    const after = await databaseSeconds();
    for (const token of tokens) {
      for (const verifier of verifiers)
        expect(await untilJudged(verifier, token, 'token_revoked')).toBe('token_revoked');
      for (const where of [right, node]) expect(await company.isActive(where, token)).toBe(false);
    }
    expect((await ask(right, 120, agents[0])).body.reason).toBe('owner_inactive');
    expect((await ask(node, 120, agents[0])).body.reason).toBe('owner_inactive');
    const receipt = must(await right.admin('GET', `/offboardings/${left.headers.get('writ-offboarding')}`)).body;
    const [asked, committed] = [receipt.requestedAt, receipt.committedAt].map((at) => Date.parse(at) / 1000);
    expect(committed).toBeGreaterThanOrEqual(before - 0.001);
    expect(committed).toBeLessThanOrEqual(after);
    // A receipt never says that it was done before it was asked for.
    expect(asked).toBeLessThanOrEqual(committed ?? 0);
    expect(receipt.tokensUnexpired).toBe(2);
    await Promise.all(verifiers.map((verifier) => verifier.close()));
  });
});

test('the log that they all wrote verifies', async () => {
  expect((await right.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
