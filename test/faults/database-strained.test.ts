/**
 * PostgreSQL that is there and does not serve: out of connections, slow, all of its backends terminated, each under
 * load and to a process of its own. The answers are right or 503 with Retry-After, nothing that was answered is lost, and
 * the process needs no restart.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Cluster,
  type Company,
  insist,
  isReady,
  openCluster,
  openCompany,
  showOnFailure,
  type Team,
  type WritNode,
} from '../support/nodes.ts';
import type { Answer } from '../support/writ.ts';

let cluster: Cluster;
let node: WritNode;
let company: Company;
/** Only a role without privileges is held to a limit of connections. */
const role = `writ_test_${randomBytes(6).toString('hex')}`;
let isOwnRole = false;
let name: string;

beforeAll(async () => {
  cluster = await openCluster();
  name = new URL(cluster.databaseUrl).pathname.slice(1);
  const [me] = await cluster.sql`select rolsuper as super from pg_roles where rolname = current_user`;
  isOwnRole = me?.super === true;
  const url = new URL(cluster.databaseUrl);
  if (isOwnRole) {
    const password = randomBytes(12).toString('hex');
    await cluster.sql.unsafe(`create role ${role} login password '${password}'`);
    await cluster.sql.unsafe(`grant all on schema public to ${role}`);
    await cluster.sql.unsafe(`grant all on all tables in schema public to ${role}`);
    await cluster.sql.unsafe(`grant all on all sequences in schema public to ${role}`);
    url.username = role;
    url.password = password;
  }
  node = await cluster.start({ databaseUrl: url.href });
  company = await openCompany(cluster, node);
});
afterAll(async () => {
  await node?.kill();
  if (isOwnRole) {
    await cluster.sql.unsafe(`drop owned by ${role}`);
    await cluster.sql.unsafe(`drop role ${role}`);
  }
  await cluster?.[Symbol.asyncDispose]();
});
showOnFailure(() => cluster?.said());

interface Load {
  answers: Answer[];
  /** Resolves when so many answers of this status have come since. */
  answered(count: number, status: number): Promise<void>;
  stop(): Promise<void>;
}

/** Asks for tokens and reads people, over and over, many at a time. */
function load(team: Team): Load {
  const answers: Answer[] = [];
  const isOver = { yes: false };
  const work = async (fire: () => Promise<Answer>): Promise<void> => {
    while (!isOver.yes) {
      const answer = await fire();
      answers.push(answer);
      if (answer.status >= 500) await sleep(20);
    }
  };
  const workers = Array.from({ length: 16 }, (_, index) =>
    work(() => (index % 4 === 0 ? company.scim('GET', `/Users/${team.person}`) : cluster.ask(node, company.triage))),
  );
  return {
    answers,
    answered: async (count, status) => {
      const start = answers.length;
      const giveUpAt = performance.now() + 20_000;
      while (answers.slice(start).filter((answer) => answer.status === status).length < count) {
        if (performance.now() > giveUpAt) throw new Error(`no ${count} answers of ${status}`);
        await sleep(5);
      }
    },
    stop: async () => {
      isOver.yes = true;
      await Promise.all(workers);
    },
  };
}

function expectHonest(answers: readonly Answer[]): void {
  for (const { status, headers, body } of answers) {
    expect([200, 503], JSON.stringify(body)).toContain(status);
    if (status === 503) expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  }
}

/** Each token that was given out has its one record, the log verifies, and it is the same process. */
async function expectNothingLost(answers: readonly Answer[]): Promise<void> {
  const tokens = answers.flatMap(({ body }) => body?.access_token ?? []);
  const jtis = tokens.map((token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).jti);
  expect(jtis.length).toBeGreaterThan(0);
  const [row] = await cluster.sql<{ count: number }[]>`
    select count(*)::int as count from audit_entries where kind = 'token.issued' and jti = any (${jtis}::text[])`;
  expect(row?.count).toBe(jtis.length);
  const verified = await insist(() => node.admin('POST', '/audit/verify', {}));
  expect(verified.body).toMatchObject({ ok: true });
  await expect.poll(() => isReady(node), { timeout: 15_000 }).toBe(true);
  expect((await insist(() => cluster.ask(node, company.triage))).status).toBe(200);
}

/** From outside, past the limits of the node's connections. */
const openOutside = () => postgres(cluster.databaseUrl, { max: 1, onnotice: () => {} });

const endBackends = async (): Promise<void> => {
  await cluster.sql`
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name like 'writ%'`;
};

test('out of connections', async () => {
  const team = await company.createTeam();
  const loading = load(team);
  await loading.answered(20, 200);
  await cluster.sql.unsafe(`alter database ${name} connection limit 0`);
  await endBackends();
  await loading.answered(20, 503);
  expect(await isReady(node)).toBe(false);
  const left = company.beActive(node, team.person, false);
  expect((await left).status).toBe(503);
  await cluster.sql.unsafe(`alter database ${name} connection limit 3`);
  // Fewer connections than the pool would like, and yet it works.
  await loading.answered(20, 200);
  await cluster.sql.unsafe(`alter database ${name} connection limit -1`);
  await loading.answered(20, 200);
  await loading.stop();
  expectHonest(loading.answers);
  await expectNothingLost(loading.answers);
  expect((await insist(() => company.beActive(node, team.person, false))).status).toBe(200);
});

test('slow: what waits too long is given up with a 503, and goes through once it can', async () => {
  const team = await company.createTeam();
  const loading = load(team);
  await loading.answered(20, 200);
  const outside = openOutside();
  const release = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const holding = outside.begin(async (tx) => {
    await tx`lock table audit_entries in access exclusive mode`;
    held.resolve();
    await release.promise;
  });
  await held.promise;
  const startedAt = performance.now();
  const left = await company.beActive(node, team.person, false);
  expect([left.status, left.headers.get('retry-after')]).toEqual([503, expect.any(String)]);
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  await loading.answered(5, 503);
  // Who only reads people does not wait with them.
  expect((await company.scim('GET', `/Users/${team.person}`)).body).toMatchObject({ active: true });
  release.resolve();
  await holding;
  await outside.end();
  await loading.answered(20, 200);
  await loading.stop();
  expectHonest(loading.answers);
  await expectNothingLost(loading.answers);
  expect((await insist(() => company.beActive(node, team.person, false))).status).toBe(200);
});

test('all backends terminated, again and again', async () => {
  const team = await company.createTeam();
  const verifier = await company.follow(node);
  const loading = load(team);
  await loading.answered(20, 200);
  for (let round = 0; round < 8; round++) {
    await endBackends();
    await loading.answered(5, 200);
  }
  const leaving = company.beActive(node, team.person, false);
  await endBackends();
  const answer = await leaving;
  if (answer.status !== 200) expectHonest([answer]);
  expect((await insist(() => company.beActive(node, team.person, false))).status).toBe(200);
  await loading.answered(20, 200);
  await loading.stop();
  expectHonest(loading.answers);
  await expectNothingLost(loading.answers);
  expect((await cluster.ask(node, team.agents[1])).body.reason).toBe('owner_inactive');
  // The feed has gone on by itself.
  await expect.poll(() => verifier.staleness(), { timeout: 10_000 }).toBeLessThan(3);
  await verifier.close();
});
