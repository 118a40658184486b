/** A database with a keyring and one node in its audit log, for tests of the log itself. */
import { randomBytes, randomUUID } from 'node:crypto';
import { type Act, append, enlist } from '../../src/domain/audit/append.ts';
import { sealEntries } from '../../src/domain/audit/seal-chain.ts';
import { verifyLog } from '../../src/domain/audit/verify.ts';
import { connect } from '../../src/platform/db/client.ts';
import { createKeyring, type KeyringOptions } from '../../src/platform/keys/keyring.ts';
import { deriveKey } from '../../src/platform/keys/seal.ts';
import { createTestDatabase } from './database.ts';

export const issuer = 'http://localhost:8080';
export const silentLog = { error: () => {}, warn: () => {} };

export type AuditLog = Awaited<ReturnType<typeof openAuditLog>>;

export async function openAuditLog(options: Partial<KeyringOptions> = {}) {
  const database = await createTestDatabase();
  const { db, sql, close } = connect({ url: database.url });
  const kek = randomBytes(32);
  const macKey = deriveKey(kek, 'audit-mac');
  const keyring = await createKeyring({ db, kek, now: () => new Date(), log: silentLog, ...options });

  const makeAct = async (): Promise<Act> => {
    const node = { id: randomUUID(), macKey };
    await enlist(db, node);
    return { node, by: { type: 'system', id: 'test' }, requestId: randomUUID(), from: null };
  };

  return {
    db,
    sql,
    url: database.url,
    kek,
    macKey,
    keyring,
    makeAct,
    /** `count` entries, in one transaction. */
    async record(act: Act, count: number) {
      const event = () => ({ kind: 'token.issued' as const, outcome: 'done' as const, jti: randomUUID() });
      const events = Array.from({ length: count }, () => ({ ...event(), agent: randomUUID() }));
      await append(db, act, events);
    },
    seal: (limit?: number) => sealEntries(db, keyring, issuer, limit),
    verify: (checkpoint?: { number: number; hash: string }) =>
      verifyLog(db, macKey, keyring, checkpoint === undefined ? {} : { checkpoint }),
    async [Symbol.asyncDispose]() {
      await keyring.close();
      await close();
      await database.drop();
    },
  };
}
