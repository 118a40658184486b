/** Calls: stop an agent, start it again, end it for good, give it to somebody else. Each with the reason. */
import { z } from '@hono/zod-openapi';
import * as lifecycle from '../../domain/agents/lifecycle.ts';
import type { Act } from '../../domain/audit/append.ts';
import * as owners from '../../domain/people/owner.ts';
import type { Db } from '../../platform/db/client.ts';
import { agent, agentExample, owner } from './agent-schemas.ts';
import { type Call, call } from './call.ts';
import { reason } from './schemas.ts';

interface Change {
  verb: 'suspend' | 'activate' | 'decommission';
  summary: string;
  description: string;
  reason: string;
  after: object;
  refused?: string;
  run: (db: Db, act: Act, id: string, reason: string) => Promise<object>;
}

const changes: Change[] = [
  {
    verb: 'suspend',
    summary: 'Suspend an agent',
    description: 'It and its descendants get no more tokens, and those they have are dead.',
    reason: 'Unusual traffic; see INC-4711.',
    after: { status: 'suspended', live: false },
    refused: 'The agent is decommissioned.',
    run: lifecycle.suspendAgent,
  },
  {
    verb: 'activate',
    summary: 'Activate an agent',
    description:
      'Makes a pending or suspended agent active again. Refused while the owner is not active. Of a tree whose owner has ' +
      'returned it ends the quarantine, or the offer to somebody else.',
    reason: 'Reviewed: the traffic was a load test.',
    after: {},
    refused: 'The owner is not active, or the agent is decommissioned.',
    run: lifecycle.activateAgent,
  },
  {
    verb: 'decommission',
    summary: 'Decommission an agent',
    description: 'For good: nothing brings it back. Its descendants are decommissioned with it.',
    reason: 'The project has ended.',
    after: { status: 'decommissioned', live: false },
    run: lifecycle.decommissionAgent,
  },
];

export const lifecycleCalls = ({ db }: { db: Db }): Call[] => [
  ...changes.map(({ verb, summary, description, reason: exampleReason, after, refused, run }) =>
    call({
      method: 'post',
      path: `/agents/{id}/${verb}`,
      operationId: `${verb}Agent`,
      tag: 'Agents',
      summary,
      description,
      body: z.strictObject({ reason }),
      example: { reason: exampleReason },
      status: 200,
      answer: agent,
      answerExample: { ...agentExample, ...after },
      ...(refused === undefined ? {} : { refusals: { 409: refused } }),
      run: ({ id, body, act }) => run(db, act, id, body.reason),
    }),
  ),
  call({
    method: 'post',
    path: '/agents/{id}/transfer',
    operationId: 'transferAgent',
    tag: 'Agents',
    summary: 'Give an agent to another owner',
    description:
      'A whole tree moves, from its root. Tokens issued under the former owner are dead, and what the former owner’s ' +
      'departure has left of the tree, a quarantine or an offer, has ended.',
    body: z.strictObject({ owner, reason }),
    example: { owner: 'grace@example.com', reason: 'Ada has left; Grace runs incident response now.' },
    status: 200,
    answer: agent,
    answerExample: agentExample,
    refusals: { 409: 'The agent is a sub-agent, or the new owner is not active.' },
    run: async ({ id, body, act }) => {
      const { id: ownerId } = await owners.findOwner(db, body.owner);
      return lifecycle.transferAgent(db, act, id, ownerId, body.reason);
    },
  }),
];
