/** Calls: register agents, find them, change them. What stops and starts them is in `agent-lifecycle.ts`. */
import { z } from '@hono/zod-openapi';
import * as agents from '../../domain/agents/agents.ts';
import * as owners from '../../domain/people/owner.ts';
import type { Db } from '../../platform/db/client.ts';
import { agent, agentExample, credential, leaverPolicy, newAgent, owner, status } from './agent-schemas.ts';
import { type Call, call } from './call.ts';
import {
  distinct,
  environment,
  exampleIds,
  instant,
  line,
  pageOf,
  paging,
  prose,
  taskIntent,
  uuid,
} from './schemas.ts';

const chosen = {
  project: line(200).nullable().optional().openapi({ description: 'For grouping and searching.' }),
  expiresAt: instant
    .nullable()
    .optional()
    .openapi({ description: 'From then on the agent gets no token. `null`: never.' }),
  leaverPolicy: leaverPolicy.nullable().optional().openapi({
    description:
      'What becomes of its tree when the owner leaves. `null`: what its environment says. Not for sub-agents.',
  }),
  deputy: owner.nullable().optional().openapi({
    description:
      'To whom its tree is offered by `handover`: somebody else than the owner, of any directory. Not for sub-agents.',
  }),
};
const intents = distinct(taskIntent, { min: 0, max: 500 }).openapi({
  description: 'Names from the catalogue that the agent may use. Write actions need an approval besides.',
});

const creation = z.strictObject({
  name: line(200),
  description: prose(2000).optional().openapi({ description: 'What it is for; reviewers read this.' }),
  owner: owner.optional().openapi({ description: 'Required, but for a sub-agent: that has the owner of its parent.' }),
  environment: environment
    .optional()
    .openapi({ description: 'Required, but for a sub-agent: that is where its parent is.' }),
  ...chosen,
  parent: uuid.optional().openapi({ description: 'The agent whose sub-agent this one is.' }),
  credential,
  intents: intents.optional(),
  status: z
    .enum(['pending', 'active'], { error: 'has to be pending or active' })
    .optional()
    .openapi({ description: '`pending`: it gets no token until it is activated. `active` when absent.' }),
});

const change = z.strictObject({
  name: line(200).optional(),
  description: prose(2000).optional(),
  ...chosen,
  credential: credential.optional(),
  intents: intents.optional(),
});

const parseInstant = (text: string | null | undefined): Date | null | undefined =>
  typeof text === 'string' ? new Date(text) : text;

const flatten = ({ agent, ...secret }: agents.AgentAndSecret): object => ({ ...agent, ...secret });

const exampleBody = {
  name: agentExample.name,
  description: agentExample.description,
  owner: 'ada@example.com',
  environment: agentExample.environment,
  credential: agentExample.credential,
  intents: agentExample.intents,
};

type Parts = { db: Db };

const findDeputy = async (db: Db, deputy: owners.OwnerName | null | undefined): Promise<string | null | undefined> =>
  deputy === null || deputy === undefined ? deputy : (await owners.findOwner(db, deputy, 'deputy')).id;

const creationCall = ({ db }: Parts): Call =>
  call({
    method: 'post',
    path: '/agents',
    operationId: 'createAgent',
    tag: 'Agents',
    summary: 'Register an agent',
    description:
      'The agent’s `id` is its OAuth `client_id`. With `{secret: true}` the secret is in this answer and nowhere else.',
    body: creation,
    example: exampleBody,
    status: 201,
    answer: newAgent,
    answerExample: agentExample,
    refusals: {
      409: 'The owner, the deputy or the parent is not live, or the userName of a person stands in two directories.',
    },
    run: async ({ body: { owner, deputy, expiresAt, ...body }, act }) => {
      const ownerId = owner === undefined ? undefined : (await owners.findOwner(db, owner)).id;
      const deputyId = await findDeputy(db, deputy);
      return flatten(
        await agents.createAgent(db, act, { ...body, ownerId, deputyId, expiresAt: parseInstant(expiresAt) }),
      );
    },
  });

const readingCalls = ({ db }: Parts): Call[] => [
  call({
    method: 'get',
    path: '/agents',
    operationId: 'listAgents',
    tag: 'Agents',
    summary: 'List agents',
    query: z.strictObject({
      owner: line(256).optional().openapi({ description: 'A person’s id, or a userName.' }),
      status: status.optional(),
      environment: environment.optional(),
      intent: taskIntent.optional(),
      name: line(200).optional().openapi({ description: 'The whole name.' }),
      ...paging,
    }),
    status: 200,
    answer: pageOf(agent),
    answerExample: { items: [agentExample], nextCursor: null },
    run: async ({ query: { cursor, limit, owner, ...filter } }) => {
      const ownerId = owner === undefined ? undefined : (await owners.findOwner(db, owner)).id;
      return agents.listAgents(db, { ...filter, owner: ownerId }, { cursor, limit });
    },
  }),
  call({
    method: 'get',
    path: '/agents/{id}',
    operationId: 'getAgent',
    tag: 'Agents',
    summary: 'Read an agent',
    status: 200,
    answer: agent,
    answerExample: agentExample,
    run: ({ id }) => agents.getAgent(db, id),
  }),
  call({
    method: 'get',
    path: '/agents/{id}/descendants',
    operationId: 'listDescendants',
    tag: 'Agents',
    summary: 'List the sub-agents of an agent',
    description: 'All of them, at every depth. What stops the agent stops them too.',
    query: z.strictObject(paging),
    status: 200,
    answer: pageOf(agent),
    answerExample: {
      items: [{ ...agentExample, id: exampleIds.client, clientId: exampleIds.client, parent: exampleIds.agent }],
      nextCursor: null,
    },
    run: ({ id, query }) => agents.listDescendants(db, id, query),
  }),
];

const changeCall = ({ db }: Parts): Call =>
  call({
    method: 'patch',
    path: '/agents/{id}',
    operationId: 'changeAgent',
    tag: 'Agents',
    summary: 'Change an agent',
    description:
      'Members that are left out stay as they are; the result is checked whole, like a new agent. Tokens end when an ' +
      'intent is withdrawn or a credential replaced.',
    body: change,
    example: { intents: ['incident_remediation.ticket_update', 'crm.contact_lookup'] },
    status: 200,
    answer: newAgent,
    answerExample: agentExample,
    refusals: { 409: 'The agent is decommissioned, or the deputy is not live.' },
    run: async ({ id, body: { deputy, expiresAt, ...body }, act }) => {
      const deputyId = await findDeputy(db, deputy);
      return flatten(await agents.changeAgent(db, act, id, { ...body, deputyId, expiresAt: parseInstant(expiresAt) }));
    },
  });

export const agentCalls = (parts: Parts): Call[] => [creationCall(parts), ...readingCalls(parts), changeCall(parts)];
