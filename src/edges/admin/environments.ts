/** Calls: what becomes of the agents of an environment when their owner leaves. */
import { z } from '@hono/zod-openapi';
import * as environments from '../../domain/agents/environments.ts';
import type { Db } from '../../platform/db/client.ts';
import { leaverPolicy } from './agent-schemas.ts';
import { type Call, call } from './call.ts';
import { pageOf, paging } from './schemas.ts';

const { quarantineSeconds, handoverSeconds } = environments.defaults;

const environment = z
  .object({
    name: z.string(),
    leaverPolicy: leaverPolicy.openapi({ description: 'Of agents that have none of their own.' }),
    quarantineSeconds: z.int().openapi({ description: 'How long agents in `quarantine` may read on.' }),
    handoverSeconds: z.int().openapi({ description: 'Within which time a `handover` has to be accepted.' }),
  })
  .openapi('Environment');

/** A span between a minute and `maxDays`, as the database has it too. */
const span = (maxDays: number, absent: number) =>
  z
    .int()
    .min(60)
    .max(maxDays * 86_400)
    .optional()
    .openapi({ description: `From a minute to ${maxDays} days; ${absent} when absent.` });

const rules = z.strictObject({
  leaverPolicy,
  quarantineSeconds: span(30, quarantineSeconds),
  handoverSeconds: span(90, handoverSeconds),
});

const example = { name: 'production', leaverPolicy: 'quarantine' as const, quarantineSeconds: 14_400, handoverSeconds };

export const environmentCalls = ({ db }: { db: Db }): Call[] => [
  call({
    method: 'get',
    path: '/environments',
    operationId: 'listEnvironments',
    tag: 'Environments',
    summary: 'List environments',
    description: 'By name: those that have an API, or rules of their own.',
    query: z.strictObject(paging),
    status: 200,
    answer: pageOf(environment),
    answerExample: { items: [example], nextCursor: null },
    run: ({ query }) => environments.listEnvironments(db, query),
  }),
  call({
    method: 'get',
    path: '/environments/{name}',
    operationId: 'getEnvironment',
    tag: 'Environments',
    summary: 'Read the rules of an environment',
    description: 'Any name has rules: the defaults, unless others were set.',
    status: 200,
    answer: environment,
    answerExample: example,
    run: ({ id }) => environments.getEnvironment(db, id),
  }),
  call({
    method: 'put',
    path: '/environments/{name}',
    operationId: 'setEnvironment',
    tag: 'Environments',
    summary: 'Set the rules of an environment',
    description:
      'The whole of them: a time that is left out is the default again. They are read when somebody leaves; what a ' +
      'departure has already done stays.',
    body: rules,
    example: { leaverPolicy: 'quarantine', quarantineSeconds: 14_400 },
    status: 200,
    answer: environment,
    answerExample: example,
    run: ({ id, body, act }) => environments.setEnvironment(db, act, id, body),
  }),
];
