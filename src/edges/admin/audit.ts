/** Calls: search the audit log, and have all of it verified. */
import { z } from '@hono/zod-openapi';
import type { AuditNode } from '../../domain/audit/append.ts';
import { exportLog } from '../../domain/audit/export.ts';
import { searchAudit } from '../../domain/audit/search.ts';
import { verifyLog } from '../../domain/audit/verify.ts';
import type { Db } from '../../platform/db/client.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type Call, call } from './call.ts';
import {
  answeredInstant,
  exampleIds,
  exampleInstant,
  instant,
  line,
  pageOf,
  paging,
  taskIntent,
  uuid,
} from './schemas.ts';

const entry = z
  .looseObject({
    node: uuid,
    counter: z.int(),
    at: answeredInstant,
    kind: z.string(),
    by: z.object({ type: z.string(), id: z.string() }).optional(),
    from: z.string().nullable().optional(),
    requestId: z.string().optional(),
    outcome: z.enum(['done', 'refused']).optional(),
    agent: z.string().optional(),
    person: z.string().optional(),
    intent: z.string().optional(),
    jti: z.string().optional(),
    reason: z.string().optional(),
    decision: z.looseObject({}).optional().openapi({ description: 'ALLOW or DENY, with its context and reasons.' }),
    details: z.looseObject({}).optional(),
    number: z.int().nullable().openapi({ description: 'Place in the sealed chain; `null` for the moment before.' }),
    hash: z.string().nullable(),
  })
  .openapi('AuditEntry');

const example = {
  node: '7d1f3a5b-9c2e-4f60-8a1b-2c3d4e5f6a08',
  counter: 118,
  at: exampleInstant,
  kind: 'agent.suspended',
  by: { type: 'administrator', id: 'bootstrap' },
  from: '203.0.113.7',
  requestId: '0b0e6d0e-3f5c-4a35-9a0a-6f0c6f0f7a11',
  outcome: 'done',
  agent: exampleIds.agent,
  person: exampleIds.person,
  reason: 'Unusual traffic; see INC-4711.',
  number: 117,
  hash: 'n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg',
};

const checkpoint = z.strictObject({
  number: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  hash: z.string().regex(/^[A-Za-z0-9_-]{43}$/, { error: 'has to be a SHA-256 in base64url' }),
});

const verification = z
  .object({
    ok: z.boolean(),
    entries: z.int().openapi({ description: 'How many were read and found whole.' }),
    firstBad: z
      .object({ number: z.int(), why: z.string() })
      .optional()
      .openapi({ description: 'The first entry that was edited, is missing, or was cut off.' }),
    checkpoint: z
      .looseObject({ number: z.int(), hash: z.string() })
      .optional()
      .openapi({ description: 'The newest signed head. Keep it elsewhere, and give it to the next verification.' }),
  })
  .openapi('Verification');

const exportedLine = z
  .union([
    z.object({ number: z.int(), body: z.string(), mac: z.string(), hash: z.string() }),
    z.object({ checkpoint: z.string() }),
    z.object({ end: z.int() }),
    z.object({
      export: z.literal('writ-audit'),
      version: z.literal(1),
      issuer: z.string(),
      from: z.int(),
      previous: z.string(),
    }),
  ])
  .openapi('ExportedLine');

const exportCall = (db: Db, issuer: string): Call =>
  call({
    method: 'get',
    path: '/audit/export',
    operationId: 'exportAudit',
    tag: 'Audit',
    summary: 'Export the audit log',
    description:
      'All that is sealed, in the order of the chain, a line of JSON each: a header, the entries, the signed checkpoint ' +
      'after each place that has one, and an end. `writ audit verify --offline` proves it with the public keys alone.',
    query: z.strictObject({
      from: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER).default(1).openapi({
        description: 'The number of the first entry; one more than the last of the export before.',
      }),
    }),
    status: 200,
    mediaType: 'application/x-ndjson',
    answer: exportedLine,
    answerExample: {
      number: 117,
      body: '{"node":"7d1f3a5b-…","counter":118,…}',
      mac: example.hash,
      hash: example.hash,
    },
    refusals: { 404: 'The log does not reach so far.' },
    run: async ({ query }) => exportLog(db, issuer, query.from),
  });

interface AuditParts {
  db: Db;
  node: AuditNode;
  keyring: Keyring;
  issuer: string;
}

export function auditCalls({ db, node, keyring, issuer }: AuditParts): Call[] {
  return [
    exportCall(db, issuer),
    call({
      method: 'get',
      path: '/audit',
      operationId: 'searchAudit',
      tag: 'Audit',
      summary: 'Search the audit log',
      description: 'Newest first. An entry fits when it fits every filter.',
      query: z.strictObject({
        jti: line(256).optional().openapi({ description: 'A token’s id.' }),
        agent: uuid.optional(),
        person: uuid.optional(),
        intent: taskIntent.optional(),
        kind: line(64).optional().openapi({ example: 'token.issued' }),
        since: instant.optional().openapi({ description: 'Inclusive.' }),
        until: instant.optional().openapi({ description: 'Exclusive.' }),
        ...paging,
      }),
      status: 200,
      answer: pageOf(entry),
      answerExample: { items: [example], nextCursor: null },
      run: ({ query: { cursor, limit, since, until, ...filter } }) =>
        searchAudit(
          db,
          {
            ...filter,
            since: since === undefined ? undefined : new Date(since),
            until: until === undefined ? undefined : new Date(until),
          },
          { cursor, limit },
        ),
    }),
    call({
      method: 'post',
      path: '/audit/verify',
      operationId: 'verifyAudit',
      tag: 'Audit',
      summary: 'Verify the audit log',
      description:
        'Reads all of it. With a `checkpoint` that was kept elsewhere, it also finds a database that was put back or cut.',
      body: z.strictObject({ checkpoint: checkpoint.optional() }),
      example: { checkpoint: { number: 117, hash: example.hash } },
      status: 200,
      answer: verification,
      answerExample: { ok: true, entries: 118, checkpoint: { number: 117, hash: example.hash } },
      run: ({ body }) =>
        verifyLog(db, node.macKey, keyring, body.checkpoint === undefined ? {} : { checkpoint: body.checkpoint }),
    }),
  ];
}
