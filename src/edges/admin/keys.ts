/** Calls: the keys that sign, their planned rotation, and the alarm. */
import { z } from '@hono/zod-openapi';
import * as keys from '../../domain/tokens/key-lifecycle.ts';
import { WritError } from '../../errors.ts';
import type { Db } from '../../platform/db/client.ts';
import { decodeCursor, type Page, type PageRequest, toPage } from '../../platform/http/page.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { signingAlgorithms } from '../../protocol.ts';
import { type Call, call } from './call.ts';
import { answeredInstant, exampleIds, exampleInstant, pageOf, paging, reason } from './schemas.ts';

const key = z
  .object({
    kid: z.string(),
    algorithm: z.enum(signingAlgorithms),
    status: z
      .enum(['pending', 'signing', 'retired', 'revoked'])
      .openapi({ description: '`pending`: published already, signs from `signsFrom`. `retired`: still verifies.' }),
    createdAt: answeredInstant,
    signsFrom: answeredInstant,
    retiredAt: answeredInstant.nullable(),
    revokedAt: answeredInstant.nullable(),
  })
  .openapi('Key');

const example = {
  kid: exampleIds.key,
  algorithm: 'ES256',
  status: 'signing',
  createdAt: exampleInstant,
  signsFrom: exampleInstant,
  retiredAt: null,
  revokedAt: null,
};

/** A list that is short by nature, cut into pages like the others. */
function pageKeys(all: keys.KeyView[], { cursor, limit }: PageRequest): Page<keys.KeyView> {
  const last = cursor === undefined ? undefined : decodeCursor(cursor, 1)[0];
  const start = last === undefined ? 0 : all.findIndex((each) => each.kid === last) + 1;
  if (last !== undefined && start === 0) throw new WritError('invalid_request', 'cursor: not a cursor of this list');
  return toPage(all.slice(start), limit, (each) => [each.kid]);
}

export function keyCalls({ db, kek, keyring }: { db: Db; kek: Uint8Array; keyring: Keyring }): Call[] {
  /** The act is committed by now: if this node cannot read it yet, it learns of it like the others. */
  const noticeHere = () => keyring.refresh().catch(() => {});
  return [
    call({
      method: 'get',
      path: '/keys',
      operationId: 'listKeys',
      tag: 'Keys',
      summary: 'List signing keys',
      description: 'Newest first. The public halves are at `/oauth/jwks`.',
      query: z.strictObject(paging),
      status: 200,
      answer: pageOf(key),
      answerExample: { items: [example], nextCursor: null },
      run: async ({ query }) => pageKeys(await keys.listKeys(db), query),
    }),
    call({
      method: 'post',
      path: '/keys/rotate',
      operationId: 'rotateKeys',
      tag: 'Keys',
      summary: 'Rotate the signing keys',
      description: 'One new key for each algorithm, published at once, signing a minute later. Tokens stay good.',
      body: z.strictObject({
        algorithm: z.enum(signingAlgorithms).optional().openapi({ description: 'Only this one; absent: all.' }),
      }),
      example: {},
      status: 200,
      answer: pageOf(key),
      answerExample: { items: [{ ...example, status: 'pending' }], nextCursor: null },
      run: async ({ body: { algorithm }, act }) => {
        const only = algorithm === undefined ? {} : { algorithms: [algorithm] };
        const items = await keys.rotateKeys(db, act, { kek, ...only });
        await noticeHere();
        return { items, nextCursor: null };
      },
    }),
    call({
      method: 'post',
      path: '/keys/{kid}/revoke',
      operationId: 'revokeKey',
      tag: 'Keys',
      summary: 'Revoke a signing key',
      description: 'For a key that may have leaked: every verifier refuses it at once, and all that it signed.',
      body: z.strictObject({ reason: reason.optional() }),
      example: { reason: 'A backup with the key was lost.' },
      status: 200,
      answer: z.object({
        kid: z.string(),
        revokedAt: answeredInstant,
        replacement: z
          .string()
          .nullable()
          .openapi({ description: 'The key that signs in its place, if it was signing.' }),
      }),
      answerExample: { kid: exampleIds.key, revokedAt: exampleInstant, replacement: 'Qm9vay1vZi1rZXlzLTAy' },
      run: async ({ id, body, act }) => {
        const revoked = await keys.revokeKey(db, act, id, { kek, reason: body.reason });
        await noticeHere();
        return revoked;
      },
    }),
  ];
}
