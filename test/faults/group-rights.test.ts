/** What a group gives, while its members change and their agents ask. */
import postgres from 'postgres';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { environment, free, kept, openRights, patchOf, type Rights, valuesOf } from '../support/rights.ts';
import {
  askToken,
  callScim,
  crm,
  type KeyedAgent,
  makeAssertion,
  must,
  postForm,
  type World,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let rights: Rights;
let writ: TestWrit;
let world: World;
let group: string;
beforeAll(async () => {
  rights = await openRights();
  ({ writ, world } = rights);
  group = await rights.createGroup('Security');
  must(await rights.setRights(group, { intents: [kept] }));
});
afterAll(() => rights?.[Symbol.asyncDispose]());

test('on two nodes: a member who is deleted at one gets nothing more at the other, whatever it has read', async () => {
  const other = await startWrit({ databaseUrl: writ.databaseUrl, issuer: writ.url });
  try {
    const person = await rights.createPerson('two-nodes@example.com');
    const member = await rights.createPerson('two-nodes-member@example.com');
    const agent = await world.createAgent({ name: 'two', owner: person, environment, intents: [kept, free] });
    const friend = await world.createAgent({ name: 'friend', owner: member, environment, intents: [kept] });
    await rights.add(group, person, member);
    const at = (node: TestWrit, who: KeyedAgent) =>
      postForm(`${node.url}/oauth/token`, {
        grant_type: 'client_credentials',
        resource: crm,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: makeAssertion(writ, who),
        scope: kept,
      });
    expect((await at(other, agent)).status).toBe(200);
    await rights.change(group, { op: 'remove', path: `members[value eq "${person}"]` });
    expect((await at(other, agent)).body.reason).toBe('intent_not_granted');
    // And back, at the other node: the first one learns of it as well.
    const there = { ...world.directory, scimUrl: `${other.url}/scim/v2` };
    must(
      await callScim(
        there,
        'PATCH',
        `/Groups/${group}`,
        patchOf({ op: 'add', path: 'members', value: valuesOf([person]) }),
      ),
    );
    expect((await askToken(writ, agent, { scope: kept })).status).toBe(200);

    let asking = true;
    const answers: Answer[] = [];
    const asked = (async () => {
      while (asking) answers.push(await at(other, friend));
    })();
    expect((await world.scim('DELETE', `/Users/${member}`)).status).toBe(204);
    const after = await at(other, friend);
    asking = false;
    await asked;
    expect(after.body.reason).toBe('owner_inactive');
    for (const { status, body } of answers)
      if (status === 200) expect(await rights.isActive(body.access_token)).toBe(false);
  } finally {
    await other.close();
  }
});

test('a membership that ends while 16 requests are on their way: none that began after it has the intent, all before are dead', async () => {
  const rounds = 12;
  let issued = 0;
  for (let round = 0; round < rounds; round++) {
    await rights.put(group, [world.alice, world.bob]);
    const ask = async () => {
      const began = performance.now();
      return { began, ...(await askToken(writ, world.triage, { scope: kept })) };
    };
    const racing = Array.from({ length: 16 }, async (_, index) => {
      await new Promise((resolve) => setTimeout(resolve, index * 2));
      return ask();
    });
    await new Promise((resolve) => setTimeout(resolve, (round * 32) / rounds));
    await rights.put(group, [world.bob]);
    const done = performance.now();
    const answers = await Promise.all([...racing, ask(), ask()]);
    for (const { began, status, body } of answers) {
      if (began > done) expect(body.reason).toBe('intent_not_granted');
      if (status !== 200) continue;
      issued += 1;
      expect(await rights.isActive(body.access_token)).toBe(false);
    }
  }
  expect(issued).toBeGreaterThan(0);
});

test('rights, members, agents and people change at once: nobody waits in a circle, and all comes to what was said last', async () => {
  const others = await Promise.all(['One', 'Two'].map((name) => rights.createGroup(name)));
  const people = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => rights.createPerson(`crowd-${n}@example.com`)));
  const [first = '', second = ''] = others;
  const crowd = people.slice(0, 5);
  await rights.put(first, people);
  const statuses: number[] = [];
  const note = async (answer: Promise<Answer>) => void statuses.push((await answer).status);
  const rounds = Array.from({ length: 12 }, (_, round) => round);
  await Promise.all([
    ...others.map(async (id, at) => {
      for (const round of rounds) await note(rights.setRights(id, { intents: (round + at) % 2 === 0 ? [free] : [] }));
    }),
    ...others.map(async (id, at) => {
      for (const round of rounds) {
        await note(rights.put(id, at === 0 ? crowd.slice(round % 5) : crowd.toReversed().slice(round % 4)));
      }
    }),
    ...people.slice(0, 3).map(async (owner) => {
      for (const _ of rounds) {
        const agent = await world.createAgent({ name: 'crowd', owner, environment, intents: [free] });
        await note(askToken(writ, agent, { scope: free }));
        await note(writ.admin('PATCH', `/agents/${agent.id}`, { intents: [kept] }));
        await note(writ.admin('POST', `/agents/${agent.id}/transfer`, { owner: people[4], reason: 'a test' }));
      }
    }),
    note(world.scim('DELETE', `/Users/${people[5]}`)),
  ]);
  expect(statuses.filter((status) => status >= 500)).toEqual([]);

  must(await rights.setRights(first, { intents: [free] }));
  must(await rights.setRights(second, {}));
  await rights.put(first, people.slice(0, 2));
  for (const [at, owner] of people.slice(0, 4).entries()) {
    const agent = await world.createAgent({ name: 'after', owner, environment, intents: [free] });
    expect((await askToken(writ, agent, { scope: free })).status).toBe(at < 2 ? 200 : 400);
  }
  must(await rights.setRights(first, {}));
});

test('10,000 members join, leave and lose an intent in one request each', async () => {
  const sql = postgres(writ.databaseUrl, { max: 1 });
  const crowd = await rights.createGroup('Everybody');
  const rows = await sql<{ id: string }[]>`
    insert into people (directory_id, user_name) select ${world.directory.id}, 'many-' || n from generate_series(1, 10000) n returning id`;
  const ids = rows.map(({ id }) => id);
  await sql`insert into agents (name, owner_id, environment, path, credential_kind, secret_hash)
    select 'many', id, ${environment}, '{}', 'secret', decode(repeat('00', 32), 'hex') from people where user_name like 'many-%'`;
  await sql`insert into agent_intents select a.id, i.id from agents a, intents i where a.name = 'many' and i.task_intent = ${free}`;
  await sql.end();
  const withdrawn = async (): Promise<number> => {
    const { items } = (await writ.admin('GET', '/audit?kind=group.rights_changed&limit=1')).body;
    return items[0].details.withdrawnFrom;
  };
  must(await rights.setRights(crowd, { intents: [free] }));
  expect(await withdrawn()).toBeGreaterThanOrEqual(ids.length);
  await rights.put(crowd, ids);
  await rights.put(crowd, []);
  await rights.put(crowd, ids);
  must(await world.scim('DELETE', `/Groups/${crowd}`));
  must(await rights.setRights(crowd, {}));
  expect(await withdrawn()).toBe(0);
}, 60_000);
