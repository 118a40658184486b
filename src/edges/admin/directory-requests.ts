/** Calls: what an IdP has sent lately and what became of it, and a token for those who want to try for themselves. */
import { z } from '@hono/zod-openapi';
import { temporarySeconds } from '../../domain/people/directory-alarms.ts';
import { addTemporaryToken } from '../../domain/people/directory-tokens.ts';
import * as requests from '../../domain/people/scim-requests.ts';
import type { Db } from '../../platform/db/client.ts';
import { type Call, call } from './call.ts';
import { answeredInstant, exampleIds, exampleInstant, pageOf, paging } from './schemas.ts';

const request = z
  .object({
    id: z.int().openapi({ description: 'Grows with every request of any directory.' }),
    at: answeredInstant,
    requestId: z.string().openapi({ description: 'Under which the log and the audit log have more.' }),
    method: z.string(),
    path: z.string().openapi({ description: 'Below the SCIM base; of a filter the shape, without its values.' }),
    status: z.int(),
    scimType: z.string().nullable(),
    detail: z.string().nullable().openapi({ description: 'Why it, or all of it but a departure, was refused.' }),
    ignored: z.array(z.string()).openapi({ description: 'Parts that were left aside, by name.' }),
    effect: z.string().nullable().openapi({
      description:
        'created, changed, nothing, offboarded, returned, deleted, read, refused or failed; of a Bulk each with its number.',
    }),
    tookMs: z.number(),
    userAgent: z.string().nullable(),
  })
  .openapi('ScimRequest');

const example = {
  id: 4711,
  at: exampleInstant,
  requestId: '0b0e6d0e-3f5c-4a35-9a0a-6f0c6f0f7a11',
  method: 'PATCH',
  path: `/Users/${exampleIds.person}`,
  status: 200,
  scimType: null,
  detail: null,
  ignored: ['shoeSize'],
  effect: 'offboarded',
  tookMs: 14.2,
  userAgent: 'Okta SCIM Client 1.0.0',
};

export function directoryRequestCalls({ db }: { db: Db }): Call[] {
  return [
    call({
      method: 'get',
      path: '/directories/{id}/requests',
      operationId: 'listDirectoryRequests',
      tag: 'Directories',
      summary: 'List the last SCIM requests of a directory',
      description:
        'Newest first, about 200, without anybody’s values. Written a second after the answer: a request is never slower for it.',
      query: z.strictObject(paging),
      status: 200,
      answer: pageOf(request),
      answerExample: { items: [example], nextCursor: null },
      run: async ({ id, query }) => {
        const { items, nextCursor } = await requests.listRequests(db, id, query);
        return { items: items.map(({ directoryId: _, ...item }) => item), nextCursor };
      },
    }),
    call({
      method: 'post',
      path: '/directories/{id}/tokens',
      operationId: 'addDirectoryToken',
      tag: 'Directories',
      summary: 'Add a temporary SCIM token',
      description:
        'For a test of the connection, such as `writ directories doctor`. The IdP’s own token stays as it is.',
      body: z.strictObject({ ttlSeconds: z.int().min(1).max(temporarySeconds).default(temporarySeconds) }),
      example: { ttlSeconds: 300 },
      status: 200,
      answer: z.object({
        scimToken: z.string().openapi({ description: 'Shown here and never again.' }),
        expiresAt: answeredInstant,
      }),
      answerExample: {
        scimToken: 'writ_scim_ZX3uJ0y0cO2m5sWq8hVtN1kR4bLpA7dGfEiY6uTxCvQ',
        expiresAt: '2026-11-25T09:35:00.000Z',
      },
      run: ({ id, body, act }) => addTemporaryToken(db, act, id, body.ttlSeconds),
    }),
  ];
}
