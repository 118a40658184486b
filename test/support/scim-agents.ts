/** A Writ with two directories that see agents, each with people of its own, and what tests do to them over SCIM. */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { asApi, introspectAs } from './oauth.ts';
import { askToken, createWorld, detail, type KeyedAgent, must, readIntent, type World } from './world.ts';
import { type Answer, type Parsed, readAnswer, startWrit, type TestWrit } from './writ.ts';

export const agentUrn = 'urn:ietf:params:scim:schemas:core:2.0:Agent';
export const nobody = '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';

export interface Directory {
  id: string;
  scimToken: string;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
}

export interface ScimAgents extends AsyncDisposable {
  writ: TestWrit;
  world: World;
  sql: postgres.Sql;
  /** Alice and Bob's. */
  corporate: Directory;
  /** Carol's. */
  other: Directory;
  carol: string;
  connect(kind: string): Promise<Directory>;
  switchOn(directory: Directory, environment?: string): Promise<void>;
  person(directory?: Directory): Promise<string>;
  /** An agent of Alice's that gets tokens, as an administrator makes it. */
  makeAgent(members?: Record<string, unknown>): Promise<KeyedAgent>;
  /** POST, for Alice. */
  create(members?: object, directory?: Directory): Promise<Answer>;
  read(id: string): Promise<Parsed>;
  statusOf(id: string): Promise<string>;
  ask(agent: KeyedAgent): Promise<Answer>;
  tokenOf(agent: KeyedAgent): Promise<string>;
  isActive(token: string): Promise<boolean>;
}

export const patch = (...operations: object[]) => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: operations,
});
export const replace = (path: string, value: unknown) => patch({ op: 'replace', path, value });

let counter = 0;
export const freshName = (): string => `agent ${++counter}`;

export const speakFor = (
  { id, scimToken }: { id: string; scimToken: string },
  { url }: Pick<TestWrit, 'url'>,
): Directory => ({
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

export async function openScimAgents(): Promise<ScimAgents> {
  const writ = await startWrit();
  const sql = postgres(writ.databaseUrl, { max: 1 });
  const world = await createWorld(writ);
  const corporate = speakFor(world.directory, writ);
  const connect: ScimAgents['connect'] = async (kind) =>
    speakFor(must(await writ.admin('POST', '/directories', { name: `${kind} ${randomUUID()}`, kind })).body, writ);
  const other = await connect('entra');
  const person: ScimAgents['person'] = async (directory = corporate) =>
    must(await directory.call('POST', '/Users', { userName: `${randomUUID()}@example.com` })).body.id;
  const switchOn: ScimAgents['switchOn'] = async ({ id }, scimAgentsEnvironment = 'production') => {
    must(await writ.admin('PATCH', `/directories/${id}`, { scimAgents: true, scimAgentsEnvironment }));
  };
  await switchOn(corporate);
  await switchOn(other);
  const ask: ScimAgents['ask'] = (agent) => askToken(writ, agent, { authorization_details: detail(readIntent) });
  return {
    ...{ writ, world, sql, corporate, other, carol: await person(other), connect, switchOn, person, ask },
    makeAgent: (members = {}) =>
      world.createAgent({ name: freshName(), owner: world.alice, environment: 'production', ...members }),
    create: (members = {}, directory = corporate) =>
      directory.call('POST', '/Agents', {
        schemas: [agentUrn],
        agentUserName: freshName(),
        owners: [{ value: world.alice }],
        ...members,
      }),
    read: async (id) => must(await corporate.call('GET', `/Agents/${id}`)).body,
    statusOf: async (id) => must(await writ.admin('GET', `/agents/${id}`)).body.status,
    tokenOf: async (agent) => must(await ask(agent)).body.access_token,
    isActive: async (token) => must(await introspectAs(writ, asApi(world.api), token)).body.active,
    async [Symbol.asyncDispose]() {
      await sql.end();
      await writ.close();
    },
  };
}
