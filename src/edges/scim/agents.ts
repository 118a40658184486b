/**
 * `/Agents` (draft-wzdk-scim-agent-resource-00, an individual draft that moves): there only for directories for which it is
 * switched on. A directory sees the agents of its own people. What it does to them is what an administrator does by
 * name: suspend, activate, transfer, change, decommission; each a transaction of its own, with the directory as the actor.
 *
 * Whatever says that an agent is to stop is done first, and stays done whatever becomes of the rest of the request: as
 * with a person's departure, neither nonsense beside it, nor a body that is not quite JSON, nor a stale If-Match, nor the
 * rate of the directory refuses it; the answer then shows the state that came of it.
 *
 * An agent that is created here has a secret that nobody has seen and no intents: an administrator gives it the credential
 * that it is to have, and what it may do.
 */
import { changeAgent, createAgent } from '../../domain/agents/agents.ts';
import {
  type DirectoryAgent,
  findDirectoryAgents,
  readDirectoryAgent,
  readOwner,
  toNewAgent,
  withFreeName,
} from '../../domain/agents/directory-agents.ts';
import { activateAgent, decommissionAgent, suspendAgent, transferAgent } from '../../domain/agents/lifecycle.ts';
import { WritError } from '../../errors.ts';
import { agentSchema } from './agent-schema.ts';
import { toAgentCondition, toAgentOrder } from './agents-filter.ts';
import { noSuchOwner, readPatch, readSuspension, readWhole, renderAgent, type WantedAgent } from './agents-wire.ts';
import {
  answer,
  baseOf,
  checkVersion,
  directoryOf,
  idOf,
  isKnown,
  notModified,
  queryOf,
  readChange,
  readingOf,
  readJson,
  type ScimContext,
  type ScimDeps,
} from './call.ts';
import { ScimRefusal, StaleVersion, toFailure } from './errors.ts';
import { parseFilter } from './filter.ts';
import { type ListRequest, listResponse, readListRequest, readSearchRequest } from './list.ts';
import { project, readProjection, toProjection } from './projection.ts';
import { noteEffect, noteRefusal } from './trace.ts';
import { etagOf } from './wire.ts';

const nothingHere = () => new WritError('not_found', 'There is nothing at this path.');
const noSuchAgent = () => new WritError('not_found', 'no such agent');

/** Where agents that the directory creates live. @throws WritError `not_found` when it has no agents. */
export function environmentOf(c: ScimContext): string {
  const { agentsEnvironment } = directoryOf(c);
  if (agentsEnvironment === null) throw nothingHere();
  return agentsEnvironment;
}

export async function listAgents(deps: ScimDeps, c: ScimContext): Promise<Response> {
  environmentOf(c);
  return answerList(deps, c, readListRequest(queryOf(c)));
}

/** `POST /Agents/.search` (RFC 7644 §3.4.3). */
export async function searchAgents(deps: ScimDeps, c: ScimContext): Promise<Response> {
  environmentOf(c);
  return answerList(deps, c, readSearchRequest(await readJson(c)));
}

async function answerList(deps: ScimDeps, c: ScimContext, request: ListRequest): Promise<Response> {
  const { filter, sortBy, isDescending, startIndex, count, cursor } = request;
  if (cursor !== null) throw new ScimRefusal('invalidCursor', 'cursor: agents are paged by startIndex');
  const found = await findDirectoryAgents(
    deps.db,
    directoryOf(c).id,
    filter === null ? null : toAgentCondition(parseFilter(filter)),
    { order: toAgentOrder(sortBy, isDescending), offset: startIndex - 1, limit: count },
  );
  const projection = toProjection(agentSchema, request);
  const resources = found.agents.map((agent) => project(renderAgent(baseOf(deps), agent), projection));
  return answer(c, listResponse(resources, found.total, startIndex));
}

/** The agent in the path, as it stands. @throws WritError `not_found`: also when it is another directory's. */
async function readAgent(deps: ScimDeps, c: ScimContext): Promise<DirectoryAgent> {
  environmentOf(c);
  return (await readDirectoryAgent(deps.db, directoryOf(c).id, idOf(c))) ?? refuseUnknown();
}

const refuseUnknown = (): never => {
  throw noSuchAgent();
};

export async function getAgent(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const agent = await readAgent(deps, c);
  return isKnown(c, agent) ? notModified(c, agent) : answerAgent(deps, c, agent);
}

function answerAgent(deps: ScimDeps, c: ScimContext, agent: DirectoryAgent, status: 200 | 201 = 200): Response {
  c.header('ETag', etagOf(agent));
  if (status === 201) c.header('Location', `${baseOf(deps)}/Agents/${agent.id}`);
  return answer(c, project(renderAgent(baseOf(deps), agent), readProjection(agentSchema, queryOf(c))), status);
}

/** A state that stands in the way is no name that is taken, which is what 409 says here. */
async function tellingWhy<T>(act: Promise<T>): Promise<T> {
  try {
    return await act;
  } catch (error) {
    if (!(error instanceof WritError) || error.code !== 'conflict') throw error;
    throw new ScimRefusal('invalidValue', error.detail);
  }
}

/** @throws ScimRefusal `invalidValue` when it is nobody of this directory. */
const requireOwner = async (deps: ScimDeps, c: ScimContext, ownerId: string): Promise<DirectoryAgent['owner']> =>
  (await readOwner(deps.db, directoryOf(c).id, ownerId)) ?? noSuchOwner();

/** POST. Without `active` the agent is active; not active, it is pending. */
export async function createAgentOf(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const environment = environmentOf(c);
  const directoryId = directoryOf(c).id;
  const body = await readJson(c);
  const { name, description, ownerId, active } = readWhole(body, readSuspension('POST', body), readingOf(c));
  if (ownerId === null) throw new ScimRefusal('invalidValue', 'owners: an agent has exactly one owner');
  const owner = await requireOwner(deps, c, ownerId);
  const status = active === false ? 'pending' : 'active';
  const credential = { secret: true } as const;
  const { agent } = await withFreeName(deps.db, directoryId, { name }, () =>
    tellingWhy(createAgent(deps.db, c.get('act'), { name, description, ownerId, environment, credential, status })),
  );
  noteEffect(c.get('trace'), 'created');
  return answerAgent(deps, c, toNewAgent(agent, owner), 201);
}

/** What refuses a request, and not the suspension in it. Anything else is a failure, and has to be told. */
const isRefusal = (error: unknown): boolean =>
  error instanceof ScimRefusal ||
  error instanceof StaleVersion ||
  (error instanceof WritError && ['invalid_request', 'conflict', 'unsupported_media_type'].includes(error.code));

/** PUT and PATCH. */
export async function changeAgentOf(deps: ScimDeps, c: ScimContext): Promise<Response> {
  environmentOf(c);
  idOf(c);
  const { body, refusal } = await readChange(c);
  const said = readSuspension(c.req.method, body);
  if (refusal !== null && said !== 'leaves') throw refusal;
  const current = await readAgent(deps, c);
  const { id } = current;
  if (said === 'leaves') await suspend(deps, c, id);
  try {
    if (refusal !== null) throw refusal;
    checkVersion(c, current);
    const wanted =
      c.req.method === 'PUT' ? readWhole(body, said, readingOf(c)) : readPatch(current, body, said, readingOf(c));
    await applyRest(deps, c, current, wanted);
  } catch (error) {
    if (said !== 'leaves' || !isRefusal(error)) throw error;
    noteRefusal(c.get('trace'), toFailure(error));
  }
  const after = await readAgent(deps, c);
  noteEffect(c.get('trace'), after.version === current.version ? 'nothing' : 'changed');
  return answerAgent(deps, c, after);
}

async function suspend(deps: ScimDeps, c: ScimContext, id: string): Promise<void> {
  try {
    await suspendAgent(deps.db, c.get('act'), id, 'the directory says that it is not active');
  } catch (error) {
    if (!(error instanceof WritError) || error.code !== 'conflict') throw error;
    // It is decommissioned by now, which is no less, or it is changing hands, which is over in a moment.
    await readAgent(deps, c);
    throw new WritError('unavailable', 'the agent is being changed by others', { cause: error });
  }
}

/** In this order: an owner who is there is what an activation may have been lacking. */
async function applyRest(deps: ScimDeps, c: ScimContext, current: DirectoryAgent, wanted: WantedAgent): Promise<void> {
  const { id } = current;
  const { name, description, ownerId, active } = wanted;
  const act = c.get('act');
  const isTransferred = ownerId !== null && ownerId !== current.owner.id;
  if (isTransferred) await requireOwner(deps, c, ownerId);
  const change = () => tellingWhy(changeAgent(deps.db, act, id, { name, description }));
  if (name !== current.name) {
    await withFreeName(deps.db, directoryOf(c).id, { name, except: id }, change);
  } else if (description !== current.description) await change();
  if (isTransferred) {
    await tellingWhy(transferAgent(deps.db, act, current.rootId, ownerId, 'the directory names another owner'));
  }
  if (active === false) await suspend(deps, c, id);
  if (active === true && !current.isLive) {
    await tellingWhy(activateAgent(deps.db, act, id, 'the directory says that it is active'));
  }
}

/** DELETE: for good, with everything below it. It stops something, so a stale If-Match does not refuse it. */
export async function deleteAgent(deps: ScimDeps, c: ScimContext): Promise<Response> {
  const { id } = await readAgent(deps, c);
  await decommissionAgent(deps.db, c.get('act'), id, 'the directory has deleted it');
  noteEffect(c.get('trace'), 'deleted');
  return c.body(null, 204);
}
