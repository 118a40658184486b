/** Calls: the catalogue of named tasks. */
import { z } from '@hono/zod-openapi';
import * as intents from '../../domain/intents/intents.ts';
import type { Db } from '../../platform/db/client.ts';
import { actions, isWriteAction, readActions, risks } from '../../protocol.ts';
import { type Call, call } from './call.ts';
import {
  answeredInstant,
  distinct,
  exampleIds,
  exampleInstant,
  line,
  pageOf,
  paging,
  prose,
  taskIntent,
  uuid,
} from './schemas.ts';

const newIntent = z
  .strictObject({
    taskIntent,
    description: prose(2000),
    apis: distinct(z.string().max(512), { min: 1, max: 100 }).openapi({
      description: 'Identifiers of registered APIs.',
    }),
    actions: distinct(z.enum(actions, { error: `has to be one of ${actions.join(', ')}` }), {
      min: 1,
      max: actions.length,
    }),
    datatypes: distinct(line(128), { min: 0, max: 100 }).openapi({ description: 'What it is done to.' }),
    risk: z
      .enum(risks, { error: `has to be one of ${risks.join(', ')}` })
      .openapi({ description: '`read` admits only the actions read, list and search.' }),
  })
  .refine((intent) => intent.risk !== 'read' || !intent.actions.some(isWriteAction), {
    error: `risk read admits only ${readActions.join(', ')}`,
    path: ['actions'],
    // Also when other members are wrong: everything is told at once.
    when: ({ value }) =>
      typeof value === 'object' && value !== null && 'actions' in value && Array.isArray(value.actions),
  });

const intent = z
  .object({
    id: uuid,
    taskIntent: z.string(),
    description: z.string(),
    apis: z.array(z.string()),
    actions: z.array(z.enum(actions)),
    datatypes: z.array(z.string()),
    risk: z.enum(risks),
    groups: z.array(uuid).openapi({
      description:
        'Ids of the groups that it is kept for: only agents whose owner is in one of them may use it. Empty: anybody’s.',
    }),
    createdAt: answeredInstant,
  })
  .openapi('Intent');

const exampleIntent = {
  taskIntent: 'incident_remediation.ticket_update',
  description: 'Update the ticket of an incident that is being remediated.',
  apis: ['https://crm.example.com'],
  actions: ['read', 'update'],
  datatypes: ['ticket'],
  risk: 'write',
};
const example = { id: exampleIds.intent, ...exampleIntent, groups: [], createdAt: exampleInstant };

export function intentCalls({ db }: { db: Db }): Call[] {
  return [
    call({
      method: 'post',
      path: '/intents',
      operationId: 'createIntent',
      tag: 'Intents',
      summary: 'Add an intent to the catalogue',
      description: 'A named task: which actions, on which kinds of things, at which APIs. An intent is never changed.',
      body: newIntent,
      example: exampleIntent,
      status: 201,
      answer: intent,
      answerExample: example,
      refusals: { 409: 'There is an intent of that name.' },
      run: ({ body, act }) => intents.createIntent(db, act, body),
    }),
    call({
      method: 'get',
      path: '/intents',
      operationId: 'listIntents',
      tag: 'Intents',
      summary: 'List intents',
      query: z.strictObject({ taskIntent: taskIntent.optional(), ...paging }),
      status: 200,
      answer: pageOf(intent),
      answerExample: { items: [example], nextCursor: null },
      run: ({ query: { taskIntent, ...page } }) => intents.listIntents(db, { taskIntent }, page),
    }),
    call({
      method: 'get',
      path: '/intents/{id}',
      operationId: 'getIntent',
      tag: 'Intents',
      summary: 'Read an intent',
      status: 200,
      answer: intent,
      answerExample: example,
      run: ({ id }) => intents.getIntent(db, id),
    }),
  ];
}
