/**
 * A node that is stopped (SIGSTOP: a frozen machine, a long pause) and goes on. Its verifiers know that they are stale;
 * a departure at another node is held up by what the stopped one has in hand for no longer than a transaction may take
 * (`abandoned.test.ts` chooses the moments); and what the stopped one answers when it wakes is either refused or dead on
 * arrival.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/platform/db/client.ts';
import { signAccessToken } from '../../src/platform/keys/access-token.ts';
import { createKeyring } from '../../src/platform/keys/keyring.ts';
import {
  type Cluster,
  type Company,
  insist,
  judge,
  openCluster,
  openCompany,
  showOnFailure,
  untilJudged,
  type WritNode,
} from '../support/nodes.ts';
import { decodeToken, must } from '../support/world.ts';

let cluster: Cluster;
let stopped: WritNode;
let other: WritNode;
let company: Company;

beforeAll(async () => {
  cluster = await openCluster();
  // The issuer is the one that goes on: verifiers read its metadata and keys.
  other = await cluster.start();
  stopped = await cluster.start();
  company = await openCompany(cluster, other);
});
afterAll(async () => {
  stopped?.signal('SIGCONT');
  await cluster?.[Symbol.asyncDispose]();
});
showOnFailure(() => cluster?.said());

/** A token like this one that may also update: no agent gets one without an approval, so it is signed here. */
async function allowUpdate(token: string): Promise<string> {
  const database = connect({ url: cluster.databaseUrl, poolSize: 1 });
  const log = { error: () => {}, warn: () => {} };
  const kek = Buffer.from(cluster.kek, 'base64');
  const keyring = await createKeyring({ db: database.db, kek, now: () => new Date(), log });
  const { claims } = decodeToken(token);
  for (const detail of claims.authorization_details) detail.actions.push('update');
  const signed = signAccessToken(keyring, 'ES256', claims);
  await keyring.close();
  await database.close();
  return signed;
}

test('its verifiers refuse writes at the bound, and reads go on; then they catch up', async () => {
  const team = await company.createTeam();
  const token = must(await cluster.ask(other, company.triage)).body.access_token;
  const doomed = must(await cluster.ask(other, team.agents[0])).body.access_token;
  const writing = await allowUpdate(token);
  const verifier = await company.follow(stopped, { maxStalenessSeconds: { write: 2 } });
  expect(await judge(verifier, writing, 'update')).toBe('accepted');
  expect(await judge(verifier, doomed)).toBe('accepted');

  stopped.signal('SIGSTOP');
  must(await company.beActive(other, team.person, false));
  await expect.poll(() => judge(verifier, writing, 'update'), { timeout: 15_000 }).toBe('feed_stale');
  expect(verifier.staleness()).toBeGreaterThan(2);
  expect(await judge(verifier, writing, 'read')).toBe('accepted');
  expect(await judge(verifier, token)).toBe('accepted');
  // Not known here: that is what the bound is for.
  expect(await judge(verifier, doomed)).toBe('accepted');

  stopped.signal('SIGCONT');
  expect(await untilJudged(verifier, doomed, 'token_revoked')).toBe('token_revoked');
  await expect.poll(() => judge(verifier, writing, 'update'), { timeout: 10_000 }).toBe('accepted');
  expect(verifier.staleness()).toBeLessThan(2);
  await verifier.close();
});

test('in a burst of issuance: a departure elsewhere goes through, and late answers are dead', async ({ annotate }) => {
  const verifier = await company.follow(other);
  let lateTokens = 0;
  const waits: number[] = [];
  for (let round = 0; round < 2; round++) {
    const { person, agents } = await company.createTeam();
    const isOver = { yes: false };
    const tokens: string[] = [];
    const refusals = new Set<string>();
    const ask = async (index: number): Promise<void> => {
      while (!isOver.yes) {
        const { status, body } = await cluster.ask(stopped, agents[index % 2] ?? agents[0]);
        if (status === 200) tokens.push(body.access_token);
        else refusals.add(`${status} ${body.reason ?? ''}`);
      }
    };
    const workers = Array.from({ length: 12 }, (_, index) => ask(index));
    // Where an expectation fails first, these end with the node: that is not what is to be told.
    for (const worker of workers) worker.catch(() => undefined);
    await expect.poll(() => tokens.length, { interval: 1 }).toBeGreaterThan(20);
    stopped.signal('SIGSTOP');
    // Everybody has an answer on its way by now, or a transaction that holds the owner's lock.
    const askedAt = performance.now();
    const left = await insist(() => company.beActive(other, person, false), 30_000);
    expect(left.status, JSON.stringify(left.body)).toBe(200);
    waits.push(Math.round(performance.now() - askedAt));
    const before = tokens.length;
    stopped.signal('SIGCONT');
    await expect.poll(() => [...refusals], { timeout: 15_000 }).toContain('400 owner_inactive');
    isOver.yes = true;
    await Promise.all(workers);
    lateTokens += tokens.length - before;
    for (const refusal of refusals) expect(['400 owner_inactive', '503 ']).toContain(refusal);
    for (const token of tokens) {
      expect(await untilJudged(verifier, token, 'token_revoked')).toBe('token_revoked');
      expect(await company.isActive(stopped, token)).toBe(false);
    }
    const receipt = must(await other.admin('GET', `/offboardings/${left.headers.get('writ-offboarding')}`)).body;
    // Those whose record was committed, and whose answer was never heard, count as well.
    expect(receipt.tokensUnexpired).toBeGreaterThanOrEqual(tokens.length);
  }
  await annotate(`${lateTokens} tokens arrived late, all of them dead; departures took ${waits.join(' and ')} ms`);
  // A transaction may take 9 s, and its end is looked for every second; the rest is room for a slow machine.
  expect(Math.max(...waits)).toBeLessThan(14_000);
  await verifier.close();
  expect((await other.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
