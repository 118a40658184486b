/**
 * Calls: agents that were offered to somebody when their owner left. Until people sign in themselves an administrator
 * answers, on the word of the person to whom they are offered.
 */
import { z } from '@hono/zod-openapi';
import * as handovers from '../../domain/agents/handovers.ts';
import type { Act } from '../../domain/audit/append.ts';
import * as owners from '../../domain/people/owner.ts';
import type { Db } from '../../platform/db/client.ts';
import { type Call, call } from './call.ts';
import { answeredInstant, exampleIds, exampleInstant, line, pageOf, paging, reason, uuid } from './schemas.ts';

const states = ['offered', 'accepted', 'declined', 'withdrawn', 'expired'] as const;
const state = z.enum(states, { error: `has to be one of ${states.join(', ')}` });
const person = z.object({ id: uuid, userName: z.string() });

const handover = z
  .object({
    id: uuid,
    agent: z.object({ id: uuid, name: z.string() }).openapi({ description: 'The root: its whole tree is offered.' }),
    offboarding: uuid.openapi({ description: 'The departure that it comes from.' }),
    from: person.openapi({ description: 'Who has left.' }),
    to: person.openapi({ description: 'Who may accept it.' }),
    state: state.openapi({
      description:
        '`withdrawn`: the tree was transferred, activated or decommissioned meanwhile; `expired`: nobody answered in time.',
    }),
    offeredAt: answeredInstant,
    expiresAt: answeredInstant.openapi({ description: 'From then on it can neither be accepted nor declined.' }),
    decidedAt: answeredInstant.nullable(),
    decidedBy: z.string().nullable().openapi({ description: 'Who said so to Writ.' }),
    reason: z.string().nullable(),
  })
  .openapi('Handover');

const offered = {
  id: exampleIds.handover,
  agent: { id: exampleIds.agent, name: 'incident-bot' },
  offboarding: exampleIds.offboarding,
  from: { id: exampleIds.person, userName: 'ada@example.com' },
  to: { id: exampleIds.deputy, userName: 'grace@example.com' },
  state: 'offered',
  offeredAt: exampleInstant,
  expiresAt: '2026-12-02T09:30:00.000Z',
  decidedAt: null,
  decidedBy: null,
  reason: null,
};

interface Answer {
  verb: 'accept' | 'decline';
  summary: string;
  description: string;
  reason: string;
  state: 'accepted' | 'declined';
  refused: string;
  run: (db: Db, act: Act, id: string, reason: string) => Promise<object>;
}

const answers: Answer[] = [
  {
    verb: 'accept',
    summary: 'Accept a handover',
    description: 'On the word of the person to whom it is offered: the tree is theirs, and works again.',
    reason: 'Grace takes it over, see OPS-1201.',
    state: 'accepted',
    refused: 'It is not open any more, or that person is not active.',
    run: handovers.acceptHandover,
  },
  {
    verb: 'decline',
    summary: 'Decline a handover',
    description: 'On the word of the person to whom it is offered: the tree stays stopped.',
    reason: 'Nobody needs it any more.',
    state: 'declined',
    refused: 'It is not open any more.',
    run: handovers.declineHandover,
  },
];

export const handoverCalls = ({ db }: { db: Db }): Call[] => [
  call({
    method: 'get',
    path: '/handovers',
    operationId: 'listHandovers',
    tag: 'Handovers',
    summary: 'List handovers',
    description: 'Oldest first.',
    query: z.strictObject({
      state: state.optional(),
      to: line(256).optional().openapi({ description: 'A person’s id, or a userName.' }),
      agent: uuid.optional().openapi({ description: 'The root of a tree.' }),
      offboarding: uuid.optional(),
      ...paging,
    }),
    status: 200,
    answer: pageOf(handover),
    answerExample: { items: [offered], nextCursor: null },
    run: async ({ query: { cursor, limit, to, ...filter } }) => {
      const person = to === undefined ? undefined : (await owners.findOwner(db, to, 'to')).id;
      return handovers.listHandovers(db, { ...filter, to: person }, { cursor, limit });
    },
  }),
  call({
    method: 'get',
    path: '/handovers/{id}',
    operationId: 'getHandover',
    tag: 'Handovers',
    summary: 'Read a handover',
    status: 200,
    answer: handover,
    answerExample: offered,
    run: ({ id }) => handovers.getHandover(db, id),
  }),
  ...answers.map(({ verb, summary, description, reason: exampleReason, state, refused, run }) =>
    call({
      method: 'post',
      path: `/handovers/{id}/${verb}`,
      operationId: `${verb}Handover`,
      tag: 'Handovers',
      summary,
      description,
      body: z.strictObject({ reason }),
      example: { reason: exampleReason },
      status: 200,
      answer: handover,
      answerExample: {
        ...offered,
        state,
        decidedAt: '2026-11-26T08:12:00.000Z',
        decidedBy: 'bootstrap',
        reason: exampleReason,
      },
      refusals: { 409: refused },
      run: ({ id, body, act }) => run(db, act, id, body.reason),
    }),
  ),
];
