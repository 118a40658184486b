/** What an agent looks like in this API, coming in and going out. */
import { z } from '@hono/zod-openapi';
import { answeredInstant, exampleIds, exampleInstant, line, uuid } from './schemas.ts';

const statuses = ['pending', 'active', 'suspended', 'decommissioned'] as const;
export const status = z.enum(statuses, { error: `has to be one of ${statuses.join(', ')}` });

const kinds = 'the kinds are {"jwks": {"keys": […]}} and {"secret": true}';

/** Which keys are fit is the domain's rule; here only the shape. */
const jwks = z
  .looseObject({
    keys: z
      .array(z.looseObject({ kty: z.string() }))
      .min(1)
      .max(8),
  })
  .openapi({ description: 'Public keys (RFC 7517) for `private_key_jwt`: EC P-256, Ed25519, or RSA from 2048 bits.' });

export const credential = z
  .strictObject(
    {
      jwks: jwks.optional(),
      secret: z.literal(true).optional().openapi({ description: 'Writ makes a secret and shows it once.' }),
    },
    {
      error: (issue) =>
        issue.code === 'unrecognized_keys' ? `is not a kind of credential supported here: ${kinds}` : undefined,
    },
  )
  .transform(({ jwks, secret }, context) => {
    if (jwks !== undefined && secret === undefined) return { jwks };
    if (jwks === undefined && secret !== undefined) return { secret };
    context.addIssue({ code: 'custom', message: `has to be exactly one: ${kinds}` });
    return z.NEVER;
  })
  .openapi({ description: 'Exactly one of its members: how the agent authenticates at the token endpoint.' });

export const owner = z
  .union([line(256), z.strictObject({ directory: line(200), userName: line(256) })], {
    error: 'has to be a person’s id, a userName, or {directory, userName}',
  })
  .openapi({ example: 'ada@example.com' });

const policies = ['stop', 'quarantine', 'handover'] as const;
export const leaverPolicy = z.enum(policies, { error: `has to be one of ${policies.join(', ')}` }).openapi({
  description:
    'When the owner leaves: `stop`: until a named act; `quarantine`: it may only read, for a bounded time, then it stops; ' +
    '`handover`: it stops, and is offered to the deputy, else to the manager.',
});

const members = {
  id: uuid,
  clientId: uuid.openapi({ description: 'The same as `id`; the `sub` of its tokens.' }),
  name: z.string(),
  description: z.string(),
  owner: uuid.openapi({ description: 'A person’s id.' }),
  environment: z.string(),
  project: z.string().nullable(),
  parent: uuid.nullable(),
  status,
  latches: z
    .array(z.object({ reason: z.enum(['owner_lost', 'expired']), since: answeredInstant }))
    .openapi({ description: 'What holds the agent besides its status, until a named act clears it.' }),
  live: z.boolean().openapi({
    description: 'Whether it could get a token now, if only for reading: it, its ancestors and its owner.',
  }),
  leaverPolicy: leaverPolicy.nullable().openapi({
    description:
      'What becomes of its whole tree when the owner leaves. `null`: what its environment says; in a sub-agent: what its ' +
      'root says.',
  }),
  deputy: uuid.nullable().openapi({ description: 'A person’s id: to whom its tree is offered by `handover`.' }),
  quarantinedUntil: answeredInstant
    .nullable()
    .openapi({ description: 'Its owner has left, and until then its tree may read on.' }),
  expiresAt: answeredInstant.nullable(),
  credential: z.union([
    z.object({ jwks: z.object({ keys: z.array(z.looseObject({ kty: z.string() })) }) }),
    z.object({ secret: z.literal(true) }),
  ]),
  intents: z.array(z.string()),
  createdAt: answeredInstant,
  updatedAt: answeredInstant,
};
export const agent = z.object(members).openapi('Agent');
export const newAgent = z
  .object({
    ...members,
    clientSecret: z.string().optional().openapi({ description: 'Only when one was made. Shown here and never again.' }),
  })
  .openapi('NewAgent');

export const agentExample = {
  id: exampleIds.agent,
  clientId: exampleIds.agent,
  name: 'incident-bot',
  description: 'Keeps tickets up to date while an incident is being worked on.',
  owner: exampleIds.person,
  environment: 'production',
  project: null,
  parent: null,
  status: 'active',
  latches: [],
  live: true,
  leaverPolicy: 'handover',
  deputy: exampleIds.deputy,
  quarantinedUntil: null,
  expiresAt: null,
  credential: {
    jwks: {
      keys: [
        {
          kty: 'EC',
          crv: 'P-256',
          x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
          y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
        },
      ],
    },
  },
  intents: ['incident_remediation.ticket_update'],
  createdAt: exampleInstant,
  updatedAt: exampleInstant,
};
