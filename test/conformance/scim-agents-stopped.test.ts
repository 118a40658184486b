/**
 * Agents as SCIM resources (draft-wzdk-scim-agent-resource-00, an individual draft): whatever says that an agent is to stop is
 * done before the answer.
 */
import postgres from 'postgres';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { agentUrn, freshName, nobody, openScimAgents, patch, replace, speakFor } from '../support/scim-agents.ts';
import { createWorld, type KeyedAgent, must } from '../support/world.ts';
import { startWrit } from '../support/writ.ts';

const opened = await openScimAgents();
const { world, corporate, person, makeAgent, read, statusOf, ask, tokenOf, isActive } = opened;
afterAll(() => opened[Symbol.asyncDispose]());

describe('what says that an agent is to stop', () => {
  const spellings: [what: string, method: string, body: unknown][] = [
    ['false', 'PATCH', replace('active', false)],
    ['"False"', 'PATCH', replace('active', 'False')],
    ['op in any case', 'PATCH', patch({ op: 'Replace', path: 'Active', value: 'false' })],
    ['add', 'PATCH', patch({ op: 'add', path: 'active', value: false })],
    ['no path', 'PATCH', patch({ op: 'replace', value: { active: false } })],
    ['a path with the schema', 'PATCH', replace(`${agentUrn}:active`, false)],
    ['a member with the schema', 'PATCH', patch({ op: 'replace', value: { [`${agentUrn}:active`]: false } })],
    ['the schema as a whole', 'PATCH', patch({ op: 'replace', value: { [agentUrn]: { active: 'false' } } })],
    ['a list of one', 'PATCH', replace('active', [false])],
    ['an object', 'PATCH', replace('active', [{ value: 'False' }])],
    ['removal', 'PATCH', patch({ op: 'remove', path: 'active' })],
    ['a bare resource', 'PATCH', { active: false }],
    ['PUT', 'PUT', { agentUserName: 'whatever', active: 'FALSE' }],
    ['PUT of nothing else', 'PUT', { active: false }],
    ['beside nonsense', 'PATCH', patch({ op: 'frobnicate' }, { op: 'replace', path: 'active', value: false })],
    ['beside an owner who is not there', 'PATCH', patch({ op: 'replace', value: { active: false, owners: [nobody] } })],
    [
      'in a body that gives a member twice',
      'PATCH',
      '{"Operations":[],"Operations":[{"op":"replace","path":"active","value":false}]}',
    ],
  ];

  it.each(spellings)('%s: its tokens are dead before the answer, and it gets no other', async (_what, method, body) => {
    const agent = await makeAgent();
    const token = await tokenOf(agent);
    const answered = await corporate.call(method, `/Agents/${agent.id}`, body);
    expect(await isActive(token)).toBe(false);
    expect(answered).toMatchObject({ status: 200, body: { active: false } });
    expect((await ask(agent)).body).toMatchObject({ error: 'access_denied', reason: 'agent_inactive' });
    expect(await statusOf(agent.id)).toBe('suspended');
  });

  it('so are those of everything below it', async () => {
    const agent = await makeAgent();
    const child = await world.createAgent({ name: freshName(), parent: agent.id, environment: 'production' });
    const token = await tokenOf(child);
    must(await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', false)));
    expect(await isActive(token)).toBe(false);
    expect((await read(child.id)).active).toBe(false);
  });

  it('RFC 7644 §3.14: a stale If-Match does not refuse it, and refuses everything else', async () => {
    const agent = await makeAgent();
    const stale = { 'if-match': 'W/"0"' };
    const renamed = await corporate.call('PATCH', `/Agents/${agent.id}`, replace('agentUserName', freshName()), stale);
    expect(renamed.status).toBe(412);
    const both = patch({ op: 'replace', value: { active: false, description: 'new' } });
    const answered = await corporate.call('PATCH', `/Agents/${agent.id}`, both, stale);
    expect(answered).toMatchObject({ status: 200, body: { active: false } });
    expect(answered.body.description).toBeUndefined();
    expect((await corporate.call('DELETE', `/Agents/${agent.id}`, undefined, stale)).status).toBe(204);
  });

  it('a request that does both has both effects', async () => {
    const agent = await makeAgent();
    const { etag } = Object.fromEntries((await corporate.call('GET', `/Agents/${agent.id}`)).headers);
    const agentUserName = freshName();
    const both = patch({ op: 'replace', value: { active: false, agentUserName } });
    const answered = await corporate.call('PATCH', `/Agents/${agent.id}`, both, { 'if-match': etag ?? '' });
    expect(must(answered).body).toMatchObject({ active: false, agentUserName });
  });

  it('said again it is a success that changes nothing', async () => {
    const agent = await makeAgent();
    const first = must(await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', false)));
    const second = must(await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', false)));
    expect(second.body.meta.version).toBe(first.body.meta.version);
  });

  it('active that says neither is refused', async () => {
    const agent = await makeAgent();
    for (const value of ['perhaps', null, 0]) {
      const answered = await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', value));
      expect(answered).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } });
    }
    expect(await statusOf(agent.id)).toBe('active');
  });
});

describe('the rate of a directory', () => {
  it('does not hold for a suspension and a deletion, in any spelling; for everything else it does', async () => {
    await using busy = await startWrit({ env: { WRIT_RATE_DIRECTORY: '1' } });
    const small = await createWorld(busy);
    const client = postgres(busy.databaseUrl, { max: 1 });
    await client`update directories set scim_agents = true`;
    await client.end();
    const directory = speakFor(small.directory, busy);
    const { id } = small.triage;
    const describeIt = () => directory.call('PATCH', `/Agents/${id}`, replace('description', 'new'));
    const statuses = async (count: number) =>
      (await Promise.all(Array.from({ length: count }, describeIt))).map(({ status }) => status);
    // One a second comes back, which is less than these take.
    for (let batch = 0; batch < 20 && !(await statuses(10)).includes(429); batch++);
    const path = `${agentUrn}:active`;
    const stop = patch({ op: 'Replace', path, value: 'False' });
    const [others, stopped] = await Promise.all([statuses(5), directory.call('PATCH', `/Agents/${id}`, stop)]);
    expect(others).toContain(429);
    expect(stopped).toMatchObject({ status: 200, body: { active: false } });
    expect((await directory.call('DELETE', `/Agents/${id}`)).status).toBe(204);
  });
});

describe('DELETE /Agents/{id}', () => {
  it('ends it and everything below it for good: tokens are dead, 404 from then on', async () => {
    const agent = await makeAgent();
    const child = await world.createAgent({ name: freshName(), parent: agent.id, environment: 'production' });
    const tokens = [await tokenOf(agent), await tokenOf(child)];
    const answered = await corporate.call('DELETE', `/Agents/${agent.id}`);
    expect(await Promise.all(tokens.map(isActive))).toEqual([false, false]);
    expect(answered.status).toBe(204);
    expect((await ask(agent)).status).toBeGreaterThanOrEqual(400);
    expect(await statusOf(child.id)).toBe('decommissioned');
    for (const id of [agent.id, child.id]) {
      expect((await corporate.call('GET', `/Agents/${id}`)).status).toBe(404);
      expect((await corporate.call('DELETE', `/Agents/${id}`)).status).toBe(404);
      expect((await corporate.call('PATCH', `/Agents/${id}`, replace('active', false))).status).toBe(404);
    }
  });
});

describe('a directory lifts what it has imposed, and nothing else', () => {
  const suspend = (id: string) => opened.writ.admin('POST', `/agents/${id}/suspend`, { reason: 'under investigation' });
  const refuse = async (id: string) => {
    for (const [method, body] of [
      ['PATCH', replace('active', true)],
      ['PUT', { ...(await read(id)), active: true }],
    ] as const) {
      const answered = await corporate.call(method, `/Agents/${id}`, body);
      expect(answered).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } });
      expect(answered.body.detail).toContain('administrator');
      expect((await read(id)).active).toBe(false);
    }
  };

  it('an administrator has suspended the agent: the IdP that repeats its resource does not undo it', async () => {
    const agent = await makeAgent();
    must(await suspend(agent.id));
    await refuse(agent.id);
    must(await opened.writ.admin('POST', `/agents/${agent.id}/activate`, { reason: 'it was a load test' }));
    expect((await read(agent.id)).active).toBe(true);
  });

  it('the directory has suspended it, and an administrator as well', async () => {
    const agent = await makeAgent();
    must(await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', false)));
    must(await suspend(agent.id));
    await refuse(agent.id);
  });

  it('it stopped with its owner, who is back', async () => {
    const owner = await person();
    const agent = await makeAgent({ owner });
    must(await corporate.call('PATCH', `/Users/${owner}`, replace('active', false)));
    must(await corporate.call('PATCH', `/Users/${owner}`, replace('active', true)));
    await refuse(agent.id);
    expect((await ask(agent)).body).toMatchObject({ error: 'access_denied', reason: 'owner_inactive' });
  });
});

describe('when the owner leaves', () => {
  let owner: string;
  let agent: KeyedAgent;
  beforeEach(async () => {
    owner = await person();
    agent = await makeAgent({ owner });
    must(await corporate.call('PATCH', `/Users/${owner}`, replace('active', false)));
  });

  it('their agents read as not active, and start again only when an administrator gives them to somebody', async () => {
    expect((await read(agent.id)).active).toBe(false);
    for (const said of [{ active: true }, { owners: [{ value: world.bob }], active: true }]) {
      const refused = await corporate.call('PATCH', `/Agents/${agent.id}`, patch({ op: 'replace', value: said }));
      expect(refused).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } });
      expect(refused.body.detail).toContain('owner');
      expect(await read(agent.id)).toMatchObject({ active: false, owners: [{ value: owner }] });
    }
    const transfer = { owner: world.bob, reason: 'Bob takes it over' };
    must(await opened.writ.admin('POST', `/agents/${agent.id}/transfer`, transfer));
    expect(await read(agent.id)).toMatchObject({ active: true, owners: [{ value: world.bob }] });
    expect(await isActive(await tokenOf(agent))).toBe(true);
  });

  it('PUT of what was read says active false, and the agent stays suspended when they are back', async () => {
    must(await corporate.call('PUT', `/Agents/${agent.id}`, await read(agent.id)));
    must(await corporate.call('PATCH', `/Users/${owner}`, replace('active', true)));
    expect(await statusOf(agent.id)).toBe('suspended');
  });

  it('deleted owners are named, and no reference any more', async () => {
    must(await corporate.call('DELETE', `/Users/${owner}`));
    expect((await read(agent.id)).owners).toEqual([{ value: owner, display: expect.any(String) }]);
  });
});
