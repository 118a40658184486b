/** Agents in their wire form, and what a request says about one. Pure. */
import type { DirectoryAgent } from '../../domain/agents/directory-agents.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { scimUrns } from '../../protocol.ts';
import { agentSchema, agentUrn } from './agent-schema.ts';
import { type Departure, isObject, readBoolean, readDeparture } from './departure.ts';
import { ScimRefusal } from './errors.ts';
import { bareName } from './list.ts';
import { applyPatch, readOperations } from './patch.ts';
import { type Reading, type Resource, readResource, requireName } from './resource.ts';
import { locate } from './schema.ts';
import { etagOf } from './wire.ts';

const maxOperations = 250;

/** `base` is the absolute URL of `/scim/v2`. */
export function renderAgent(base: string, agent: DirectoryAgent): Resource {
  const { id, name, description, isLive, owner, parent } = agent;
  const location = `${base}/Agents/${id}`;
  // Whoever is deleted is no resource any more.
  const ownerRef = owner.isDeleted ? {} : { $ref: `${base}/Users/${owner.id}` };
  return {
    schemas: [agentUrn],
    id,
    agentUserName: name,
    displayName: name,
    ...(description === '' ? {} : { description }),
    active: isLive,
    owners: [{ value: owner.id, ...ownerRef, display: owner.name }],
    ...(parent === null
      ? {}
      : { parent: { value: parent.id, $ref: `${base}/Agents/${parent.id}`, display: parent.name } }),
    subject: id,
    meta: {
      resourceType: 'Agent',
      created: agent.createdAt.toISOString(),
      lastModified: agent.updatedAt.toISOString(),
      location,
      version: etagOf(agent),
    },
  };
}

/** A resource, its list of operations, one of them, its value, the object of a schema: no name stands deeper. */
const maxDepth = 8;

/** The body with every member name and path as `rename` has it; `siblings` are the names beside it. */
function mapNames(
  value: unknown,
  rename: (name: string, siblings: readonly string[]) => string,
  depthLeft = maxDepth,
): unknown {
  if (depthLeft === 0) return value;
  if (Array.isArray(value)) return value.map((element) => mapNames(element, rename, depthLeft - 1));
  if (!isObject(value)) return value;
  const names = Object.keys(value);
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      rename(name, names),
      name.trim().toLowerCase() === 'path' && typeof member === 'string'
        ? rename(member, [])
        : mapNames(member, rename, depthLeft - 1),
    ]),
  );
}

const namesUserName = (name: string): boolean => locate(agentSchema, name.trim())?.attribute?.name === 'agentUserName';

/** `name`, by which draft-abbey-scim-agent-extension-00 calls the same, where nothing says `agentUserName`. */
const acceptName = (body: unknown): unknown =>
  mapNames(body, (name, siblings) =>
    bareName(agentUrn, name.trim()) === 'name' && !siblings.some(namesUserName) ? 'agentUserName' : name,
  );

/**
 * What the body says about the agent being there, in every spelling in which that of a person is understood, with the
 * names of this schema in the place of the User's.
 */
export const readSuspension = (method: string, body: unknown): Departure =>
  readDeparture(
    method,
    mapNames(body, (name) => {
      const word = name.trim();
      return word.toLowerCase().startsWith(agentUrn.toLowerCase()) ? scimUrns.user + word.slice(agentUrn.length) : name;
    }),
  );

/** What a request wants of an agent. */
export interface WantedAgent {
  name: string;
  description: string;
  /** `null`: not said. */
  ownerId: string | null;
  active: boolean | null;
}

const refuse = (detail: string) => new ScimRefusal('invalidValue', detail);

/** The one owner. @throws ScimRefusal `invalidValue` */
function readOwner(resource: Resource): string | null {
  const list: unknown[] = Array.isArray(resource.owners) ? resource.owners : [];
  const values = new Set(list.map((element) => (isObject(element) ? String(element.value) : '')));
  const given = new Set([...values].map((value) => canonicalId(value) ?? value));
  if (given.size > 1) throw refuse('owners: an agent has exactly one owner');
  const [owner] = given;
  if (owner === undefined) return null;
  return canonicalId(owner) ?? noSuchOwner();
}

export function noSuchOwner(): never {
  throw refuse('owners: the directory has no such user');
}

/** A word on `active` that only the schema's reader understood must not be answered with 200 and dropped. */
function toWanted(resource: Resource, said: Departure): WantedAgent {
  if (said === 'unclear') throw refuse('active: true or false is expected');
  const { description } = resource;
  return {
    name: requireName(resource, 'agentUserName'),
    description: typeof description === 'string' ? description : '',
    ownerId: readOwner(resource),
    active: said === 'unsaid' ? readBoolean(resource.active) : said === 'returns',
  };
}

/** POST and PUT. @throws ScimRefusal */
export const readWhole = (body: unknown, said: Departure, reading: Reading): WantedAgent =>
  toWanted(readResource(agentSchema, acceptName(body), reading), said);

/** PATCH. @throws ScimRefusal */
export function readPatch(current: DirectoryAgent, body: unknown, said: Departure, reading: Reading): WantedAgent {
  const { name, description, owner, isLive } = current;
  const before: Resource = {
    agentUserName: name,
    displayName: name,
    description,
    active: isLive,
    owners: [{ value: owner.id }],
  };
  const after = applyPatch(agentSchema, before, readOperations(acceptName(body), maxOperations), reading);
  const isRenamed = after.agentUserName !== name;
  const resource = isRenamed ? after : { ...after, agentUserName: after.displayName ?? name };
  const wanted = toWanted(resource, said);
  if (wanted.ownerId === null) throw refuse('owners: an agent has exactly one owner');
  // Only a word that was said counts: an agent may read inactive without being suspended.
  const active = wanted.active === isLive && said === 'unsaid' ? null : wanted.active;
  return { ...wanted, active };
}
