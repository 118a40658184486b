/**
 * Agents as SCIM resources (draft-wzdk-scim-agent-resource-00, an individual draft): off unless switched on for a directory,
 * which then sees the agents of its own people.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentUrn, type Directory, nobody, openScimAgents, replace } from '../support/scim-agents.ts';
import { must } from '../support/world.ts';
import type { Parsed } from '../support/writ.ts';

const opened = await openScimAgents();
const { writ, world, corporate, other, carol, connect, person, makeAgent, create, read, tokenOf, isActive } = opened;
afterAll(() => opened[Symbol.asyncDispose]());

describe('/Agents is off by default', () => {
  let silent: Directory;
  beforeAll(async () => {
    silent = await connect('generic');
  });

  it.each([
    ['GET', ''],
    ['POST', ''],
    ['PUT', ''],
    ['GET', `/${nobody}`],
    ['PUT', `/${nobody}`],
    ['PATCH', `/${nobody}`],
    ['DELETE', `/${nobody}`],
    ['POST', `/${nobody}`],
    ['POST', '/.search'],
    ['GET', '/.search'],
  ])('%s /Agents%s is 404, as any path that is not there', async (method, path) => {
    const body = method === 'GET' || method === 'DELETE' ? undefined : { active: false };
    const unknown = await silent.call(method, `/Robots${path}`, body);
    const answered = await silent.call(method, `/Agents${path}`, body);
    expect(answered.status).toBe(404);
    expect(answered.body).toEqual(unknown.body);
    expect(answered.headers.get('allow')).toBeNull();
  });

  it('and is not described', async () => {
    for (const path of ['/ResourceTypes', '/Schemas']) {
      const { body } = await silent.call('GET', path);
      expect(body.Resources.map(({ name }: Parsed) => name)).not.toContain('Agent');
    }
    expect((await silent.call('GET', '/ResourceTypes/Agent')).status).toBe(404);
    expect((await silent.call('GET', `/Schemas/${agentUrn}`)).status).toBe(404);
  });
});

describe('RFC 7643 §6, §7: what is switched on is described', () => {
  it('as a resource type', async () => {
    const { body } = await corporate.call('GET', '/ResourceTypes/Agent');
    expect(body).toEqual({
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:ResourceType'],
      id: 'Agent',
      name: 'Agent',
      endpoint: '/Agents',
      description: 'AI Agent',
      schema: agentUrn,
      meta: { resourceType: 'ResourceType', location: `${writ.url}/scim/v2/ResourceTypes/Agent` },
    });
  });

  it('as a schema of the same form as the others, which says what an agent that is made here lacks', async () => {
    const { body } = await corporate.call('GET', `/Schemas/${agentUrn}`);
    const group = (await corporate.call('GET', '/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group')).body;
    expect(Object.keys(body)).toEqual(Object.keys(group));
    expect(body.meta.location).toBe(`${writ.url}/scim/v2/Schemas/${agentUrn}`);
    expect(body.description).toContain('no token until an administrator has given it a credential and intents');
    const membersOf = (attribute: Parsed) =>
      Object.keys(attribute)
        .filter((name) => name !== 'canonicalValues')
        .sort();
    const [displayName, members] = group.attributes;
    const attributes = Object.fromEntries(body.attributes.map((one: Parsed) => [one.name, one]));
    expect(Object.keys(attributes)).toEqual([
      ...['agentUserName', 'displayName', 'description', 'active', 'owners', 'parent', 'subject'],
    ]);
    expect(membersOf(attributes.agentUserName)).toEqual(membersOf(displayName));
    expect(membersOf(attributes.owners)).toEqual(membersOf(members));
    expect(attributes.owners.subAttributes.map(membersOf)).toEqual(
      ['value', '$ref', 'display'].map((name) =>
        membersOf(members.subAttributes.find((one: Parsed) => one.name === name)),
      ),
    );
    expect(attributes.agentUserName).toMatchObject({ required: true, uniqueness: 'server', mutability: 'readWrite' });
    expect(attributes.owners).toMatchObject({ required: true, multiValued: true, mutability: 'readWrite' });
    expect(attributes.subject.mutability).toBe('readOnly');
  });
});

describe('what a directory sees', () => {
  it('is the agents of its own people, each with its owner as a reference', async () => {
    const { body } = await corporate.call('GET', '/Agents');
    expect(body.Resources).toHaveLength(body.totalResults);
    const ids = body.Resources.map(({ id }: Parsed) => id);
    expect(ids).toEqual(expect.arrayContaining([world.triage.id, world.helper.id, world.billing.id]));
    expect(must(await other.call('GET', '/Agents')).body).toMatchObject({ totalResults: 0, Resources: [] });
    const helper = await read(world.helper.id);
    expect(helper).toEqual({
      schemas: [agentUrn],
      id: world.helper.id,
      agentUserName: 'helper',
      displayName: 'helper',
      active: true,
      owners: [{ value: world.alice, $ref: `${writ.url}/scim/v2/Users/${world.alice}`, display: 'alice@example.com' }],
      parent: { value: world.triage.id, $ref: `${writ.url}/scim/v2/Agents/${world.triage.id}`, display: 'triage' },
      subject: world.helper.id,
      meta: {
        resourceType: 'Agent',
        created: expect.any(String),
        lastModified: expect.any(String),
        location: `${writ.url}/scim/v2/Agents/${world.helper.id}`,
        version: expect.stringMatching(/^W\/"\d+"$/),
      },
    });
  });

  it('RFC 7644 §3.4.2.4, §3.4.2.3, §3.9: is paged, ordered and projected', async () => {
    const owner = await person();
    const names = ['c one', 'A two', 'b three'];
    for (const name of names) must(await create({ agentUserName: name, owners: [{ value: owner }] }));
    const list = async (query: string) =>
      must(await corporate.call('GET', `/Agents?filter=${encodeURIComponent(`owners.value eq "${owner}"`)}&${query}`))
        .body;
    const namesIn = (body: Parsed) => body.Resources.map(({ agentUserName }: Parsed) => agentUserName);
    expect(namesIn(await list(''))).toEqual(names);
    expect(await list('startIndex=2&count=1')).toMatchObject({ totalResults: 3, startIndex: 2, itemsPerPage: 1 });
    expect(namesIn(await list('startIndex=2&count=1'))).toEqual(['A two']);
    expect(await list('count=0')).toMatchObject({ totalResults: 3, itemsPerPage: 0, Resources: [] });
    expect(namesIn(await list('sortBy=agentUserName'))).toEqual(['A two', 'b three', 'c one']);
    expect(namesIn(await list('sortBy=meta.created&sortOrder=descending'))).toEqual(names.toReversed());
    const [first] = (await list('attributes=agentUserName,owners.value')).Resources;
    expect(Object.keys(first).sort()).toEqual(['agentUserName', 'id', 'owners', 'schemas']);
    expect(first.owners).toEqual([{ value: owner }]);
    const searched = await corporate.call('POST', '/Agents/.search', {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:SearchRequest'],
      filter: `owners[value eq "${owner}"] and agentUserName sw "B"`,
    });
    expect(namesIn(searched.body)).toEqual(['b three']);
  });

  it('RFC 7644 §3.14: has a version, which changes when the owner leaves as well', async () => {
    const owner = await person();
    const { id } = must(await create({ owners: [{ value: owner }] })).body;
    const { headers, body } = must(await corporate.call('GET', `/Agents/${id}`));
    const etag = headers.get('etag') ?? '';
    expect(etag).toBe(body.meta.version);
    const again = () => corporate.call('GET', `/Agents/${id}`, undefined, { 'if-none-match': etag });
    expect((await again()).status).toBe(304);
    must(await corporate.call('PATCH', `/Users/${owner}`, replace('active', false)));
    expect((await again()).status).toBe(200);
  });
});

describe('RFC 7644 §3.4.2.2: filters', () => {
  let owner: string;
  let ids: Record<string, string>;
  beforeAll(async () => {
    owner = await person();
    ids = {};
    for (const [name, description, active] of [
      ['Desk Bot', 'Answers "everything"', true],
      ['desk robot', '', false],
      ['100% _sure_', 'sells\\buys', true],
    ] as const) {
      ids[name] = must(await create({ agentUserName: name, description, active, owners: [{ value: owner }] })).body.id;
    }
  });

  const cases: [filter: string, names: string[]][] = [
    ['agentUserName eq "desk bot"', ['Desk Bot']],
    ['AGENTUSERNAME EQ "desk bot"', ['Desk Bot']],
    [`${agentUrn}:agentUserName eq "desk bot"`, ['Desk Bot']],
    ['name eq "desk bot"', ['Desk Bot']],
    ['displayName co "ESK"', ['Desk Bot', 'desk robot']],
    ['displayName co "%"', ['100% _sure_']],
    ['agentUserName sw "_"', []],
    ['agentUserName ew "OT"', ['Desk Bot', 'desk robot']],
    ['agentUserName ne "desk bot"', ['desk robot', '100% _sure_']],
    ['description pr', ['Desk Bot', '100% _sure_']],
    ['not (description pr)', ['desk robot']],
    ['description co "\\"everything\\""', ['Desk Bot']],
    ['description eq "sells\\\\buys"', ['100% _sure_']],
    ['active eq true', ['Desk Bot', '100% _sure_']],
    ['active eq "False"', ['desk robot']],
    ['active eq true and agentUserName sw "d"', ['Desk Bot']],
    ['active eq false or agentUserName co "sure"', ['desk robot', '100% _sure_']],
    [`id eq "${nobody}"`, []],
    ['id eq "x"', []],
    ['parent pr', []],
  ];
  it.each(cases)('%s', async (filter, names) => {
    const own = `owners.value eq "${owner}" and (${filter})`;
    const { body } = must(await corporate.call('GET', `/Agents?filter=${encodeURIComponent(own)}`));
    expect(body.Resources.map(({ agentUserName }: Parsed) => agentUserName)).toEqual(names);
    expect(body.totalResults).toBe(names.length);
  });

  it('by id, by parent, and by an owner of another directory, who has none here', async () => {
    const find = async (filter: string) =>
      must(await corporate.call('GET', `/Agents?filter=${encodeURIComponent(filter)}`)).body.Resources.map(
        ({ id }: Parsed) => id,
      );
    expect(await find(`id eq "${ids['Desk Bot']?.toUpperCase()}"`)).toEqual([ids['Desk Bot']]);
    expect(await find(`parent.value eq "${world.triage.id}"`)).toEqual([world.helper.id]);
    expect(await find(`owners eq "${carol}"`)).toEqual([]);
  });

  it.each([
    'externalId eq "x"',
    'agentUserName gt "a"',
    'agentUserName eq true',
    'active eq "maybe"',
    'active gt true',
    'owners co "a"',
    'credential eq "x"',
    'agentUserName eq',
    'emails[type eq "work"]',
  ])('%s is refused with invalidFilter', async (filter) => {
    const answered = await corporate.call('GET', `/Agents?filter=${encodeURIComponent(filter)}`);
    expect(answered).toMatchObject({ status: 400, body: { scimType: 'invalidFilter' } });
  });
});

describe('another directory’s agents', () => {
  it.each([
    ['GET', undefined],
    ['PUT', { agentUserName: 'mine', active: false }],
    ['PATCH', replace('active', false)],
    ['PATCH', replace('owners', [{ value: nobody }])],
    ['DELETE', undefined],
  ])('are 404 for %s', async (method, body) => {
    const agent = await makeAgent();
    const token = await tokenOf(agent);
    const answered = await other.call(method, `/Agents/${agent.id}`, body);
    expect(answered).toMatchObject({ status: 404 });
    expect(answered.body).toMatchObject({ detail: (await other.call('GET', `/Agents/${nobody}`)).body.detail });
    expect(await isActive(token)).toBe(true);
    expect((await read(agent.id)).owners).toMatchObject([{ value: world.alice }]);
  });

  it('are not found, and their names are free', async () => {
    const found = await other.call('GET', `/Agents?filter=${encodeURIComponent(`id eq "${world.triage.id}"`)}`);
    expect(found.body.totalResults).toBe(0);
    expect((await create({ agentUserName: 'triage', owners: [{ value: carol }] }, other)).status).toBe(201);
  });

  it('an agent that an administrator gives to somebody there is seen there, and no longer here', async () => {
    const agent = await makeAgent();
    must(await writ.admin('POST', `/agents/${agent.id}/transfer`, { owner: carol, reason: 'moves' }));
    expect((await corporate.call('GET', `/Agents/${agent.id}`)).status).toBe(404);
    expect((await other.call('GET', `/Agents/${agent.id}`)).status).toBe(200);
  });

  it('methods that are not there are 405', async () => {
    const answered = await corporate.call('POST', `/Agents/${world.triage.id}`, {});
    expect(answered.status).toBe(405);
    expect(answered.headers.get('allow')).toBe('GET, PUT, PATCH, DELETE');
    expect((await corporate.call('GET', '/Agents?cursor=')).body.scimType).toBe('invalidCursor');
  });
});
