/** Calls: connect an IdP, say what holds for its people, and change the token that it speaks SCIM with. */
import { z } from '@hono/zod-openapi';
import * as directories from '../../domain/people/directories.ts';
import { type TokenView, tokensOf } from '../../domain/people/directory-tokens.ts';
import type { Db } from '../../platform/db/client.ts';
import { type Call, call } from './call.ts';
import { answeredInstant, environment, exampleIds, exampleInstant, line, pageOf, paging, uuid } from './schemas.ts';

const kinds = directories.directoryKinds;
const kind = z.enum(kinds, { error: `has to be one of ${kinds.join(', ')}` });
const settings = {
  massDeparturePercent: z.int().min(1).max(100).nullable().openapi({
    description: 'More than this share of its people leaving within an hour needs a confirmation; `null`: never.',
  }),
  scimAgents: z.boolean().openapi({ description: 'Whether its IdP sees and makes agents under `/Agents`.' }),
  scimAgentsEnvironment: environment.openapi({ description: 'Where agents live that its IdP makes.' }),
  silenceAfterSeconds: z.int().min(60).max(31_536_000).nullable().openapi({
    description: 'Without a request for so long it has fallen silent, which is an alarm; `null`: never.',
  }),
  requestsPerMinute: z.int().min(1).max(1_000_000).nullable().openapi({
    description: 'SCIM requests; `null`: the rate of the server. What says that somebody has left is never refused.',
  }),
};
const requiredGroup = uuid.nullable().openapi({
  description: 'A group of this directory: whoever is not in it is not live. `null`: none is required.',
});
/** Minutes to ten years. */
const tokenTtlSeconds = z.int().min(60).max(315_360_000).optional().openapi({
  description: 'After so long the token ends; without it, never.',
});

const members = {
  id: uuid,
  name: z.string(),
  kind: z.enum(kinds),
  requiredGroup,
  ...settings,
  scimUrl: z.url().openapi({ description: 'The SCIM 2.0 base URL to enter at the IdP.' }),
  createdAt: answeredInstant,
  lastContactAt: answeredInstant.nullable().openapi({ description: 'When it last sent a request, to ten seconds.' }),
  silentSince: answeredInstant.nullable().openapi({ description: 'Since when its silence is an alarm.' }),
  tokens: z
    .array(z.object({ createdAt: answeredInstant, expiresAt: answeredInstant.nullable() }))
    .openapi({ description: 'The SCIM tokens that work; `expiresAt` `null`: it does not end.' }),
};
const directory = z.object(members).openapi('Directory');
const scimToken = z.string().openapi({ description: 'The bearer to enter at the IdP. Shown here and never again.' });
const newToken = { scimToken, scimTokenExpiresAt: answeredInstant.nullable() };
const newDirectory = z.object({ ...members, ...newToken }).openapi('NewDirectory');
const departed = z.int().openapi({ description: 'How many left, because they are not in the group.' });
const changedDirectory = z.object({ ...members, departed }).openapi('ChangedDirectory');

const example = {
  id: exampleIds.directory,
  name: 'Okta',
  kind: 'okta',
  requiredGroup: null,
  massDeparturePercent: 10,
  scimAgents: false,
  scimAgentsEnvironment: 'sandbox',
  silenceAfterSeconds: 86_400,
  requestsPerMinute: null,
  scimUrl: 'https://writ.example.com/scim/v2',
  createdAt: exampleInstant,
  lastContactAt: exampleInstant,
  silentSince: null,
  tokens: [{ createdAt: exampleInstant, expiresAt: null }],
};
const exampleToken = 'writ_scim_ZX3uJ0y0cO2m5sWq8hVtN1kR4bLpA7dGfEiY6uTxCvQ';
const maxGraceSeconds = 7 * 24 * 3600;

const lowerGroup = <Body extends { requiredGroup?: string | null | undefined }>(body: Body): Body =>
  typeof body.requiredGroup === 'string' ? { ...body, requiredGroup: body.requiredGroup.toLowerCase() } : body;

/** A directory with what is read beside it. */
type Show = <Known extends { id: string }>(known: Known) => Promise<Known & { scimUrl: string; tokens: TokenView[] }>;

export function directoryCalls({ db, issuer }: { db: Db; issuer: string }): Call[] {
  const scimUrl = `${issuer}/scim/v2`;
  const show: Show = async (known) => {
    const tokens = await tokensOf(db, [known.id]);
    return { ...known, scimUrl, tokens: tokens.get(known.id) ?? [] };
  };
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
        kind,
        ...z.object(settings).partial().shape,
        tokenTtlSeconds,
      }),
      example: { name: 'Okta', kind: 'okta' },
      status: 201,
      answer: newDirectory,
      answerExample: { ...example, scimToken: exampleToken, scimTokenExpiresAt: null },
      refusals: { 409: 'There is a directory of that name.' },
      run: async ({ body, act }) => show(await directories.createDirectory(db, act, body)),
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
        const tokens = await tokensOf(
          db,
          items.map(({ id }) => id),
        );
        return {
          items: items.map((item) => ({ ...item, scimUrl, tokens: tokens.get(item.id) ?? [] })),
          nextCursor,
        };
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
      run: async ({ id }) => show(await directories.getDirectory(db, id)),
    }),
    changeCall(db, show),
    rotateCall(db),
  ];
}

/** `show`: as the other calls show a directory. */
const changeCall = (db: Db, show: Show): Call =>
  call({
    method: 'patch',
    path: '/directories/{id}',
    operationId: 'changeDirectory',
    tag: 'Directories',
    summary: 'Change a directory',
    description:
      'With `requiredGroup`, everybody who is not in that group leaves, with a receipt each, before this is answered: ' +
      'say `confirm`. If the answer does not come, the same call again does the rest. `null` makes nobody leave, and ' +
      'those who come back by it come without their agents.',
    body: z.strictObject({
      name: line(200).optional(),
      kind: kind.optional(),
      requiredGroup: requiredGroup.optional(),
      ...z.object(settings).partial().shape,
      confirm: z.boolean().optional().openapi({ description: 'People may leave by this.' }),
    }),
    example: { massDeparturePercent: 10, silenceAfterSeconds: 86_400 },
    status: 200,
    answer: changedDirectory,
    answerExample: { ...example, departed: 0 },
    refusals: {
      409: 'The name is taken, or people would leave and `confirm` is not true: the detail says how many.',
    },
    run: async ({ id, body, act }) =>
      show(await directories.changeDirectory(db, act, id, lowerGroup(body), new Date())),
  });

const rotateCall = (db: Db): Call =>
  call({
    method: 'post',
    path: '/directories/{id}/rotate-token',
    operationId: 'rotateDirectoryToken',
    tag: 'Directories',
    summary: 'Replace the SCIM token',
    description: 'The older tokens end after `graceSeconds`; with 0, or without it, they are dead at once.',
    body: z.strictObject({
      graceSeconds: z.int().min(0).max(maxGraceSeconds).default(0),
      tokenTtlSeconds,
    }),
    example: { graceSeconds: 3600 },
    status: 200,
    answer: z.object(newToken),
    answerExample: { scimToken: exampleToken, scimTokenExpiresAt: null },
    run: ({ id, body, act }) => directories.rotateDirectoryToken(db, act, id, body),
  });
