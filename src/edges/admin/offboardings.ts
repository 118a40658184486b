/** Calls: the receipts of people who have left. */
import { z } from '@hono/zod-openapi';
import * as receipts from '../../domain/people/receipts.ts';
import type { Db } from '../../platform/db/client.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type Call, call } from './call.ts';
import { answeredInstant, exampleIds, exampleInstant, line, pageOf, paging, uuid } from './schemas.ts';

const named = z.object({ id: uuid, name: z.string() });

export const leaverOutcome = z.enum(['stopped', 'quarantined', 'offered']).openapi({
  description:
    'By its leaver policy: stopped for good, read-only for a while (`quarantined`), or stopped and offered to somebody.',
});
const stoppedAgent = z
  .object({
    ...named.shape,
    parent: uuid.nullable().optional(),
    outcome: leaverOutcome.optional(),
    until: answeredInstant.optional().openapi({ description: 'Of the root of a tree in quarantine: its end.' }),
    to: uuid.optional().openapi({ description: 'Of the root of a tree that was offered: to whom.' }),
    wasLive: z.boolean().optional().openapi({ description: 'Whether it could get tokens until then.' }),
    intents: z.array(z.string()).optional().openapi({ description: 'Its standing grants, by `taskIntent`.' }),
    tokensUnexpired: z.int().optional().openapi({ description: 'Its own tokens that were within their life.' }),
    children: z.int().optional().openapi({ description: 'Its direct sub-agents.' }),
  })
  .openapi('StoppedAgent', {
    description: 'Receipts from before Writ kept the optional members do not have them.',
  });
const confirmations = ['needed', 'confirmed', 'undone'] as const;
const verifierName = z.object({ api: z.string(), verifier: z.string() });

const members = {
  id: uuid,
  person: z.object({ id: uuid, userName: z.string() }),
  agents: z
    .array(stoppedAgent)
    .openapi({ description: 'Every agent that stopped: their own and all descendants, by name.' }),
  tokensUnexpired: z.int().openapi({ description: 'Tokens that were within their life when the person left.' }),
  request: z
    .object({ directory: named, method: z.string(), requestId: z.string() })
    .openapi({ description: 'The SCIM request that said so.' }),
  requestedAt: answeredInstant,
  committedAt: answeredInstant.openapi({ description: 'From here on no request gets a token.' }),
  answeredAt: answeredInstant.nullable(),
  seq: z.int().openapi({ description: 'The number in the feed that carries it.' }),
  confirmation: z.enum(confirmations).nullable().openapi({
    description:
      'Very many left at once: `needed` until an administrator has confirmed or undone it; `null`: not asked.',
  }),
  acknowledgements: z
    .array(z.object({ api: z.string(), verifier: z.string(), seq: z.int(), at: answeredInstant }))
    .openapi({ description: 'When each verifier of each API said that it had applied it, while tokens could live.' }),
  unacknowledged: z.array(verifierName).optional().openapi({
    description:
      'Verifiers that were connected when the person left, or in the half minute before, and have not said so. Absent from receipts from before Writ kept that.',
  }),
};
const offboarding = z.object(members).openapi('Offboarding');
const jws = z
  .string()
  .openapi({ description: 'The same, signed (`typ: writ-receipt+jwt`); verify with `/oauth/jwks`.' });
/** One receipt, as it is shown by itself. */
export const receipt = z.object({ ...members, jws }).openapi('Receipt');

const example = {
  id: exampleIds.offboarding,
  person: { id: exampleIds.person, userName: 'ada@example.com' },
  agents: [
    {
      id: exampleIds.agent,
      name: 'incident-bot',
      parent: null,
      outcome: 'stopped',
      wasLive: true,
      intents: ['incident_remediation.ticket_update'],
      tokensUnexpired: 2,
      children: 0,
    },
  ],
  tokensUnexpired: 2,
  request: {
    directory: { id: exampleIds.directory, name: 'Okta' },
    method: 'PATCH',
    requestId: '0b0e6d0e-3f5c-4a35-9a0a-6f0c6f0f7a11',
  },
  requestedAt: exampleInstant,
  committedAt: '2026-11-25T09:30:00.014Z',
  answeredAt: '2026-11-25T09:30:00.016Z',
  seq: 42,
  confirmation: null,
  acknowledgements: [{ api: 'https://crm.example.com', verifier: 'crm-1', seq: 42, at: '2026-11-25T09:30:00.031Z' }],
  unacknowledged: [{ api: 'https://crm.example.com', verifier: 'crm-2' }],
};

const exampleJws = 'eyJhbGciOiJFUzI1NiIsInR5cCI6IndyaXQtcmVjZWlwdCtqd3QifQ.eyJpZCI6Ii4uLiJ9.c2ln';

export const receiptExample = { ...example, jws: exampleJws };

interface Deps {
  db: Db;
  keyring: Keyring;
  issuer: string;
}

export function offboardingCalls({ db, keyring, issuer }: Deps): Call[] {
  return [
    call({
      method: 'get',
      path: '/offboardings',
      operationId: 'listOffboardings',
      tag: 'Offboardings',
      summary: 'List offboardings',
      description: 'Newest first.',
      query: z.strictObject({
        person: uuid.optional().openapi({ description: 'A person’s id.' }),
        directory: line(200).optional().openapi({ description: 'A directory’s id or name.' }),
        confirmation: z.enum(confirmations, { error: `has to be one of ${confirmations.join(', ')}` }).optional(),
        ...paging,
      }),
      status: 200,
      answer: pageOf(offboarding),
      answerExample: { items: [example], nextCursor: null },
      run: ({ query: { person, directory, confirmation, ...page } }) =>
        receipts.listReceipts(db, { person: person?.toLowerCase(), directory, confirmation }, page),
    }),
    call({
      method: 'get',
      path: '/offboardings/{id}',
      operationId: 'getOffboarding',
      tag: 'Offboardings',
      summary: 'Read a receipt',
      description: 'With a signature that anyone can verify without asking Writ.',
      status: 200,
      answer: receipt,
      answerExample: receiptExample,
      run: ({ id }) => receipts.getReceipt(db, keyring, issuer, id),
    }),
  ];
}
