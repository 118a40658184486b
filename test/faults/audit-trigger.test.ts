/**
 * Promise 6, no record, no token: the database itself refuses the record of one marked agent. That agent gets nothing,
 * and nobody else notices, not even in the same batch.
 */
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { askToken, createWorld, decodeToken, type KeyedAgent, must, readIntent, type World } from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let sql: postgres.Sql;
let marked: KeyedAgent;

beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  sql = postgres(writ.databaseUrl, { max: 1, onnotice: () => {} });
  marked = await world.createAgent({ name: 'marked', owner: world.alice, environment: 'production' });
  await sql.unsafe(`
    create function refuse_marked() returns trigger language plpgsql as $$
    begin
      if new.agent_id = '${marked.id}' then raise exception 'this record cannot be written'; end if;
      return new;
    end $$;
    create trigger refuse_marked before insert on audit_entries for each row execute function refuse_marked()`);
});
afterAll(async () => {
  await sql?.end();
  await writ?.close();
});

const ask = (agent: KeyedAgent): Promise<Answer> => askToken(writ, agent, { scope: readIntent });

function expectNothing(answer: Answer): void {
  expect(answer.status).toBe(500);
  expect(answer.body).toEqual({ error: 'server_error', error_description: 'the request could not be completed' });
}

test('an agent whose record cannot be written gets no token', async () => {
  expectNothing(await ask(marked));
  expect(await sql`select from audit_entries where agent_id = ${marked.id} and kind like 'token.%'`).toHaveLength(0);
});

test('nor a refusal, for that is recorded too', async () => {
  const answer = await askToken(writ, marked, { scope: 'no.such.intent' });
  expectNothing(answer);
});

test('others in the same batch are unhurt, whoever owns them', async () => {
  const before = Number((await sql`select count(*) as n from assertions`)[0]?.n);
  const others = [world.triage, world.helper, world.billing];
  const asked = Array.from({ length: 50 }, (_, index) =>
    index % 5 === 2 ? marked : (others[index % others.length] ?? world.triage),
  );
  expect(asked.filter((agent) => agent === marked)).toHaveLength(10);
  const answers = await Promise.all(asked.map(ask));
  const jtis: string[] = [];
  for (const [index, answer] of answers.entries()) {
    if (asked[index] === marked) expectNothing(answer);
    else jtis.push(decodeToken(must(answer).body.access_token).claims.jti);
  }
  // Every token that left has its one record; of the marked agent's there is none, nor is an assertion used up.
  const records = await sql`select jti from audit_entries where jti = any (${jtis}::text[]) and kind = 'token.issued'`;
  expect(records).toHaveLength(40);
  expect(await sql`select from audit_entries where agent_id = ${marked.id} and kind like 'token.%'`).toHaveLength(0);
  expect(Number((await sql`select count(*) as n from assertions`)[0]?.n) - before).toBe(40);
});

test('the same holds for an administrative act: it does not happen', async () => {
  expect((await writ.admin('POST', `/agents/${marked.id}/suspend`, { reason: 'misbehaves' })).status).toBe(500);
  expect((await writ.admin('GET', `/agents/${marked.id}`)).body).toMatchObject({ status: 'active' });
  expect(await sql`select from subjects where id = ${marked.id}`).toHaveLength(0);
});

test('once records can be written again, so can tokens; the log has no gap', async () => {
  await sql`drop trigger refuse_marked on audit_entries`;
  expect((await ask(marked)).status).toBe(200);
  expect((await writ.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
