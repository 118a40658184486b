/** Calls: connect an IdP, and change the token that it speaks SCIM with. */
import { z } from '@hono/zod-openapi';
import * as directories from '../../domain/people/directories.ts';
import type { Db } from '../../platform/db/client.ts';
import { type Call, call } from './call.ts';
import { answeredInstant, exampleIds, exampleInstant, line, pageOf, paging, uuid } from './schemas.ts';

const kinds = directories.directoryKinds;
const members = {
  id: uuid,
  name: z.string(),
  kind: z.enum(kinds),
  scimUrl: z.url().openapi({ description: 'The SCIM 2.0 base URL to enter at the IdP.' }),
  createdAt: answeredInstant,
};
const directory = z.object(members).openapi('Directory');
const scimToken = z.string().openapi({ description: 'The bearer to enter at the IdP. Shown here and never again.' });
const newDirectory = z.object({ ...members, scimToken }).openapi('NewDirectory');

const example = {
  id: exampleIds.directory,
  name: 'Okta',
  kind: 'okta',
  scimUrl: 'https://writ.example.com/scim/v2',
  createdAt: exampleInstant,
};
const exampleToken = 'writ_scim_ZX3uJ0y0cO2m5sWq8hVtN1kR4bLpA7dGfEiY6uTxCvQ';
const maxGraceSeconds = 7 * 24 * 3600;

export function directoryCalls({ db, issuer }: { db: Db; issuer: string }): Call[] {
  const scimUrl = `${issuer}/scim/v2`;
  return [
    call({
      method: 'post',
      path: '/directories',
      operationId: 'createDirectory',
      tag: 'Directories',
      summary: 'Connect an identity provider',
      description: 'Answers the SCIM address and bearer token to enter there. One directory sees only its own people.',
      body: z.strictObject({
        name: line(200),
        kind: z.enum(kinds, { error: `has to be one of ${kinds.join(', ')}` }),
      }),
      example: { name: 'Okta', kind: 'okta' },
      status: 201,
      answer: newDirectory,
      answerExample: { ...example, scimToken: exampleToken },
      refusals: { 409: 'There is a directory of that name.' },
      run: async ({ body, act }) => ({ ...(await directories.createDirectory(db, act, body)), scimUrl }),
    }),
    call({
      method: 'get',
      path: '/directories',
      operationId: 'listDirectories',
      tag: 'Directories',
      summary: 'List directories',
      query: z.strictObject(paging),
      status: 200,
      answer: pageOf(directory),
      answerExample: { items: [example], nextCursor: null },
      run: async ({ query }) => {
        const { items, nextCursor } = await directories.listDirectories(db, query);
        return { items: items.map((item) => ({ ...item, scimUrl })), nextCursor };
      },
    }),
    call({
      method: 'get',
      path: '/directories/{id}',
      operationId: 'getDirectory',
      tag: 'Directories',
      summary: 'Read a directory',
      status: 200,
      answer: directory,
      answerExample: example,
      run: async ({ id }) => ({ ...(await directories.getDirectory(db, id)), scimUrl }),
    }),
    call({
      method: 'post',
      path: '/directories/{id}/rotate-token',
      operationId: 'rotateDirectoryToken',
      tag: 'Directories',
      summary: 'Replace the SCIM token',
      description: 'The older tokens end after `graceSeconds`; with 0, or without it, they are dead at once.',
      body: z.strictObject({
        graceSeconds: z.int().min(0).max(maxGraceSeconds).default(0),
      }),
      example: { graceSeconds: 3600 },
      status: 200,
      answer: z.object({ scimToken }),
      answerExample: { scimToken: exampleToken },
      run: ({ id, body, act }) => directories.rotateDirectoryToken(db, act, id, body.graceSeconds),
    }),
  ];
}
