/**
 * `kill -9` of a node: no token is out without its record, a departure has happened whole or not at all, and the IdP that
 * asks again, at whichever node, hears of the one receipt that there is.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  type Cluster,
  type Company,
  insist,
  openCluster,
  openCompany,
  showOnFailure,
  type WritNode,
} from '../support/nodes.ts';
import { type PgProxy, startPgProxy } from '../support/pg-proxy.ts';
import { callScim, must } from '../support/world.ts';
import type { Answer } from '../support/writ.ts';

let cluster: Cluster;
/** Stays. */
let node: WritNode;
/** Comes and goes; reaches the database by the proxy. */
let victim: WritNode;
let company: Company;
let proxy: PgProxy;

beforeAll(async () => {
  cluster = await openCluster();
  proxy = await startPgProxy(cluster.databaseUrl);
  node = await cluster.start();
  company = await openCompany(cluster, node);
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await proxy?.close();
});
beforeEach(async () => {
  victim = await cluster.start({ databaseUrl: proxy.url });
});
afterEach(async () => {
  await victim.kill();
  expect((await node.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
showOnFailure(() => cluster?.said());

const jtiOf = (token: string): string => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).jti;

async function findUnrecorded(tokens: string[]): Promise<string[]> {
  const jtis = tokens.map(jtiOf);
  const rows = await cluster.sql<{ jti: string }[]>`
    select jti from audit_entries where kind = 'token.issued' and jti = any (${jtis}::text[])`;
  const recorded = new Set(rows.map(({ jti }) => jti));
  return jtis.filter((jti) => !recorded.has(jti));
}

test.each([1, 2])('in a burst of issuance: whatever token has left is on record (%i)', async () => {
  const tokens: string[] = [];
  const isOver = { yes: false };
  const ask = async (): Promise<void> => {
    while (!isOver.yes) {
      const answer = await cluster.ask(victim, company.triage).catch(() => undefined);
      if (answer?.status === 200) tokens.push(answer.body.access_token);
    }
  };
  const workers = Array.from({ length: 12 }, ask);
  while (tokens.length < 50) await sleep(1);
  await sleep(randomInt(20));
  await victim.kill();
  isOver.yes = true;
  await Promise.all(workers);
  expect(await findUnrecorded(tokens)).toEqual([]);
  const sample = jtiOf(tokens.at(-1) ?? '');
  expect((await node.admin('GET', `/audit?jti=${sample}`)).body.items).toHaveLength(1);
});

/** Many agents at once, past the API: making them is not what is tested. */
async function addAgents(owner: string, count: number): Promise<void> {
  await cluster.sql`
    insert into agents (name, owner_id, environment, path, credential_kind, secret_hash)
    select 'agent ' || n, ${owner}::uuid, 'production', '{}', 'secret', '\\x00' from generate_series(1, ${count}::int) n`;
}

async function createPerson(): Promise<string> {
  const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];
  const user = { schemas, userName: `${randomUUID()}@example.com` };
  return must(await callScim(company.directory, 'POST', '/Users', user)).body.id;
}

interface Traces {
  receipts: string[];
  /** All of them, or none. */
  happened: boolean;
}

/** What a departure leaves behind; throws when it is neither all nor nothing. */
async function readTraces(person: string, agents: number): Promise<Traces> {
  // A backend goes on with its statement for a moment after its client is gone, and holds the lock until then.
  const [row] = await cluster.sql.begin(async (tx) => {
    await tx`set local lock_timeout = '30s'`;
    await tx`select pg_advisory_xact_lock_shared(owner_lock_key(${person}))`;
    return await tx<
      { active: boolean; latched: number; epoch: number; told: number; recorded: number; receipts: string[] }[]
    >`
      select p.active,
        (select count(*)::int from latches l join agents a on a.id = l.agent_id where a.owner_id = p.id) as latched,
        (select count(*)::int from subjects where id = p.id::text) as epoch,
        (select count(*)::int from revocations where subject = p.id::text) as told,
        (select count(*)::int from audit_entries where person_id = p.id and kind = 'person.offboarded') as recorded,
        array(select id::text from offboardings where person_id = p.id) as receipts
      from people p where p.id = ${person}::uuid`;
  });
  const { receipts, active, ...counts } = row ?? { receipts: [], active: null };
  const whole = { latched: agents, epoch: 1, told: 1, recorded: 1 };
  const none = { latched: 0, epoch: 0, told: 0, recorded: 0 };
  expect([whole, none]).toContainEqual(counts);
  const happened = 'recorded' in counts && counts.recorded === 1;
  expect({ active, receipts: receipts.length }).toEqual({ active: !happened, receipts: happened ? 1 : 0 });
  return { receipts, happened };
}

/** The IdP has no answer and asks again elsewhere; `receipt`: of what has happened already. */
async function retry(person: string, agents: number, receipt: string | undefined): Promise<void> {
  const again = await insist(() => company.beActive(node, person, false));
  expect(again.status).toBe(200);
  const told = again.headers.get('writ-offboarding');
  const { receipts } = await readTraces(person, agents);
  expect(receipts).toEqual([told]);
  if (receipt !== undefined) expect(told).toBe(receipt);
  const shown = must(await node.admin('GET', `/offboardings/${told}`)).body;
  expect(shown.agents).toHaveLength(agents);
}

const unanswered = (request: Promise<Answer>): Promise<string> =>
  request.then(
    ({ status }) => `answered ${status}`,
    () => 'no answer',
  );

describe('in the midst of a departure', () => {
  test('after its commit and before its answer: it has happened, and the retry gets the same receipt', async () => {
    const person = await createPerson();
    await addAgents(person, 20);
    proxy.arm(1, 'withheld');
    const request = unanswered(company.beActive(victim, person, false));
    await proxy.struck();
    await victim.kill();
    expect(await request).toBe('no answer');
    proxy.disarm();
    const { happened, receipts } = await readTraces(person, 20);
    expect(happened).toBe(true);
    await retry(person, 20, receipts[0]);
  });

  test('by DELETE: the retry says that there is nobody, and the receipt is there', async () => {
    const person = await createPerson();
    await addAgents(person, 20);
    const remove = (where: WritNode) =>
      callScim({ ...company.directory, scimUrl: `${where.url}/scim/v2` }, 'DELETE', `/Users/${person}`);
    proxy.arm(1, 'withheld');
    const request = unanswered(remove(victim));
    await proxy.struck();
    await victim.kill();
    expect(await request).toBe('no answer');
    proxy.disarm();
    const { receipts } = await readTraces(person, 20);
    // RFC 7644 §3.6: what IdPs take for done.
    expect((await insist(() => remove(node))).status).toBe(404);
    expect((await readTraces(person, 20)).receipts).toEqual(receipts);
    const listed = must(await node.admin('GET', `/offboardings?person=${person}`)).body.items;
    expect(listed.map(({ id }: { id: string }) => id)).toEqual(receipts);
  });

  test('of ten thousand agents, with everything done but the commit: nothing has happened', async () => {
    const person = await createPerson();
    await addAgents(person, 10_000);
    proxy.arm(1, 'swallowed');
    const request = unanswered(company.beActive(victim, person, false));
    await proxy.struck();
    await victim.kill();
    expect(await request).toBe('no answer');
    proxy.disarm();
    expect((await readTraces(person, 10_000)).happened).toBe(false);
    await retry(person, 10_000, undefined);
  });

  test('of ten thousand agents, at any instant: all or nothing', async ({ annotate }) => {
    const outcomes: string[] = [];
    for (let round = 0; round < 3; round++) {
      if (round > 0) victim = await cluster.start({ databaseUrl: proxy.url });
      const person = await createPerson();
      await addAgents(person, 10_000);
      const request = unanswered(company.beActive(victim, person, false));
      await Promise.race([request, sleep(randomInt(10, 250))]);
      await victim.kill();
      const told = await request;
      const { happened, receipts } = await readTraces(person, 10_000);
      outcomes.push(`${told}, ${happened ? 'happened' : 'not happened'}`);
      if (told !== 'no answer') expect([told, happened]).toEqual(['answered 200', true]);
      await retry(person, 10_000, receipts[0]);
    }
    await annotate(outcomes.join('; '));
  });
});
