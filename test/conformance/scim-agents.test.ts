/**
 * Agents as SCIM resources (draft-wzdk-scim-agent-resource-00, an individual draft): off unless switched on for a directory,
 * which then sees the agents of its own people and does to them what an administrator would do by name.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { asApi, introspectAs } from '../support/oauth.ts';
import { askToken, createWorld, detail, type KeyedAgent, must, readIntent, type World } from '../support/world.ts';
import { type Answer, type Parsed, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

const urn = 'urn:ietf:params:scim:schemas:core:2.0:Agent';
const nobody = '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';

interface Directory {
  id: string;
  scimToken: string;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
}

let writ: TestWrit;
let world: World;
let sql: postgres.Sql;
/** Alice and Bob's. */
let corporate: Directory;
/** Carol's. */
let other: Directory;
let carol: string;

const speakFor = ({ id, scimToken }: { id: string; scimToken: string }, { url } = writ): Directory => ({
  id,
  scimToken,
  call: async (method, path, body, headers = {}) =>
    readAnswer(
      await fetch(`${url}/scim/v2${path}`, {
        method,
        headers: {
          authorization: `Bearer ${scimToken}`,
          ...(body === undefined ? {} : { 'content-type': 'application/scim+json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    ),
});

const switchOn = (directory: Directory, environment = 'production') =>
  sql`update directories set scim_agents = true, scim_agents_environment = ${environment} where id = ${directory.id}`;

const connect = async (kind: string): Promise<Directory> =>
  speakFor(must(await writ.admin('POST', '/directories', { name: `${kind} ${randomUUID()}`, kind })).body);

const patch = (...operations: object[]) => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: operations,
});
const replace = (path: string, value: unknown) => patch({ op: 'replace', path, value });

let counter = 0;
const freshName = () => `agent ${++counter}`;
/** An agent of Alice's that has tokens, as an administrator made it. */
const makeAgent = (members: Record<string, unknown> = {}): Promise<KeyedAgent> =>
  world.createAgent({ name: freshName(), owner: world.alice, environment: 'production', ...members });
const person = async (directory = corporate): Promise<string> =>
  must(await directory.call('POST', '/Users', { userName: `${randomUUID()}@example.com` })).body.id;
const read = async (id: string): Promise<Parsed> => must(await corporate.call('GET', `/Agents/${id}`)).body;
const statusOf = async (id: string): Promise<string> => must(await writ.admin('GET', `/agents/${id}`)).body.status;
const ask = (agent: KeyedAgent): Promise<Answer> =>
  askToken(writ, agent, { authorization_details: detail(readIntent) });
const tokenOf = async (agent: KeyedAgent): Promise<string> => must(await ask(agent)).body.access_token;
const isActive = async (token: string): Promise<boolean> =>
  must(await introspectAs(writ, asApi(world.api), token)).body.active;
const create = (members: object = {}, directory = corporate): Promise<Answer> =>
  directory.call('POST', '/Agents', {
    schemas: [urn],
    agentUserName: freshName(),
    owners: [{ value: world.alice }],
    ...members,
  });

beforeAll(async () => {
  writ = await startWrit();
  sql = postgres(writ.databaseUrl, { max: 1 });
  world = await createWorld(writ);
  corporate = speakFor(world.directory);
  other = await connect('entra');
  carol = await person(other);
  await switchOn(corporate);
  await switchOn(other);
});
afterAll(async () => {
  await sql.end();
  await writ.close();
});

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
    expect((await silent.call('GET', `/Schemas/${urn}`)).status).toBe(404);
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
      schema: urn,
      meta: { resourceType: 'ResourceType', location: `${writ.url}/scim/v2/ResourceTypes/Agent` },
    });
  });

  it('as a schema of the same form as the others, which says what an agent that is made here lacks', async () => {
    const { body } = await corporate.call('GET', `/Schemas/${urn}`);
    const group = (await corporate.call('GET', '/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group')).body;
    expect(Object.keys(body)).toEqual(Object.keys(group));
    expect(body.meta.location).toBe(`${writ.url}/scim/v2/Schemas/${urn}`);
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
      schemas: [urn],
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
    [`${urn}:agentUserName eq "desk bot"`, ['Desk Bot']],
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

describe('POST /Agents (RFC 7644 §3.3)', () => {
  it('makes an agent of the directory’s environment, and says where it is', async () => {
    await switchOn(corporate, 'staging');
    const answered = await create({ description: ' Answers the phone. ' });
    await switchOn(corporate);
    expect(answered.status).toBe(201);
    const { id } = answered.body;
    expect(answered.headers.get('location')).toBe(`${writ.url}/scim/v2/Agents/${id}`);
    expect(answered.headers.get('etag')).toBe(answered.body.meta.version);
    expect(answered.body).toMatchObject({ active: true, description: 'Answers the phone.', subject: id });
    expect(answered.body).toEqual(await read(id));
    expect(must(await writ.admin('GET', `/agents/${id}`)).body).toMatchObject({
      owner: world.alice,
      environment: 'staging',
      status: 'active',
      intents: [],
    });
  });

  it('no secret is in the answer; it gets a token only when an administrator has given it a credential and intents', async () => {
    const { body } = must(await create());
    expect(JSON.stringify(body)).not.toMatch(/secret|writ_client/i);
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const agent: KeyedAgent = { id: body.id, privateKey };
    expect((await ask(agent)).status).toBe(401);
    const credential = { jwks: { keys: [publicKey.export({ format: 'jwk' })] } };
    must(await writ.admin('PATCH', `/agents/${agent.id}`, { credential }));
    expect((await ask(agent)).status).toBe(400);
    must(await writ.admin('PATCH', `/agents/${agent.id}`, { intents: [readIntent] }));
    expect(await isActive(await tokenOf(agent))).toBe(true);
  });

  it('with active false it is pending, and activated by the directory later', async () => {
    const { body } = must(await create({ active: 'False' }));
    expect(body.active).toBe(false);
    expect(await statusOf(body.id)).toBe('pending');
    expect(must(await corporate.call('PATCH', `/Agents/${body.id}`, replace('active', true))).body.active).toBe(true);
    expect(await statusOf(body.id)).toBe('active');
  });

  it('takes `name`, by which an earlier draft calls it, and prefers agentUserName', async () => {
    const [first, second] = [freshName(), freshName()];
    expect(must(await create({ agentUserName: undefined, name: first })).body.agentUserName).toBe(first);
    const both = await create({ agentUserName: second, name: first, displayName: 'Something else' });
    expect(must(both).body).toMatchObject({ agentUserName: second, displayName: second });
  });

  it('is recorded as done by the directory', async () => {
    const { id } = must(await create()).body;
    const [entry] = await sql`select kind, body::jsonb -> 'act' ->> 'by' as "by", body from audit_entries
      where agent_id = ${id} order by counter limit 1`;
    expect(entry?.kind).toBe('agent.created');
    expect(String(JSON.stringify(entry?.body))).toContain(corporate.id);
  });

  it('a name that another agent of the directory has is 409 uniqueness, in any case, until that is deleted', async () => {
    const agentUserName = freshName();
    const { id } = must(await create({ agentUserName })).body;
    const again = () => create({ agentUserName: ` ${agentUserName.toUpperCase()} `, owners: [{ value: world.bob }] });
    expect(await again()).toMatchObject({ status: 409, body: { scimType: 'uniqueness' } });
    expect((await create({ agentUserName, owners: [{ value: carol }] }, other)).status).toBe(201);
    must(await corporate.call('DELETE', `/Agents/${id}`));
    expect((await again()).status).toBe(201);
  });

  it('of many at once with one name, for different owners, one is made', async () => {
    const owners = [world.alice, world.bob, await person(), await person()];
    for (let round = 0; round < 5; round++) {
      const agentUserName = freshName();
      const answers = await Promise.all(owners.map((value) => create({ agentUserName, owners: [{ value }] })));
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409]);
    }
  });

  const bad: [what: string, members: object | string, scimType: string | undefined][] = [
    ['no name', { agentUserName: undefined }, 'invalidValue'],
    ['an empty name', { agentUserName: ' ' }, 'invalidValue'],
    ['a name that is too long', { agentUserName: 'x'.repeat(201) }, 'invalidValue'],
    ['a name with a control character', { agentUserName: 'a\u0007b' }, 'invalidValue'],
    ['a name that is no string', { agentUserName: 7 }, 'invalidValue'],
    ['no owner', { owners: undefined }, 'invalidValue'],
    ['an empty list of owners', { owners: [] }, 'invalidValue'],
    ['two owners', { owners: [{ value: nobody }, { value: '0e0e0e0e-0e0e-4e0e-8e0e-0e0e0e0e0e0e' }] }, 'invalidValue'],
    ['an unknown owner', { owners: [{ value: nobody }] }, 'invalidValue'],
    ['an owner who is no id', { owners: [{ value: 'alice@example.com' }] }, 'invalidValue'],
    ['active that is neither', { active: 'perhaps' }, 'invalidValue'],
    ['a description that is no string', { description: {} }, 'invalidValue'],
    ['a description that is too long', { description: 'x'.repeat(2001) }, 'invalidValue'],
    ['no JSON', '{"agentUserName":', 'invalidSyntax'],
    ['a list', '[]', 'invalidSyntax'],
  ];
  it.each(bad)('%s is 400', async (_what, members, scimType) => {
    const before = must(await corporate.call('GET', '/Agents?count=0')).body.totalResults;
    const answered =
      typeof members === 'string' ? await corporate.call('POST', '/Agents', members) : await create(members);
    expect(answered).toMatchObject({ status: 400, body: { scimType } });
    expect(must(await corporate.call('GET', '/Agents?count=0')).body.totalResults).toBe(before);
  });

  it('for an owner of another directory, who is inactive, or who is deleted, it is 400', async () => {
    const [inactive, deleted] = [await person(), await person()];
    must(await corporate.call('PATCH', `/Users/${inactive}`, replace('active', false)));
    must(await corporate.call('DELETE', `/Users/${deleted}`));
    for (const value of [carol, inactive, deleted]) {
      const answered = await create({ owners: [{ value }] });
      expect(answered).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } });
    }
  });

  it('another media type is 415', async () => {
    const answered = await corporate.call('POST', '/Agents', '{}', { 'content-type': 'text/plain' });
    expect(answered.status).toBe(415);
  });
});

describe('what says that an agent is to stop', () => {
  const spellings: [what: string, method: string, body: unknown][] = [
    ['false', 'PATCH', replace('active', false)],
    ['"False"', 'PATCH', replace('active', 'False')],
    ['op in any case', 'PATCH', patch({ op: 'Replace', path: 'Active', value: 'false' })],
    ['add', 'PATCH', patch({ op: 'add', path: 'active', value: false })],
    ['no path', 'PATCH', patch({ op: 'replace', value: { active: false } })],
    ['a path with the schema', 'PATCH', replace(`${urn}:active`, false)],
    ['a member with the schema', 'PATCH', patch({ op: 'replace', value: { [`${urn}:active`]: false } })],
    ['the schema as a whole', 'PATCH', patch({ op: 'replace', value: { [urn]: { active: 'false' } } })],
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
    await expect.poll(async () => (await directory.call('GET', '/Agents')).status, { interval: 0 }).toBe(429);
    const { id } = small.triage;
    const refused = await directory.call('PATCH', `/Agents/${id}`, replace('description', 'new'));
    expect(refused.status).toBe(429);
    const path = `${urn}:active`;
    const stopped = await directory.call('PATCH', `/Agents/${id}`, patch({ op: 'Replace', path, value: 'False' }));
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

describe('when the owner leaves', () => {
  let owner: string;
  let agent: KeyedAgent;
  beforeEach(async () => {
    owner = await person();
    agent = await makeAgent({ owner });
    must(await corporate.call('PATCH', `/Users/${owner}`, replace('active', false)));
  });

  it('their agents read as not active, and are activated only after another owner has been named', async () => {
    expect((await read(agent.id)).active).toBe(false);
    const refused = await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', true));
    expect(refused).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } });
    expect(refused.body.detail).toContain('owner');
    expect((await read(agent.id)).active).toBe(false);
    const both = patch({ op: 'replace', value: { owners: [{ value: world.bob }], active: true } });
    const answered = must(await corporate.call('PATCH', `/Agents/${agent.id}`, both));
    expect(answered.body).toMatchObject({ active: true, owners: [{ value: world.bob, display: 'bob@example.com' }] });
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

describe('PUT and PATCH', () => {
  const changes: [what: string, method: string, body: (name: string) => unknown, expected: (name: string) => object][] =
    [
      ['description', 'PATCH', () => replace('description', 'New.'), () => ({ description: 'New.' })],
      ['agentUserName', 'PATCH', (n) => replace('agentUserName', n), (n) => ({ agentUserName: n, displayName: n })],
      ['name', 'PATCH', (n) => replace('name', n), (n) => ({ agentUserName: n })],
      ['displayName alone', 'PATCH', (n) => replace('displayName', n), (n) => ({ agentUserName: n, displayName: n })],
      [
        'both names',
        'PATCH',
        (n) => patch({ op: 'replace', value: { agentUserName: n, displayName: 'x' } }),
        (n) => ({ agentUserName: n }),
      ],
      ['owner', 'PATCH', () => replace('owners', [{ value: world.bob }]), () => ({ owners: [{ value: world.bob }] })],
      ['owner as a string', 'PATCH', () => replace('owners', world.bob), () => ({ owners: [{ value: world.bob }] })],
      [
        'owner by $ref',
        'PATCH',
        () => replace('owners', [{ $ref: `https://x/Users/${world.bob}` }]),
        () => ({ owners: [{ value: world.bob }] }),
      ],
      [
        'owner by removal and addition',
        'PATCH',
        () =>
          patch(
            { op: 'remove', path: `owners[value eq "${world.alice}"]` },
            { op: 'add', path: 'owners', value: [{ value: world.bob }] },
          ),
        () => ({ owners: [{ value: world.bob }] }),
      ],
      [
        'the same owner added',
        'PATCH',
        () => patch({ op: 'add', path: 'owners', value: [{ value: world.alice.toUpperCase() }] }),
        () => ({ owners: [{ value: world.alice }] }),
      ],
      [
        'whole',
        'PUT',
        (n) => ({ agentUserName: n, description: 'New.', owners: [{ value: world.bob }] }),
        (n) => ({ agentUserName: n, description: 'New.', owners: [{ value: world.bob }], active: true }),
      ],
      [
        'whole without owner and active',
        'PUT',
        (n) => ({ agentUserName: n }),
        (n) => ({ agentUserName: n, owners: [{ value: world.alice }], active: true }),
      ],
      ['what is not known', 'PATCH', () => replace('agentType', 'Assistant'), () => ({ active: true })],
    ];
  it.each(changes)('%s by %s', async (_what, method, body, expected) => {
    const agent = await makeAgent({ description: 'Old.' });
    const name = freshName();
    const answered = must(await corporate.call(method, `/Agents/${agent.id}`, body(name)));
    expect(answered.body).toMatchObject(expected(name));
    expect(answered.body).toEqual(await read(agent.id));
    expect(answered.headers.get('etag')).toBe(answered.body.meta.version);
  });

  it('PUT without a description has none', async () => {
    const agent = await makeAgent({ description: 'Old.' });
    expect(
      must(await corporate.call('PUT', `/Agents/${agent.id}`, { agentUserName: freshName() })).body.description,
    ).toBe(undefined);
  });

  it('a change of the owner ends the tokens that name the old one, and carries the whole tree along', async () => {
    const agent = await makeAgent();
    const child = await world.createAgent({ name: freshName(), parent: agent.id, environment: 'production' });
    const token = await tokenOf(agent);
    must(await corporate.call('PATCH', `/Agents/${child.id}`, replace('owners', [{ value: world.bob }])));
    expect(await isActive(token)).toBe(false);
    expect((await read(agent.id)).owners).toMatchObject([{ value: world.bob }]);
  });

  it('what is refused is not done', async () => {
    const agent = await makeAgent();
    const taken = freshName();
    must(await create({ agentUserName: taken }));
    const inactive = await person();
    must(await corporate.call('PATCH', `/Users/${inactive}`, replace('active', false)));
    const before = await read(agent.id);
    const two = [{ value: world.alice }, { value: world.bob }];
    const refusals: [method: string, body: unknown, status: number, scimType?: string][] = [
      ['PATCH', replace('agentUserName', taken.toUpperCase()), 409, 'uniqueness'],
      ['PUT', { agentUserName: taken }, 409, 'uniqueness'],
      ['PUT', {}, 400, 'invalidValue'],
      ['PUT', 'no JSON', 400, 'invalidSyntax'],
      ['PATCH', {}, 400, 'invalidSyntax'],
      ['PATCH', patch(), 400, 'invalidSyntax'],
      ['PATCH', patch({ op: 'frobnicate' }), 400, 'invalidSyntax'],
      ['PATCH', patch({ op: 'remove' }), 400, 'noTarget'],
      ['PATCH', replace('owners', two), 400, 'invalidValue'],
      ['PATCH', patch({ op: 'add', path: 'owners', value: [{ value: world.bob }] }), 400, 'invalidValue'],
      ['PATCH', replace('owners', []), 400, 'invalidValue'],
      ['PATCH', patch({ op: 'remove', path: 'owners' }), 400, 'invalidValue'],
      ['PATCH', patch({ op: 'remove', path: 'agentUserName' }), 400, 'mutability'],
      ['PATCH', replace('owners', [{ value: nobody }]), 400, 'invalidValue'],
      ['PATCH', replace('owners', [{ value: carol }]), 400, 'invalidValue'],
      ['PATCH', replace('owners', [{ value: inactive }]), 400, 'invalidValue'],
      ['PATCH', replace('subject', 'somebody'), 400, 'mutability'],
      ['PATCH', replace('parent', { value: world.triage.id }), 400, 'mutability'],
      ['PATCH', replace('id', nobody), 400, 'mutability'],
      ['PATCH', replace('description', 'x'.repeat(2001)), 400, 'invalidValue'],
      ['PATCH', replace('agentUserName', 'a\u0007b'), 400, 'invalidValue'],
    ];
    for (const [method, body, status, scimType] of refusals) {
      const answered = await corporate.call(method, `/Agents/${agent.id}`, body);
      expect({ body, status: answered.status, scimType: answered.body.scimType }).toEqual({ body, status, scimType });
    }
    expect(await read(agent.id)).toEqual(before);
  });

  it('an agent below one that is suspended is not said to be active', async () => {
    const agent = await makeAgent();
    const child = await world.createAgent({ name: freshName(), parent: agent.id, environment: 'production' });
    must(await corporate.call('PATCH', `/Agents/${agent.id}`, replace('active', false)));
    const answered = await corporate.call('PATCH', `/Agents/${child.id}`, replace('active', true));
    expect(answered).toMatchObject({ status: 400, body: { scimType: 'invalidValue' } });
    expect(answered.body.detail).toContain('above');
  });

  it('of two that rename to one name at once, one is done', async () => {
    const pair = [await makeAgent(), await makeAgent({ owner: world.bob })];
    const name = freshName();
    const answers = await Promise.all(
      pair.map(({ id }) => corporate.call('PATCH', `/Agents/${id}`, replace('agentUserName', name))),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409]);
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
