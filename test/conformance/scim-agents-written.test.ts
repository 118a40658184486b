/**
 * Agents as SCIM resources (draft-wzdk-scim-agent-resource-00, an individual draft): what a directory makes and changes, and
 * what is refused.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import { freshName, nobody, openScimAgents, patch, replace, speakFor } from '../support/scim-agents.ts';
import { type KeyedAgent, must, readIntent } from '../support/world.ts';
import { type Parsed, startWrit } from '../support/writ.ts';

const opened = await openScimAgents();
const {
  writ,
  world,
  sql,
  corporate,
  other,
  carol,
  connect,
  switchOn,
  person,
  makeAgent,
  create,
  read,
  statusOf,
  ask,
  tokenOf,
  isActive,
} = opened;
afterAll(() => opened[Symbol.asyncDispose]());

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
    const [entry] = await sql`select body from audit_entries where agent_id = ${id}`;
    expect(JSON.parse(String(entry?.body))).toMatchObject({
      kind: 'agent.created',
      by: { type: 'directory', id: corporate.id },
      person: world.alice,
    });
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

  it('of many at once with one name, at two nodes and for different owners, one is made', async () => {
    await using second = await startWrit({ databaseUrl: writ.databaseUrl, issuer: writ.url });
    const there = speakFor(corporate, second);
    const owners = [world.alice, world.bob, await person(), await person()];
    for (let round = 0; round < 10; round++) {
      const agentUserName = freshName();
      const answers = await Promise.all(
        owners.map((value, n) => create({ agentUserName, owners: [{ value }] }, n % 2 === 0 ? corporate : there)),
      );
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409]);
    }
  });

  it('of more directories at once than there are connections, all are made', async () => {
    const directories = await Promise.all(Array.from({ length: 12 }, () => connect('generic')));
    const owners = await Promise.all(directories.map((directory) => person(directory)));
    await sql`update directories set scim_agents = true where id in ${sql(directories.map(({ id }) => id))}`;
    const answers = await Promise.all(
      directories.map((directory, n) => create({ owners: [{ value: owners[n] }] }, directory)),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
  });

  it('RFC 7644 §3.7: together with its owner, in a Bulk', async () => {
    const operations = [
      { method: 'POST', path: '/Users', bulkId: 'u', data: { userName: `${randomUUID()}@example.com` } },
      {
        method: 'POST',
        path: '/Agents',
        bulkId: 'a',
        data: { agentUserName: freshName(), owners: [{ value: 'bulkId:u' }] },
      },
      { method: 'PATCH', path: '/Agents/bulkId:a', data: replace('active', false) },
    ];
    const { body } = must(
      await corporate.call('POST', '/Bulk', {
        schemas: ['urn:ietf:params:scim:api:messages:2.0:BulkRequest'],
        Operations: operations,
      }),
    );
    expect(body.Operations.map(({ status }: Parsed) => status)).toEqual(['201', '201', '200']);
    const [user, agent] = body.Operations.map(({ location }: Parsed) => location.split('/').at(-1));
    expect(await read(agent)).toMatchObject({ active: false, owners: [{ value: user }] });
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
