import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { asApi, introspectAs, introspectBy, revokeBy } from '../support/oauth.ts';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  detail,
  exchangeToken,
  type Form,
  type KeyedAgent,
  must,
  readIntent,
  type World,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

/** One more agent, and the API at which it answers, for each link of a chain. */
interface Link {
  agent: KeyedAgent;
  identifier: string;
  api: World['api'];
  owner: string;
}

const task = 'chain.work';
let writ: TestWrit;
let world: World;
let links: Link[];
let everywhere: string[];

async function createPerson(userName: string): Promise<string> {
  const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];
  return must(await world.scim('POST', '/Users', { schemas, userName, active: true })).body.id;
}

async function createLink(name: string): Promise<Link> {
  const owner = await createPerson(`${name}@example.com`);
  const agent = await world.createAgent({ name, owner, environment: 'production', intents: [readIntent] });
  const identifier = `https://${name}.example.com`;
  const members = { identifier, name, environment: 'production' };
  const { body: api } = must(await writ.admin('POST', '/apis', members));
  must(await writ.admin('PATCH', `/apis/${api.id}`, { agent: agent.id }));
  return { agent, identifier, api, owner };
}

beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  links = [];
  for (const name of ['b', 'c', 'd', 'e', 'f']) links.push(await createLink(name));
  everywhere = [...links.map((link) => link.identifier), crm];
  const intent = { taskIntent: task, description: 'Work', apis: everywhere, actions: ['read', 'list'], risk: 'read' };
  must(await writ.admin('POST', '/intents', { ...intent, datatypes: ['ticket', 'note'] }));
  must(await writ.admin('PATCH', `/agents/${world.triage.id}`, { intents: [readIntent, task] }));
});
afterAll(() => writ.close());

const link = (index: number): Link => {
  const found = links[index];
  if (found === undefined) throw new Error(`no link ${index}`);
  return found;
};
const tokenOf = (answer: Answer): string => must(answer).body.access_token;
const claimsOf = (answer: Answer) => decodeToken(tokenOf(answer)).claims;

/** A token of `triage` for the first link's API, that can be carried on to all of them. */
const start = async (members: Record<string, unknown> = {}): Promise<string> =>
  tokenOf(
    await askToken(writ, world.triage, {
      resource: link(0).identifier,
      authorization_details: detail(task, { locations: everywhere, ...members }),
    }),
  );

/** Link `index` exchanges the token that it received for one for `resource`, keeping all locations. */
const pass = (index: number, token: string, resource: string, form: Form = {}): Promise<Answer> =>
  exchangeToken(writ, link(index).agent, token, {
    resource,
    authorization_details: detail(task, { locations: everywhere }),
    ...form,
  });

function expectRefusal(answer: Answer, error: string, reason?: string): void {
  expect([answer.status, answer.body.error, answer.body.reason]).toEqual([400, error, reason]);
}

describe('RFC 8693 §4.1: a chain', () => {
  test('sub stays, each newer actor wraps the older, everything is carried on', async () => {
    const first = await start();
    const second = tokenOf(await pass(0, first, link(1).identifier));
    const third = tokenOf(await pass(1, second, crm, { authorization_details: detail(task, { actions: ['read'] }) }));
    const [a, b, c] = [first, second, third].map((token) => decodeToken(token).claims);
    expect(a).toMatchObject({ sub: world.triage.id, client_id: world.triage.id, aud: link(0).identifier });
    expect(b).toMatchObject({
      sub: world.triage.id,
      client_id: link(0).agent.id,
      human_owner_id: link(0).owner,
      aud: link(1).identifier,
    });
    expect(b.act).toEqual({ sub: link(0).agent.id });
    expect(c).toMatchObject({
      sub: world.triage.id,
      client_id: link(1).agent.id,
      aud: crm,
      human_owner_id: link(1).owner,
    });
    expect(c.act).toEqual({ sub: link(1).agent.id, act: { sub: link(0).agent.id } });
    expect(b.exp).toBeLessThanOrEqual(a.exp);
    expect(c.exp).toBeLessThanOrEqual(b.exp);
    expect(b.epochs).toEqual({ ...a.epochs, [a.jti]: 0, [link(0).agent.id]: 0, [link(0).owner]: 0 });
    expect(c.epochs).toEqual({ ...b.epochs, [b.jti]: 0, [link(1).agent.id]: 0, [link(1).owner]: 0 });
    expect(c.authorization_details).toEqual([
      { type: 'agent_intent', task_intent: task, actions: ['read'], locations: [crm], datatypes: ['ticket', 'note'] },
    ]);
  });

  test('only the audience, and the agent that answers there, exchange a token', async () => {
    const token = await start();
    for (const agent of [link(1).agent, world.billing, world.helper]) {
      expectRefusal(
        await exchangeToken(writ, agent, token, { resource: crm }),
        'invalid_request',
        'subject_token_foreign',
      );
    }
    // Whoever answers at the API no longer does once the API says so.
    must(await writ.admin('PATCH', `/apis/${link(0).api.id}`, { agent: link(1).agent.id }));
    expectRefusal(await pass(0, token, crm), 'invalid_request', 'subject_token_foreign');
    expect((await pass(1, token, crm)).status).toBe(200);
    must(await writ.admin('PATCH', `/apis/${link(0).api.id}`, { agent: link(0).agent.id }));
  });

  test('the audience is the old one, or one of the locations', async () => {
    const token = tokenOf(
      await askToken(writ, world.triage, {
        resource: link(0).identifier,
        authorization_details: detail(task, { locations: [link(0).identifier, link(1).identifier] }),
      }),
    );
    const plain = { authorization_details: '' };
    expect((await pass(0, token, link(1).identifier, plain)).status).toBe(200);
    expect((await pass(0, token, link(0).identifier, plain)).status).toBe(200);
    expectRefusal(await pass(0, token, crm, plain), 'invalid_target', 'exceeds_subject_token');
    const wider = { authorization_details: detail(task, { locations: [link(1).identifier, crm] }) };
    expectRefusal(
      await pass(0, token, link(1).identifier, wider),
      'invalid_authorization_details',
      'exceeds_subject_token',
    );
    // Where it was not carried on, a location is given up.
    const narrowed = tokenOf(await pass(0, token, link(1).identifier, plain));
    expectRefusal(await pass(1, narrowed, link(0).identifier, plain), 'invalid_target', 'exceeds_subject_token');
  });

  test('§2.1: audience names the target as resource does, and there is one', async () => {
    const forLink = await start();
    const by = (form: Form) => exchangeToken(writ, link(0).agent, forLink, form);
    expect(claimsOf(await by({ audience: crm })).aud).toBe(crm);
    expect(claimsOf(await by({ audience: `${crm}/`, resource: `${crm}/` })).aud).toBe(crm);
    expectRefusal(await by({ audience: link(1).identifier, resource: crm }), 'invalid_target', 'resource_unknown');
    expectRefusal(await by({ audience: [crm, link(1).identifier] }), 'invalid_target', 'resource_unknown');
    expectRefusal(await by({ audience: 'https://unknown.example.com' }), 'invalid_target', 'resource_unknown');
  });

  test('at most four actors', async () => {
    let token = await start();
    for (const index of [0, 1, 2, 3]) token = tokenOf(await pass(index, token, link(index + 1).identifier));
    expect(decodeToken(token).claims.act).toEqual({
      sub: link(3).agent.id,
      act: { sub: link(2).agent.id, act: { sub: link(1).agent.id, act: { sub: link(0).agent.id } } },
    });
    expectRefusal(await pass(4, token, crm), 'invalid_request', 'chain_too_long');
  });

  test('an environment is a wall here too', async () => {
    const outside = await world.createAgent({ owner: world.bob, environment: 'staging', intents: [] });
    const patched = await writ.admin('PATCH', `/apis/${link(0).api.id}`, { agent: outside.id });
    if (patched.status < 300) {
      const token = await start();
      const answer = await exchangeToken(writ, outside, token, { resource: crm, authorization_details: detail(task) });
      expectRefusal(answer, 'invalid_authorization_details', 'environment_mismatch');
    }
    must(await writ.admin('PATCH', `/apis/${link(0).api.id}`, { agent: link(0).agent.id }));
  });
});

describe('promise 5: what a token stands on ends it', () => {
  const dead = async (token: string, by: KeyedAgent): Promise<void> => {
    expect((await introspectBy(writ, by, token)).body).toEqual({ active: false });
    expect((await introspectAs(writ, asApi(world.api), token)).body).toEqual({ active: false });
  };

  test('the subject token is revoked (RFC 7009)', async () => {
    const first = await start();
    const second = tokenOf(await pass(0, first, link(1).identifier));
    const third = tokenOf(await pass(1, second, crm));
    expect((await introspectAs(writ, asApi(world.api), third)).body.active).toBe(true);
    must(await revokeBy(writ, world.triage, first));
    await dead(third, link(1).agent);
    expectRefusal(await pass(0, first, crm), 'invalid_request', 'subject_token_invalid');
    expectRefusal(await pass(1, second, crm), 'invalid_request', 'subject_token_invalid');
  });

  test('an agent in the middle is suspended, also when it comes back', async () => {
    const second = tokenOf(await pass(0, await start(), link(1).identifier));
    const third = tokenOf(await pass(1, second, crm));
    must(await writ.admin('POST', `/agents/${link(0).agent.id}/suspend`, { reason: 'test' }));
    await dead(third, link(1).agent);
    expectRefusal(await pass(1, second, crm), 'invalid_request', 'subject_token_invalid');
    expectRefusal(await pass(0, await start(), crm), 'access_denied', 'agent_inactive');
    must(await writ.admin('POST', `/agents/${link(0).agent.id}/activate`, { reason: 'test' }));
    await dead(third, link(1).agent);
    expectRefusal(await pass(1, second, crm), 'invalid_request', 'subject_token_invalid');
    expect((await pass(0, await start(), crm)).status).toBe(200);
  });

  test('an agent in the middle is transferred', async () => {
    const second = tokenOf(await pass(3, await startAt(3), link(4).identifier));
    const third = tokenOf(await pass(4, second, crm));
    must(await writ.admin('POST', `/agents/${link(3).agent.id}/transfer`, { owner: world.bob, reason: 'test' }));
    await dead(third, link(4).agent);
    expectRefusal(await pass(4, second, crm), 'invalid_request', 'subject_token_invalid');
  });

  test('the owner in the middle leaves, then the first owner', async () => {
    const second = tokenOf(await pass(2, await startAt(2), link(1).identifier));
    const third = tokenOf(await pass(1, second, crm));
    const kept = await start();
    must(await world.scim('DELETE', `/Users/${link(2).owner}`));
    await dead(third, link(1).agent);
    expectRefusal(await pass(1, second, crm), 'invalid_request', 'subject_token_invalid');
    expect((await pass(0, kept, crm)).status).toBe(200);
    must(
      await world.scim('PATCH', `/Users/${world.alice}`, {
        schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
        Operations: [{ op: 'replace', value: { active: false } }],
      }),
    );
    expectRefusal(await pass(0, kept, crm), 'invalid_request', 'subject_token_invalid');
  });
});

const startAt = async (index: number): Promise<string> =>
  tokenOf(
    await askToken(writ, world.triage, {
      resource: link(index).identifier,
      authorization_details: detail(task, { locations: everywhere }),
    }),
  );
