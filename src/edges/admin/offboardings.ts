/** Calls: the receipts of people who have left. */
import { z } from '@hono/zod-openapi';
import * as receipts from '../../domain/people/receipts.ts';
import type { Db } from '../../platform/db/client.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type Call, call } from './call.ts';
import { answeredInstant, exampleIds, exampleInstant, pageOf, paging, uuid } from './schemas.ts';

const named = z.object({ id: uuid, name: z.string() });
const members = {
  id: uuid,
  person: z.object({ id: uuid, userName: z.string() }),
  agents: z.array(named).openapi({ description: 'Every agent that stopped: their own and all descendants.' }),
  tokensUnexpired: z.int().openapi({ description: 'Tokens that were within their life when the person left.' }),
  request: z
    .object({ directory: named, method: z.string(), requestId: z.string() })
    .openapi({ description: 'The SCIM request that said so.' }),
  requestedAt: answeredInstant,
  committedAt: answeredInstant.openapi({ description: 'From here on no request gets a token.' }),
  answeredAt: answeredInstant.nullable(),
  seq: z.int().openapi({ description: 'The number in the feed that carries it.' }),
  acknowledgements: z
    .array(z.object({ api: z.string(), verifier: z.string(), seq: z.int(), at: answeredInstant }))
    .openapi({ description: 'When each verifier of each API said that it had applied it, while tokens could live.' }),
};
const offboarding = z.object(members).openapi('Offboarding');
const jws = z
  .string()
  .openapi({ description: 'The same, signed (`typ: writ-receipt+jwt`); verify with `/oauth/jwks`.' });
const receipt = z.object({ ...members, jws }).openapi('Receipt');

const example = {
  id: exampleIds.offboarding,
  person: { id: exampleIds.person, userName: 'ada@example.com' },
  agents: [{ id: exampleIds.agent, name: 'incident-bot' }],
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
  acknowledgements: [{ api: 'https://crm.example.com', verifier: 'crm-1', seq: 42, at: '2026-11-25T09:30:00.031Z' }],
};

export function offboardingCalls({ db, keyring, issuer }: { db: Db; keyring: Keyring; issuer: string }): Call[] {
  return [
    call({
      method: 'get',
      path: '/offboardings',
      operationId: 'listOffboardings',
      tag: 'Offboardings',
      summary: 'List offboardings',
      description: 'Newest first.',
      query: z.strictObject({ person: uuid.optional().openapi({ description: 'A person’s id.' }), ...paging }),
      status: 200,
      answer: pageOf(offboarding),
      answerExample: { items: [example], nextCursor: null },
      run: ({ query: { person, ...page } }) =>
        receipts.listReceipts(db, person === undefined ? {} : { person: person.toLowerCase() }, page),
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
      answerExample: {
        ...example,
        jws: 'eyJhbGciOiJFUzI1NiIsInR5cCI6IndyaXQtcmVjZWlwdCtqd3QifQ.eyJpZCI6Ii4uLiJ9.c2ln',
      },
      run: ({ id }) => receipts.getReceipt(db, keyring, issuer, id),
    }),
  ];
}
