/** What a rehearsal of a departure answers. */
import { z } from '@hono/zod-openapi';
import { leaverOutcome } from './offboardings.ts';
import { answeredInstant, environment, exampleIds, exampleInstant, uuid } from './schemas.ts';

const named = z.object({ id: uuid, name: z.string() });
const userName = z.string();

const agent = z.object({
  ...named.shape,
  environment,
  project: z.string().nullable(),
  parent: uuid.nullable(),
  status: z.enum(['pending', 'active', 'suspended', 'decommissioned']),
  live: z.boolean().openapi({ description: 'Whether it could get a token now.' }),
  outcome: leaverOutcome,
  intents: z.array(z.string()),
  tokensUnexpired: z.int(),
  lastUsedAt: answeredInstant
    .nullable()
    .openapi({ description: 'When it last got a token; `null`: not in the time from `since` on.' }),
});

const dependent = z
  .union([
    z.object({
      type: z.literal('agent'),
      ...named.shape,
      owner: z.object({ id: uuid, userName }),
      tokensUnexpired: z.int(),
    }),
    z.object({ type: z.literal('api'), id: uuid, identifier: z.string(), answeredBy: named }),
  ])
  .openapi({
    description:
      'Somebody else’s agent with unexpired tokens that stand on this person by exchange, or an API that one of their agents answers.',
  });

export const impact = z
  .object({
    person: z.object({
      id: uuid,
      userName,
      displayName: z.string().nullable(),
      active: z.boolean().openapi({ description: 'false: they have left, and this is what stands.' }),
    }),
    agents: z.array(agent).openapi({ description: 'By name; the first thousand.' }),
    truncated: z.boolean().openapi({ description: 'There are more agents than are listed.' }),
    totals: z.object({ agents: z.int(), live: z.int(), tokensUnexpired: z.int() }),
    apis: z
      .array(z.object({ identifier: z.string(), agents: z.int(), tokensUnexpired: z.int() }))
      .openapi({ description: 'For which these agents got tokens from `since` on.' }),
    since: answeredInstant.openapi({
      description: '30 days ago, or where the log’s last 100,000 entries about them begin.',
    }),
    intents: z.array(
      z.object({ taskIntent: z.string(), risk: z.enum(['read', 'write', 'destructive']), agents: z.int() }),
    ),
    dependents: z.array(dependent),
    couldTakeOver: z
      .array(
        z.object({
          id: uuid,
          userName,
          displayName: z.string().nullable(),
          why: z.enum(['deputy', 'manager', 'same_manager', 'same_group']),
        }),
      )
      .openapi({ description: 'Ten at most; colleagues only if they answer for agents already.' }),
  })
  .openapi('Impact');

export const impactExample = {
  person: { id: exampleIds.person, userName: 'ada@example.com', displayName: 'Ada Lovelace', active: true },
  agents: [
    {
      id: exampleIds.agent,
      name: 'incident-bot',
      environment: 'production',
      project: null,
      parent: null,
      status: 'active',
      live: true,
      outcome: 'stopped',
      intents: ['incident_remediation.ticket_update'],
      tokensUnexpired: 2,
      lastUsedAt: exampleInstant,
    },
  ],
  truncated: false,
  totals: { agents: 1, live: 1, tokensUnexpired: 2 },
  apis: [{ identifier: 'https://crm.example.com', agents: 1, tokensUnexpired: 2 }],
  since: '2026-10-26T09:30:00.000Z',
  intents: [{ taskIntent: 'incident_remediation.ticket_update', risk: 'write', agents: 1 }],
  dependents: [],
  couldTakeOver: [
    {
      id: '3f6a1c9e-4b7d-4e2a-8c5f-1a2b3c4d5e08',
      userName: 'grace@example.com',
      displayName: 'Grace Hopper',
      why: 'manager',
    },
  ],
};
