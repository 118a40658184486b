/** Groups give rights: an intent that is kept for groups, who may use it, and what leaving one does. */
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { environment, free, intentsOf, kept, openRights, type Rights, valuesOf } from '../support/rights.ts';
import { askToken, exchangeToken, type KeyedAgent, must, type World } from '../support/world.ts';
import type { Answer, TestWrit } from '../support/writ.ts';

let rights: Rights;
let writ: TestWrit;
let world: World;
let group: string;
beforeAll(async () => {
  rights = await openRights();
  ({ writ, world } = rights);
  group = await rights.createGroup('Security');
});
afterAll(() => rights?.[Symbol.asyncDispose]());

async function inDatabase(write: (sql: postgres.Sql) => Promise<unknown>): Promise<void> {
  const sql = postgres(writ.databaseUrl, { max: 1 });
  await write(sql).finally(() => sql.end());
}

describe('an intent that is kept for a group', () => {
  test('is taken from everybody else at once, and refused with the cause', async () => {
    await rights.add(group, world.bob);
    const [lost, stays] = [await rights.tokenOf(world.triage), await rights.tokenOf(world.billing)];
    const given = await rights.setRights(group, { roles: ['auditor'], intents: [kept] });
    expect(given).toMatchObject({
      status: 200,
      body: { id: group, displayName: 'Security', memberCount: 1, roles: ['auditor'], intents: [kept], deleted: false },
    });
    await rights.expectKept(world.triage);
    await rights.expectKept(world.helper);
    await rights.expectDead(lost);
    await rights.expectAlive(stays);
    expect(intentsOf(await rights.tokenOf(world.billing))).toEqual([kept]);
    expect((await writ.admin('GET', `/intents?taskIntent=${kept}`)).body.items).toMatchObject([{ groups: [group] }]);
  });

  test('is left out where nothing is named', async () => {
    const named = async (agent: KeyedAgent) => intentsOf((await askToken(writ, agent)).body.access_token);
    expect(await named(world.triage)).toEqual([free]);
    expect(await named(world.billing)).toEqual([free, kept]);
  });

  test('may stand among an agent’s grants, which are an upper bound', async () => {
    const late = await world.createAgent({ name: 'late', owner: world.alice, environment, intents: [kept] });
    await rights.expectKept(late);
    await rights.add(group, world.alice);
    expect(intentsOf(await rights.tokenOf(late))).toEqual([kept]);
  });

  test('the same rights again change and record nothing', async () => {
    const recorded = async () => (await writ.admin('GET', '/audit?kind=group.rights_changed')).body.items.length;
    const [count, token] = [await recorded(), await rights.tokenOf(world.billing)];
    expect((await rights.setRights(group, { roles: ['auditor'], intents: [kept] })).status).toBe(200);
    expect(await recorded()).toBe(count);
    await rights.expectAlive(token);
  });
});

const removals: [string, (member: string, others: string[]) => Promise<Answer>][] = [
  ['PATCH remove, values', (who) => rights.change(group, { op: 'Remove', path: 'members', value: valuesOf([who]) })],
  ['PATCH remove, filter', (who) => rights.change(group, { op: 'remove', path: `members[value eq "${who}"]` })],
  ['PATCH replace, path', (_, left) => rights.change(group, { op: 'replace', path: 'members', value: valuesOf(left) })],
  ['PATCH replace, no path', (_, left) => rights.change(group, { op: 'replace', value: { members: valuesOf(left) } })],
  ['PUT', (_, left) => rights.put(group, left)],
];

describe('leaving the group', () => {
  test.each(removals)('by %s: earlier tokens are dead, no new one has the intent, others go on', async (_, remove) => {
    await rights.put(group, [world.alice, world.bob]);
    const [lost, below, stays] = await Promise.all(
      [world.triage, world.helper, world.billing].map((a) => rights.tokenOf(a)),
    );
    await remove(world.alice, [world.bob]);
    await rights.expectKept(world.triage);
    await rights.expectKept(world.helper);
    await rights.expectDead(lost ?? '');
    await rights.expectDead(below ?? '');
    await rights.expectAlive(stays ?? '');
    expect(intentsOf(await rights.tokenOf(world.triage, { scope: free }))).toEqual([free]);
  });

  test('by deletion of the group: the intent is nobody’s until an administrator says so', async () => {
    const doomed = await rights.createGroup('Doomed');
    const intent = 'crm.doomed_read';
    await rights.addIntent(intent);
    must(await writ.admin('PATCH', `/agents/${world.triage.id}`, { intents: [kept, free, intent] }));
    await rights.add(doomed, world.alice);
    must(await rights.setRights(doomed, { roles: ['admin'], intents: [intent] }));
    const lost = await rights.tokenOf(world.triage, { scope: intent });
    expect((await writ.admin('GET', `/people/${world.alice}`)).body.roles).toEqual(['admin']);
    expect((await world.scim('DELETE', `/Groups/${doomed}`)).status).toBe(204);
    expect(await rights.isActive(lost)).toBe(false);
    expect((await askToken(writ, world.triage, { scope: intent })).body.reason).toBe('intent_not_granted');
    expect((await writ.admin('GET', `/people/${world.alice}`)).body.roles).toEqual([]);
    const shown = { id: doomed, displayName: null, directory: null, deleted: true, memberCount: 0, intents: [intent] };
    expect((await writ.admin('GET', `/groups/${doomed}`)).body).toMatchObject(shown);
    expect((await writ.admin('GET', '/groups')).body.items).toContainEqual(expect.objectContaining(shown));
    expect((await rights.setRights(doomed, { intents: [intent, free] })).status).toBe(409);
    expect((await rights.setRights(doomed, {})).body).toMatchObject({ deleted: true, roles: [], intents: [] });
    expect((await writ.admin('GET', `/groups/${doomed}`)).status).toBe(404);
    expect(intentsOf(await rights.tokenOf(world.triage, { scope: intent }))).toEqual([intent]);
  });

  test('by deletion of a person who had left: what still reads in quarantine loses it', async () => {
    const leaver = await rights.createPerson('quarantined@example.com');
    const agent = await world.createAgent({
      name: 'reader',
      owner: leaver,
      environment,
      intents: [kept, free],
    });
    await inDatabase((sql) => sql`update agents set leaver_policy = 'quarantine' where id = ${agent.id}`);
    await rights.add(group, leaver);
    await rights.leave(leaver);
    const lost = await rights.tokenOf(agent);
    expect((await world.scim('DELETE', `/Users/${leaver}`)).status).toBe(204);
    await rights.expectDead(lost);
    await rights.expectKept(agent);
    expect(intentsOf(await rights.tokenOf(agent, { scope: free }))).toEqual([free]);
  });
});

test('an exchange needs the acting agent’s own owner to be in a group of the intent, and dies with either owner’s', async () => {
  must(await writ.admin('PATCH', `/apis/${world.api.id}`, { agent: world.billing.id }));
  await rights.put(group, [world.alice]);
  const both = await rights.tokenOf(world.triage, { scope: `${kept} ${free}` });
  const refused = await exchangeToken(writ, world.billing, both, { scope: kept });
  expect(refused.body).toMatchObject({ error: 'invalid_scope', reason: 'intent_not_granted' });
  expect(refused.body.error_description).toMatch(/kept for members/);
  const less = must(await exchangeToken(writ, world.billing, both)).body.access_token;
  expect(intentsOf(less)).toEqual([free]);

  await rights.add(group, world.bob);
  const subject = await rights.tokenOf(world.triage);
  const first = must(await exchangeToken(writ, world.billing, subject)).body.access_token;
  expect(intentsOf(first)).toEqual([kept]);
  await rights.put(group, [world.alice]);
  await rights.expectDead(first);
  expect((await exchangeToken(writ, world.billing, subject)).body.reason).toBe('intent_not_granted');

  await rights.put(group, [world.alice, world.bob]);
  const second = must(await exchangeToken(writ, world.billing, subject)).body.access_token;
  await rights.put(group, [world.bob]);
  await rights.expectDead(second);
  expect((await exchangeToken(writ, world.billing, subject)).body.reason).toBe('subject_token_invalid');
});

test('an intent that is reserved ends what was exchanged by an agent that does not hold it', async () => {
  const intent = 'crm.exchanged_read';
  await rights.addIntent(intent);
  must(await writ.admin('PATCH', `/agents/${world.triage.id}`, { intents: [kept, free, intent] }));
  const subject = await rights.tokenOf(world.triage, { scope: intent });
  const exchanged = must(await exchangeToken(writ, world.billing, subject)).body.access_token;
  const reserving = await rights.createGroup('Reserving');
  await rights.add(reserving, world.alice);
  must(await rights.setRights(reserving, { intents: [intent] }));
  expect(await rights.isActive(subject)).toBe(true);
  expect(await rights.isActive(exchanged)).toBe(false);
  must(await rights.setRights(reserving, {}));
});

test('of two groups of an intent one is enough; losing the last of them is losing it, and none left is anybody’s', async () => {
  const second = await rights.createGroup('Second');
  const intent = 'crm.shared_read';
  await rights.addIntent(intent);
  for (const agent of [world.triage, world.billing]) {
    must(await writ.admin('PATCH', `/agents/${agent.id}`, { intents: [kept, free, intent] }));
  }
  const ask = (agent: KeyedAgent) => askToken(writ, agent, { scope: intent });
  await rights.put(group, [world.alice, world.bob]);
  await rights.add(second, world.alice);
  must(await rights.setRights(group, { intents: [kept, intent] }));
  must(await rights.setRights(second, { intents: [intent] }));
  const [stays, lost] = [
    must(await ask(world.triage)).body.access_token,
    must(await ask(world.billing)).body.access_token,
  ];
  must(await rights.setRights(group, { intents: [kept] }));
  expect([await rights.isActive(stays), await rights.isActive(lost)]).toEqual([true, false]);
  expect((await ask(world.triage)).status).toBe(200);
  expect((await ask(world.billing)).body.reason).toBe('intent_not_granted');
  must(await rights.setRights(second, {}));
  expect(await rights.isActive(stays)).toBe(true);
  expect((await ask(world.billing)).status).toBe(200);
});

test('a person is shown with their groups and the roles that those give, which are nobody’s who has left', async () => {
  const person = await rights.createPerson('roles@example.com');
  const [one, other] = [await rights.createGroup('Reviewers'), await rights.createGroup('Administrators')];
  must(await rights.setRights(one, { roles: ['security_reviewer', 'auditor'] }));
  must(await rights.setRights(other, { roles: ['admin', 'auditor'] }));
  await rights.add(one, person);
  await rights.add(other, person);
  const read = async () => (await writ.admin('GET', `/people/${person}`)).body;
  expect(await read()).toMatchObject({
    groups: [
      { id: one, name: 'Reviewers' },
      { id: other, name: 'Administrators' },
    ],
    roles: ['admin', 'auditor', 'security_reviewer'],
  });
  await rights.change(one, { op: 'remove', path: `members[value eq "${person}"]` });
  expect((await read()).roles).toEqual(['admin', 'auditor']);
  await rights.leave(person);
  expect(await read()).toMatchObject({ groups: [{ id: other }], roles: [] });
});

test('what a group gives is on record, before and after; unknown intents and groups are refused by name', async () => {
  const recorded = await rights.createGroup('Recorded');
  must(await rights.setRights(recorded, { roles: ['auditor'], intents: [free] }));
  must(await rights.setRights(recorded, { roles: [], intents: [] }));
  const { items } = (await writ.admin('GET', '/audit?kind=group.rights_changed')).body;
  const [none, all] = [
    { roles: [], intents: [] },
    { roles: ['auditor'], intents: [free] },
  ];
  const details = items
    .filter((item: Answer['body']) => item.details.group === recorded)
    .map((i: Answer['body']) => i.details);
  expect(details).toHaveLength(2);
  expect(details).toContainEqual(expect.objectContaining({ displayName: 'Recorded', before: none, after: all }));
  expect(details).toContainEqual(expect.objectContaining({ displayName: 'Recorded', before: all, after: none }));
  const unknown = await rights.setRights(recorded, { intents: [free, 'no.such', 'nor.this'] });
  expect(unknown).toMatchObject({ status: 400, body: { detail: 'intents: not in the catalogue: no.such, nor.this' } });
  expect((await rights.setRights(recorded, { roles: ['king'] })).status).toBe(400);
  expect((await rights.setRights('00000000-0000-4000-8000-000000000000', { roles: ['admin'] })).status).toBe(404);
});

test('groups are listed by directory and name, page by page', async () => {
  const list = async (query: string) => (await writ.admin('GET', `/groups?${query}`)).body;
  expect((await list('q=secur')).items).toMatchObject([{ id: group, directory: { id: world.directory.id } }]);
  expect((await list('q=%25')).items).toEqual([]);
  expect((await list('directory=nowhere')).items).toEqual([]);
  const all: string[] = (await list(`directory=${world.directory.id}`)).items.map(({ id }: { id: string }) => id);
  const seen: string[] = [];
  for (let cursor = ''; ; ) {
    const page = await list(`limit=2&directory=${world.directory.id}${cursor}`);
    seen.push(...page.items.map(({ id }: { id: string }) => id));
    if (page.nextCursor === null) break;
    cursor = `&cursor=${page.nextCursor}`;
  }
  expect(seen).toEqual(all);
  expect(new Set(seen).size).toBe(seen.length);
});
