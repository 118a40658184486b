/** Two nodes, two verifiers and one directory, on which the commands of `model.ts` are really done. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createVerifier, type Verifier, VerifyError } from '../../src/sdk/api/verify.ts';
import { type Command, crm, deletion, desk, type Outcome } from './model.ts';
import { asApi, introspectAs, revokeBy } from './oauth.ts';
import {
  askToken,
  callScim,
  decodeToken,
  exchangeToken,
  makeAssertion,
  must,
  readIntent,
  type World,
} from './world.ts';
import { type Answer, startWrit, type TestWrit } from './writ.ts';

export interface Company extends AsyncDisposable {
  nodes: readonly [TestWrit, TestWrit];
  verifiers: readonly Verifier[];
  /** Does it at this node. */
  perform(command: Command, node: number): Promise<Outcome>;
  /** Nobody answers at the desk. */
  clearDesk(): Promise<void>;
  isActive(token: string, node: number): Promise<boolean>;
  /** Whether a verifier of the CRM accepts it; `null`: it is not for the CRM. */
  isAccepted(token: string, verifier: Verifier): Promise<boolean | null>;
  /** Resolves once both verifiers have heard of everything that has happened. */
  hearAll(): Promise<void>;
}

const patch = (operation: object): object => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: [operation],
});

/** How directories say that somebody is gone. The one of `deletion` comes first. */
const departures: ((userName: string) => [method: string, body?: object])[] = [
  () => ['DELETE'],
  () => ['PATCH', patch({ op: 'replace', path: 'active', value: false })],
  () => ['PATCH', patch({ op: 'Replace', path: 'active', value: 'False' })],
  () => ['PATCH', patch({ op: 'add', value: { active: false } })],
  () => ['PATCH', patch({ op: 'replace', path: 'urn:ietf:params:scim:schemas:core:2.0:User:active', value: 'false' })],
  () => ['PATCH', patch({ op: 'remove', path: 'active' })],
  (userName) => ['PUT', { userName, active: false }],
  (userName) => ['PUT', { userName, active: 'false', displayName: 'Gone' }],
];
export const departureCount = departures.length;

interface Issued {
  jwt: string;
  agent: string;
  audience: string;
}

export async function openCompany(): Promise<Company> {
  const first = await startWrit();
  const nodes = [first, await startWrit({ databaseUrl: first.databaseUrl, issuer: first.url })] as const;
  const apis = await registerApis(first);
  const verifiers = await Promise.all(
    nodes.map((node) =>
      createVerifier({
        issuer: first.url,
        audience: crm,
        credentials: apis.crm.feedCredentials,
        feedUrl: `${node.url}/revocations`,
      }),
    ),
  );
  await Promise.all(verifiers.map((verifier) => verifier.ready()));
  const tokens = new Map<string, Issued>();
  const perform = await createPerformer(nodes, tokens);
  const issuedAs = (id: string): Issued => known(tokens, id);
  return {
    nodes,
    verifiers,
    perform,
    clearDesk: async () => void must(await first.admin('PATCH', `/apis/${apis.desk.id}`, { agent: null })),
    isActive: async (id, node) => {
      const { jwt, audience } = issuedAs(id);
      const api = audience === crm ? apis.crm : apis.desk;
      return must(await introspectAs(nodeAt(nodes, node), asApi(api), jwt)).body.active;
    },
    isAccepted: async (id, verifier) => {
      const { jwt, audience } = issuedAs(id);
      return audience === crm ? !(await isRevoked(verifier, jwt)) : null;
    },
    hearAll: await createListener(first, perform, (id) => issuedAs(id).jwt, verifiers),
    async [Symbol.asyncDispose]() {
      await Promise.all(verifiers.map((verifier) => verifier.close()));
      for (const node of nodes.toReversed()) await node.close();
    },
  };
}

const nodeAt = (nodes: readonly [TestWrit, TestWrit], index: number): TestWrit => nodes[index % 2 === 0 ? 0 : 1];

function known<T>(map: ReadonlyMap<string, T>, id: string): T {
  const value = map.get(id);
  if (value === undefined) throw new Error(`${id} was never made`);
  return value;
}

/** Anything but acceptance and revocation is a fault of the test. */
async function isRevoked(verifier: Verifier, jwt: string): Promise<boolean> {
  try {
    await verifier.verify(jwt, { intent: readIntent, action: 'read' });
    return false;
  } catch (error) {
    if (error instanceof VerifyError && error.code === 'token_revoked') return true;
    throw error;
  }
}

async function registerApis(writ: TestWrit): Promise<{ crm: World['api']; desk: World['api'] }> {
  const register = async (identifier: string) =>
    must(await writ.admin('POST', '/apis', { identifier, name: 'API', environment: 'production' })).body;
  const apis = { crm: await register(crm), desk: await register(desk) };
  must(
    await writ.admin('POST', '/intents', {
      taskIntent: readIntent,
      description: 'Read incident tickets',
      apis: [crm, desk],
      actions: ['read'],
      datatypes: ['ticket'],
      risk: 'read',
    }),
  );
  return apis;
}

/** What is issued for the desk can be exchanged for the CRM as well. */
const askAt = (audience: string) => ({
  resource: audience,
  authorization_details: JSON.stringify([
    { type: 'agent_intent', task_intent: readIntent, locations: audience === desk ? [desk, crm] : [crm] },
  ]),
});

const statusOf = (answer: Answer): Outcome =>
  answer.status < 300 ? { said: 'done', id: answer.body?.id } : { said: String(answer.status) };

async function createPerformer(
  nodes: readonly [TestWrit, TestWrit],
  tokens: Map<string, Issued>,
): Promise<Company['perform']> {
  const [first] = nodes;
  const directory = must(await first.admin('POST', '/directories', { name: randomUUID(), kind: 'generic' })).body;
  const deskId = must(await first.admin('GET', '/apis?limit=100')).body.items.find(
    (api: { identifier: string }) => api.identifier === desk,
  ).id;
  // One key for all agents: whose it is says the assertion.
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const credential = { jwks: { keys: [publicKey.export({ format: 'jwk' })] } };
  const userNames = new Map<string, string>();

  const keep = (answer: Answer, agent: string, audience: string): Outcome => {
    if (answer.status !== 200) return { said: answer.body.reason ?? String(answer.status) };
    const jwt: string = answer.body.access_token;
    const { jti } = decodeToken(jwt).claims;
    tokens.set(jti, { jwt, agent, audience });
    return { said: 'done', id: jti };
  };
  const scim = (node: TestWrit, method: string, path: string, body?: object): Promise<Answer> =>
    callScim({ ...directory, scimUrl: `${node.url}/scim/v2` }, method, path, body);
  const create = async (node: TestWrit, place: object): Promise<Outcome> =>
    statusOf(await node.admin('POST', '/agents', { name: 'agent', credential, intents: [readIntent], ...place }));
  // For the issuer, whichever node it is sent to.
  const proof = (id: string) => ({ client_assertion: makeAssertion(first, { id, privateKey }) });

  return async (command, index) => {
    const node = nodeAt(nodes, index);
    switch (command.do) {
      case 'hire': {
        const { userName } = command;
        const hired = statusOf(await scim(node, 'POST', '/Users', { userName, externalId: userName, active: true }));
        if (hired.id !== undefined) userNames.set(hired.id, userName);
        return hired;
      }
      case 'leave': {
        const say = departures[command.how] ?? departures[deletion];
        const [method, body] = say?.(known(userNames, command.person)) ?? ['DELETE'];
        return statusOf(await scim(node, method, `/Users/${command.person}`, body));
      }
      case 'return': {
        const body = patch({ op: 'replace', path: 'active', value: true });
        return statusOf(await scim(node, 'PATCH', `/Users/${command.person}`, body));
      }
      case 'create':
        return create(node, { owner: command.owner, environment: 'production' });
      case 'create below':
        return create(node, { parent: command.parent });
      case 'transfer': {
        const body = { owner: command.owner, reason: 'test' };
        return statusOf(await node.admin('POST', `/agents/${command.agent}/transfer`, body));
      }
      case 'suspend':
      case 'activate':
      case 'decommission':
        return statusOf(await node.admin('POST', `/agents/${command.agent}/${command.do}`, { reason: 'test' }));
      case 'answer':
        return statusOf(await node.admin('PATCH', `/apis/${deskId}`, { agent: command.agent }));
      case 'issue': {
        const { agent, audience } = command;
        return keep(
          await askToken(node, { id: agent, privateKey }, { ...askAt(audience), ...proof(agent) }),
          agent,
          audience,
        );
      }
      case 'exchange': {
        const { agent, audience, token } = command;
        const { jwt } = known(tokens, token);
        return keep(
          await exchangeToken(node, { id: agent, privateKey }, jwt, { ...askAt(audience), ...proof(agent) }),
          agent,
          audience,
        );
      }
      case 'revoke': {
        const { jwt, agent } = known(tokens, command.token);
        return statusOf(await revokeBy(node, { id: agent, privateKey }, jwt, proof(agent)));
      }
    }
  };
}

const patienceMs = 15_000;

/**
 * The feed is in order: once a verifier refuses a token that was revoked after everything else, it has heard of it all.
 * The token is that of an agent that nothing else is done to.
 */
async function createListener(
  node: TestWrit,
  perform: Company['perform'],
  jwtOf: (id: string) => string,
  verifiers: readonly Verifier[],
): Promise<Company['hearAll']> {
  const make = async (command: Command): Promise<string> => {
    const { said, id } = await perform(command, 0);
    if (said !== 'done' || id === undefined) throw new Error(`${command.do}: ${said} at ${node.url}`);
    return id;
  };
  const owner = await make({ do: 'hire', userName: 'sentinel@example.com' });
  const agent = await make({ do: 'create', owner });
  return async () => {
    const token = await make({ do: 'issue', agent, audience: crm });
    await perform({ do: 'revoke', token }, 1);
    const until = performance.now() + patienceMs;
    for (const verifier of verifiers) {
      while (!(await isRevoked(verifier, jwtOf(token)))) {
        if (performance.now() > until) throw new Error('a verifier has not heard of a revocation');
        await sleep(2);
      }
    }
  };
}
