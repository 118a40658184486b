/** The company of `createWorld`, in staging, with one intent that can be kept for groups and one that is left to anybody. */
import { expect } from 'vitest';
import { createVerifier } from '../../src/sdk/api/verify.ts';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  type KeyedAgent,
  must,
  postForm,
  readIntent,
  type World,
} from './world.ts';
import { type Answer, startWrit, type TestWrit } from './writ.ts';

/** To be kept for groups. */
export const kept = readIntent;
/** Left to anybody. */
export const free = 'crm.notes_read';
export const environment = 'staging';

export interface Rights extends AsyncDisposable {
  writ: TestWrit;
  world: World;
  addIntent(taskIntent: string): Promise<void>;
  createGroup(displayName: string): Promise<string>;
  createPerson(userName: string): Promise<string>;
  /** By PATCH. */
  change(group: string, ...operations: object[]): Promise<Answer>;
  add(group: string, ...people: string[]): Promise<Answer>;
  /** By PUT: these members and no others. */
  put(group: string, members: readonly string[]): Promise<Answer>;
  leave(person: string): Promise<Answer>;
  setRights(group: string, rights: { roles?: string[]; intents?: string[] }): Promise<Answer>;
  tokenOf(agent: KeyedAgent, form?: { scope: string }): Promise<string>;
  isActive(token: string): Promise<boolean>;
  expectAlive(token: string): Promise<void>;
  /** At once by introspection, within a second at the verifier (promise 3). */
  expectDead(token: string): Promise<void>;
  /** The intent is refused with its cause. */
  expectKept(agent: KeyedAgent): Promise<void>;
}

export const valuesOf = (ids: readonly string[]) => ids.map((value) => ({ value }));
export const patchOf = (...Operations: object[]) => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations,
});
export const intentsOf = (token: string): string[] =>
  decodeToken(token)
    .claims.authorization_details.map((detail: { task_intent: string }) => detail.task_intent)
    .sort();

const groupSchemas = ['urn:ietf:params:scim:schemas:core:2.0:Group'];
const userSchemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];

export async function openRights(): Promise<Rights> {
  const writ = await startWrit();
  const world = await createWorld(writ, { environment });
  const { clientId, clientSecret } = world.api.feedCredentials;
  const authorization = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
  const verifier = await createVerifier({ issuer: writ.url, audience: crm, credentials: world.api.feedCredentials });
  await verifier.ready();
  const verify = (token: string) => verifier.verify(token, { intent: kept, action: 'read' });
  const send = async (method: string, path: string, body?: object) => must(await world.scim(method, path, body));
  const change: Rights['change'] = (group, ...operations) => send('PATCH', `/Groups/${group}`, patchOf(...operations));
  const isActive = async (token: string): Promise<boolean> =>
    must(await postForm(`${writ.url}/oauth/introspect`, { token }, { authorization })).body.active;
  const addIntent = async (taskIntent: string): Promise<void> => {
    const what = { description: 'Read', apis: [crm], actions: ['read', 'list', 'search'], datatypes: ['ticket'] };
    must(await writ.admin('POST', '/intents', { taskIntent, ...what, risk: 'read' }));
  };
  await addIntent(free);
  for (const agent of [world.triage, world.helper, world.billing]) {
    must(await writ.admin('PATCH', `/agents/${agent.id}`, { intents: [kept, free] }));
  }
  return {
    writ,
    world,
    addIntent,
    change,
    isActive,
    createGroup: async (displayName) => (await send('POST', '/Groups', { schemas: groupSchemas, displayName })).body.id,
    createPerson: async (userName) => (await send('POST', '/Users', { schemas: userSchemas, userName })).body.id,
    add: (group, ...people) => change(group, { op: 'add', path: 'members', value: valuesOf(people) }),
    put: (group, members) =>
      send('PUT', `/Groups/${group}`, {
        schemas: groupSchemas,
        displayName: 'Security',
        members: valuesOf(members),
      }),
    leave: (person) => send('PATCH', `/Users/${person}`, patchOf({ op: 'replace', value: { active: false } })),
    setRights: (group, rights) => writ.admin('PUT', `/groups/${group}/rights`, { roles: [], intents: [], ...rights }),
    tokenOf: async (agent, form = { scope: kept }) => must(await askToken(writ, agent, form)).body.access_token,
    expectAlive: async (token) => {
      await expect(verify(token)).resolves.toBeDefined();
    },
    expectDead: async (token) => {
      expect(await isActive(token)).toBe(false);
      const until = performance.now() + 1_000;
      for (;;) {
        const error: unknown = await verify(token).then(
          () => undefined,
          (refusal) => refusal,
        );
        if (error !== undefined) return expect(error).toMatchObject({ code: 'token_revoked' });
        if (performance.now() > until) throw new Error('the verifier still accepts it');
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    expectKept: async (agent) => {
      const { body } = await askToken(writ, agent, { scope: kept });
      expect(body).toMatchObject({ error: 'invalid_scope', reason: 'intent_not_granted' });
      expect(body.error_description).toMatch(/kept for members of certain groups, and the owner .* is in none/);
    },
    async [Symbol.asyncDispose]() {
      await verifier.close();
      await writ.close();
    },
  };
}
