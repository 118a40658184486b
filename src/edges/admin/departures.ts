/** Calls: what an administrator says of departures that were so many that they may be a mistake. */
import { z } from '@hono/zod-openapi';
import * as reviews from '../../domain/people/departure-review.ts';
import * as receipts from '../../domain/people/receipts.ts';
import type { Db } from '../../platform/db/client.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type Call, call } from './call.ts';
import { receipt, receiptExample } from './offboardings.ts';
import { reason } from './schemas.ts';

interface Parts {
  db: Db;
  keyring: Keyring;
  issuer: string;
}

export const departureCalls = (parts: Parts): Call[] => [...singleCalls(parts), ...directoryWideCalls(parts)];

function singleCalls({ db, keyring, issuer }: Parts): Call[] {
  return [
    call({
      method: 'post',
      path: '/offboardings/{id}/confirm',
      operationId: 'confirmOffboarding',
      tag: 'Offboardings',
      summary: 'Confirm a departure',
      description: 'One that was part of a mass departure was meant: the leaver policy of the agents is applied now.',
      body: z.strictObject({ reason }),
      example: { reason: 'She did leave' },
      status: 200,
      answer: receipt,
      answerExample: { ...receiptExample, confirmation: 'confirmed' },
      refusals: { 409: 'It waits for no confirmation.' },
      run: async ({ id, body, act }) => {
        await reviews.confirmDeparture(db, act, id, body.reason);
        return receipts.getReceipt(db, keyring, issuer, id);
      },
    }),
    call({
      method: 'post',
      path: '/offboardings/{id}/undo',
      operationId: 'undoOffboarding',
      tag: 'Offboardings',
      summary: 'Undo a departure',
      description:
        'It was a mistake, and the directory has brought the person back: the agents that stopped by it act again. ' +
        'What had stopped before stays stopped, and tokens that ended stay ended.',
      body: z.strictObject({ reason }),
      example: { reason: 'The application was unassigned by mistake' },
      status: 200,
      answer: receipt,
      answerExample: { ...receiptExample, confirmation: 'undone' },
      refusals: { 409: 'The person is not active, has left once more since, or the departure was confirmed.' },
      run: async ({ id, body, act }) => {
        await reviews.undoDeparture(db, act, id, body.reason);
        return receipts.getReceipt(db, keyring, issuer, id);
      },
    }),
  ];
}

function directoryWideCalls({ db }: Parts): Call[] {
  return [
    call({
      method: 'post',
      path: '/directories/{id}/confirm-departures',
      operationId: 'confirmDepartures',
      tag: 'Directories',
      summary: 'Confirm a mass departure',
      description: 'All that wait for it: they were meant, and what the policy of each agent says is done now.',
      body: z.strictObject({ reason }),
      example: { reason: 'The team was outsourced' },
      status: 200,
      answer: z.object({ confirmed: z.int() }),
      answerExample: { confirmed: 112 },
      run: ({ id, body, act }) => reviews.confirmDepartures(db, act, id, body.reason),
    }),
    call({
      method: 'post',
      path: '/directories/{id}/undo-departures',
      operationId: 'undoDepartures',
      tag: 'Directories',
      summary: 'Undo a mass departure',
      description:
        'For everybody of it whom the directory has brought back: the agents that stopped with them act again. ' +
        '`notYetBack` have not been brought back; call again once they are.',
      body: z.strictObject({ reason }),
      example: { reason: 'The application was unassigned by mistake' },
      status: 200,
      answer: z.object({ undone: z.int(), notYetBack: z.int() }),
      answerExample: { undone: 110, notYetBack: 2 },
      run: ({ id, body, act }) => reviews.undoDepartures(db, act, id, body.reason),
    }),
  ];
}
