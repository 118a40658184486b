/** A small company around a Writ: a directory, two people, a CRM API with its intents, and agents. */
import { generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { type Answer, type Parsed, readAnswer, type TestWrit } from './writ.ts';

export const crm = 'https://crm.example.com';
export const readIntent = 'incident_remediation.ticket_read';
export const writeIntent = 'incident_remediation.ticket_update';

export interface KeyedAgent {
  id: string;
  privateKey: KeyObject;
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A compact JWS by ES256. */
export function signJwt(privateKey: KeyObject, header: object, claims: object): string {
  const input = `${encode({ alg: 'ES256', ...header })}.${encode(claims)}`;
  return `${input}.${sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

/** A client assertion as RFC 10070 wants it, with `changes` for those that are not. */
export function makeAssertion(
  writ: TestWrit,
  agent: KeyedAgent,
  changes: Record<string, unknown> = {},
  header = {},
): string {
  const seconds = Math.floor(Date.now() / 1000);
  const claims = { iss: agent.id, sub: agent.id, aud: writ.url, jti: randomUUID(), iat: seconds, exp: seconds + 60 };
  return signJwt(agent.privateKey, { typ: 'client-authentication+jwt', ...header }, { ...claims, ...changes });
}

export type Form = Record<string, string | string[]>;

export function encodeForm(form: Form): URLSearchParams {
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries(form)) for (const one of [value].flat()) body.append(name, one);
  return body;
}

export async function postForm(url: string, form: Form, headers: Record<string, string> = {}): Promise<Answer> {
  return readAnswer(await fetch(url, { method: 'POST', headers, body: encodeForm(form) }));
}

const assertionOf = (writ: TestWrit, agent: KeyedAgent): Form => ({
  client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  client_assertion: makeAssertion(writ, agent),
});

/** A token request by client credentials. */
export const askToken = (writ: TestWrit, agent: KeyedAgent, form: Form = {}): Promise<Answer> =>
  postForm(`${writ.url}/oauth/token`, {
    grant_type: 'client_credentials',
    resource: crm,
    ...assertionOf(writ, agent),
    ...form,
  });

export const exchangeToken = (
  writ: TestWrit,
  agent: KeyedAgent,
  subjectToken: string,
  form: Form = {},
): Promise<Answer> =>
  postForm(`${writ.url}/oauth/token`, {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: subjectToken,
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    ...assertionOf(writ, agent),
    ...form,
  });

export const detail = (taskIntent: string, members: Record<string, unknown> = {}): string =>
  JSON.stringify([{ type: 'agent_intent', task_intent: taskIntent, ...members }]);

export function decodeToken(token: string): { header: Parsed; claims: Parsed } {
  const [header = '', claims = ''] = token.split('.');
  const parse = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
  return { header: parse(header), claims: parse(claims) };
}

export interface World {
  directory: { id: string; scimUrl: string; scimToken: string };
  alice: string;
  bob: string;
  api: { id: string; feedCredentials: { clientId: string; clientSecret: string } };
  /** Alice's. */
  triage: KeyedAgent;
  /** Made by `triage`, so Alice's too. */
  helper: KeyedAgent;
  /** Bob's. */
  billing: KeyedAgent;
  scim(method: string, path: string, body?: unknown): Promise<Answer>;
  createAgent(members: Record<string, unknown>): Promise<KeyedAgent>;
}

export const must = <T extends Answer>(answer: T): T => {
  if (answer.status >= 300) throw new Error(`${answer.status}: ${JSON.stringify(answer.body)}`);
  return answer;
};

export async function callScim(
  directory: World['directory'],
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer> {
  return readAnswer(
    await fetch(`${directory.scimUrl}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${directory.scimToken}`,
        'content-type': 'application/scim+json; charset=utf-8',
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
}

export async function createWorld(writ: TestWrit, options: { environment?: string } = {}): Promise<World> {
  const environment = options.environment ?? 'production';
  const directory = must(await writ.admin('POST', '/directories', { name: `Okta ${randomUUID()}`, kind: 'okta' })).body;
  const scim: World['scim'] = (method, path, body) => callScim(directory, method, path, body);
  const person = async (userName: string): Promise<string> =>
    must(
      await scim('POST', '/Users', { schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName, active: true }),
    ).body.id;
  const alice = await person('alice@example.com');
  const bob = await person('bob@example.com');
  const api = must(await writ.admin('POST', '/apis', { identifier: crm, name: 'CRM', environment })).body;
  for (const [taskIntent, actions, risk] of [
    [readIntent, ['read', 'list', 'search'], 'read'],
    [writeIntent, ['read', 'update'], 'write'],
  ]) {
    must(
      await writ.admin('POST', '/intents', {
        taskIntent,
        description: 'Work on incident tickets',
        apis: [crm],
        actions,
        datatypes: ['ticket'],
        risk,
      }),
    );
  }
  const createAgent: World['createAgent'] = async (members) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const answer = must(
      await writ.admin('POST', '/agents', {
        name: 'agent',
        credential: { jwks: { keys: [publicKey.export({ format: 'jwk' })] } },
        intents: [readIntent, writeIntent],
        ...members,
      }),
    );
    return { id: answer.body.id, privateKey };
  };
  const triage = await createAgent({ name: 'triage', owner: alice, environment });
  const helper = await createAgent({ name: 'helper', parent: triage.id, environment });
  const billing = await createAgent({ name: 'billing', owner: 'bob@example.com', environment });
  return { directory, alice, bob, api, triage, helper, billing, scim, createAgent };
}
