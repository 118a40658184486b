/** Who plays: two people of one directory, made over SCIM as their IdP makes them, and their agents. */
import { generateKeyPairSync } from 'node:crypto';
import { type Agent, createAgent, type PrivateJwk } from '../../sdk/agent/agent.ts';
import type { Row } from '../json.ts';
import { check, readText } from './checks.ts';
import type { Idp, IdpPerson, IdpRequest } from './idp.ts';
import { environment, readIntent, type Stage, writeIntent } from './stage.ts';

export interface Person extends IdpPerson {
  id: string;
}

export interface Player {
  id: string;
  name: string;
  key: PrivateJwk;
  agent: Agent;
}

export interface Directory {
  scimUrl: string;
  scimToken: string;
}

export interface Crew {
  idp: Idp;
  directory: Directory;
  leaver: Person;
  stayer: Person;
  /** The leaver's. */
  lead: Player;
  /** Made by `lead`, so the leaver's too. */
  sub: Player;
  /** The stayer's. */
  other: Player;
}

export interface Casting {
  idp: Idp;
  leaver: IdpPerson;
  stayer: IdpPerson;
  names: { lead: string; sub: string; other: string };
}

export async function hire(stage: Stage, { idp, leaver, stayer, names }: Casting): Promise<Crew> {
  const { page } = stage;
  const directory = await page.step(`${idp.name} is connected: a SCIM address and a token`, () => connect(stage, idp));
  const [first, second] = [firstName(leaver), firstName(stayer)];
  const people = await page.step(`${idp.name} creates ${first} and ${second} over SCIM`, async () => ({
    leaver: await createPerson(stage, directory, idp, leaver),
    stayer: await createPerson(stage, directory, idp, stayer),
  }));
  const players = await page.step(
    `${first} owns ${names.lead} and its sub-agent ${names.sub}; ${second} owns ${names.other}`,
    async () => {
      const lead = await registerAgent(stage, names.lead, { owner: people.leaver.id });
      const sub = await registerAgent(stage, names.sub, { parent: lead.id });
      const other = await registerAgent(stage, names.other, { owner: people.stayer.userName });
      return { lead, sub, other };
    },
  );
  return { idp, directory, ...people, ...players };
}

export const firstName = (person: IdpPerson): string => person.givenName.toLowerCase();

async function connect(stage: Stage, idp: Idp): Promise<Directory> {
  const directory = await stage.admin.post('/directories', { name: idp.name, kind: idp.kind });
  return { scimUrl: readText(directory, 'scimUrl'), scimToken: readText(directory, 'scimToken') };
}

/** As the IdP sends it, with the token that was pasted into it. */
export function sendScim(stage: Stage, directory: Directory, request: IdpRequest): Promise<Response> {
  return stage.fetch(`${directory.scimUrl}${request.path}`, {
    method: request.method,
    headers: { ...request.headers, Authorization: `Bearer ${directory.scimToken}` },
    body: JSON.stringify(request.body),
  });
}

async function createPerson(stage: Stage, directory: Directory, idp: Idp, person: IdpPerson): Promise<Person> {
  const response = await sendScim(stage, directory, idp.create(person));
  const body = await response.text();
  check(response.status === 201, '201 Created', `${response.status} ${body}`);
  return { ...person, id: readText(JSON.parse(body), 'id') };
}

/** The private key stays with the agent; Writ gets to know the public one. */
async function registerAgent(stage: Stage, name: string, place: { owner: string } | { parent: string }) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const made: Row = await stage.admin.post('/agents', {
    name,
    description: 'Plays in the demo',
    environment,
    ...place,
    credential: { jwks: { keys: [publicKey.export({ format: 'jwk' })] } },
    intents: [readIntent, writeIntent],
  });
  const id = readText(made, 'id');
  check(made.live === true, 'an agent that is live', made);
  const key: PrivateJwk = { ...privateKey.export({ format: 'jwk' }), alg: 'ES256' };
  const agent = createAgent({ issuer: stage.issuer, clientId: id, key, fetch: stage.fetch });
  return { id, name, key, agent } satisfies Player;
}
