/** The calls as an OpenAPI 3.1 document: the same schemas that check the requests describe them. */
import { type OpenAPIHono, z } from '@hono/zod-openapi';
import { problemKinds } from '../../platform/http/problem.ts';
import type { Call, Tag } from './call.ts';
import { exampleIds, problem } from './schemas.ts';

type Registry = OpenAPIHono['openAPIRegistry'];
export type OpenApiDocument = ReturnType<OpenAPIHono['getOpenAPI31Document']>;

const tags: Record<Tag, string> = {
  Directories: 'Connected identity providers, and the tokens they speak SCIM with.',
  People: 'Humans known from a directory. Read-only here: the identity provider writes them, over SCIM.',
  Groups: 'Groups of the directories, and what they give: roles in Writ, and intents that are kept for their members.',
  Offboardings: 'Receipts: what stopped when somebody left, signed.',
  APIs: 'What agents call: the `aud` of tokens.',
  Intents: 'The catalogue of named tasks.',
  Agents: 'Non-human actors. Each has one accountable owner; when the owner leaves, it stops.',
  Environments: 'What becomes of the agents of an environment when their owner leaves, unless they say otherwise.',
  Handovers: 'Agents that were offered to a deputy or a manager when their owner left.',
  Audit: 'The tamper-evident log of every act and refusal.',
  Keys: 'What signs tokens, receipts and checkpoints.',
};

/** Adds every call to the registry. */
export function describeCalls(registry: Registry, calls: Call[]): void {
  const bearer = registry.registerComponent('securitySchemes', 'administrator', {
    type: 'http',
    scheme: 'bearer',
    description: 'An administration token; the first one comes from `WRIT_ADMIN_TOKEN`.',
  });
  for (const call of calls) {
    registry.registerPath({
      method: call.method,
      path: call.path,
      operationId: call.operationId,
      tags: [call.tag],
      summary: call.summary,
      ...(call.description === undefined ? {} : { description: call.description }),
      security: [{ [bearer.name]: [] }],
      request: requestOf(call),
      responses: responsesOf(call),
    });
  }
}

const examplesByTag: Partial<Record<Tag, string>> = {
  Directories: exampleIds.directory,
  People: exampleIds.person,
  Groups: exampleIds.group,
  Offboardings: exampleIds.offboarding,
  APIs: exampleIds.api,
  Intents: exampleIds.intent,
  Agents: exampleIds.agent,
  Environments: 'production',
  Handovers: exampleIds.handover,
  Keys: exampleIds.key,
};

function requestOf(call: Call): Parameters<Registry['registerPath']>[0]['request'] & object {
  const [, parameter] = /\{(\w+)\}/.exec(call.path) ?? [];
  const example = examplesByTag[call.tag];
  const isText = parameter === 'kid' || parameter === 'name';
  const id = isText ? z.string().openapi({ example }) : z.guid().openapi({ format: 'uuid', example });
  return {
    ...(parameter === undefined ? {} : { params: z.object({ [parameter]: id }) }),
    ...(call.query instanceof z.ZodObject ? { query: call.query } : {}),
    ...(call.body === undefined
      ? {}
      : {
          body: {
            required: !call.body.safeParse({}).success,
            content: { 'application/json': { schema: call.body, ...(call.example && { example: call.example }) } },
          },
        }),
  };
}

function responsesOf(call: Call): Parameters<Registry['registerPath']>[0]['responses'] {
  const hasInput = call.body !== undefined || call.query !== undefined;
  const refusals: Record<number, string> = {
    ...(hasInput ? { 400: 'The request breaks a rule; `errors` lists every one of them.' } : {}),
    401: 'No administration token, or not one of this server.',
    ...(call.path.includes('{') ? { 404: 'There is no such id.' } : {}),
    ...(call.body === undefined ? {} : { 413: 'The body is too large.', 415: 'The body is not JSON in UTF-8.' }),
    429: 'Too many calls without a good administration token came from this address. See `Retry-After`.',
    503: 'The database does not answer, or is busy; nothing was changed. See `Retry-After`.',
    ...call.refusals,
  };
  const content = { 'application/problem+json': { schema: problem } };
  return {
    [call.status]: {
      description: call.status === 201 ? 'Created; `Location` names it.' : 'Done.',
      content: { [call.mediaType ?? 'application/json']: { schema: call.answer, example: call.answerExample } },
    },
    ...Object.fromEntries(Object.entries(refusals).map(([status, description]) => [status, { description, content }])),
  };
}

/** The document of everything that `app` has in its registry. */
export function openApiDocument(
  app: { getOpenAPI31Document: OpenAPIHono['getOpenAPI31Document'] },
  issuer: string,
): OpenApiDocument {
  const codes = Object.entries(problemKinds).map(([code, { status }]) => `\`${code}\` (${status})`);
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Writ administration API',
      version: '1',
      description:
        'JSON in camelCase. Unknown members are refused. Lists answer `{items, nextCursor}`; pass `nextCursor` as ' +
        '`?cursor=` for the next page. Creations answer 201 with the whole resource. Errors are RFC 9457 ' +
        `\`application/problem+json\` with a stable \`code\`: ${codes.join(', ')}.`,
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: [{ url: `${issuer}/api/v1` }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
  });
}
