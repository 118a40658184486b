/** Calls: register the APIs that agents call. */
import { z } from '@hono/zod-openapi';
import * as apis from '../../domain/intents/apis.ts';
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import { signingAlgorithms } from '../../protocol.ts';
import { type Call, call } from './call.ts';
import {
  answeredInstant,
  distinct,
  environment,
  exampleIds,
  exampleInstant,
  line,
  pageOf,
  paging,
  uuid,
} from './schemas.ts';

/** The domain's own parser, so that what is wrong with an identifier is told together with everything else. */
const identifier = z
  .string()
  .superRefine((text, context) => {
    try {
      apis.parseApiIdentifier(text);
    } catch (error) {
      if (!(error instanceof WritError)) throw error;
      context.addIssue({ code: 'custom', message: error.detail.replace(/^identifier: /, '') });
    }
  })
  .openapi({
    description:
      'The `resource` that agents ask for and the `aud` of their tokens: an https URL without user information, query ' +
      'and fragment (http only on loopback). Compared as written.',
    example: 'https://crm.example.com',
  });

const tokenTtlSeconds = z.int().min(30).max(900);
/** RFC 6749 §3.3. */
const scope = z
  .string()
  .max(128)
  .regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, { error: 'is not a scope token (RFC 6749, section 3.3)' });
const agent = uuid.openapi({
  description: 'The agent that answers at this API, if one does: it may exchange the tokens that were made for it.',
});

const registration = z.strictObject({
  identifier,
  name: line(200),
  environment,
  tokenTtlSeconds: tokenTtlSeconds.optional().openapi({ default: 300, description: 'Life of its tokens.' }),
  scopes: distinct(scope, { min: 0, max: 100 }).optional(),
  signingAlgorithm: z.enum(signingAlgorithms).optional().openapi({ default: 'ES256' }),
  agent: agent.optional(),
});
const change = z.strictObject({
  name: line(200).optional(),
  tokenTtlSeconds: tokenTtlSeconds.optional(),
  agent: agent.nullable().optional(),
});

const members = {
  id: uuid,
  identifier: z.string(),
  name: z.string(),
  environment: z.string(),
  tokenTtlSeconds: z.int(),
  scopes: z.array(z.string()),
  signingAlgorithm: z.enum(signingAlgorithms),
  agent: uuid.nullable(),
  createdAt: answeredInstant,
};
const clientId = uuid.openapi({ description: 'Authenticates the feed, introspection and decisions (HTTP Basic).' });
const api = z.object({ ...members, feedCredentials: z.object({ clientId }) }).openapi('Api');
const clientSecret = z.string().openapi({ description: 'Shown here and never again.' });
const newApi = z.object({ ...members, feedCredentials: z.object({ clientId, clientSecret }) }).openapi('NewApi');

const example = {
  id: exampleIds.api,
  identifier: 'https://crm.example.com',
  name: 'CRM',
  environment: 'production',
  tokenTtlSeconds: 300,
  scopes: [],
  signingAlgorithm: 'ES256',
  agent: null,
  createdAt: exampleInstant,
  feedCredentials: { clientId: exampleIds.client },
};

export function apiCalls({ db }: { db: Db }): Call[] {
  return [
    call({
      method: 'post',
      path: '/apis',
      operationId: 'createApi',
      tag: 'APIs',
      summary: 'Register an API',
      body: registration,
      example: { identifier: 'https://crm.example.com', name: 'CRM', environment: 'production' },
      status: 201,
      answer: newApi,
      answerExample: {
        ...example,
        feedCredentials: {
          clientId: exampleIds.client,
          clientSecret: 'writ_feed_hT5wE2nB9qLxK0vRjYc7UoMs4DfPaZgI6t1GyVbN3eX',
        },
      },
      refusals: { 409: 'The identifier is registered.' },
      run: ({ body, act }) => apis.createApi(db, act, body),
    }),
    call({
      method: 'get',
      path: '/apis',
      operationId: 'listApis',
      tag: 'APIs',
      summary: 'List APIs',
      query: z.strictObject(paging),
      status: 200,
      answer: pageOf(api),
      answerExample: { items: [example], nextCursor: null },
      run: ({ query }) => apis.listApis(db, query),
    }),
    call({
      method: 'get',
      path: '/apis/{id}',
      operationId: 'getApi',
      tag: 'APIs',
      summary: 'Read an API',
      status: 200,
      answer: api,
      answerExample: example,
      run: ({ id }) => apis.getApi(db, id),
    }),
    call({
      method: 'patch',
      path: '/apis/{id}',
      operationId: 'changeApi',
      tag: 'APIs',
      summary: 'Change an API',
      description: 'Members that are left out stay as they are. A shorter life holds for tokens issued from now on.',
      body: change,
      example: { tokenTtlSeconds: 120 },
      status: 200,
      answer: api,
      answerExample: { ...example, tokenTtlSeconds: 120 },
      run: ({ id, body, act }) => apis.changeApi(db, act, id, body),
    }),
  ];
}
