/** A database of its own, its node in the audit log, and an administrator who acts: what most tests of domains stand on. */
import { randomBytes, randomUUID } from 'node:crypto';
import { type Act, enlist } from '../../src/domain/audit/append.ts';
import { connect, type Db, type Sql } from '../../src/platform/db/client.ts';
import { createTestDatabase } from './database.ts';

export interface Ground {
  db: Db;
  sql: Sql;
  act: Act;
  url: string;
  close(): Promise<void>;
}

export async function openGround(): Promise<Ground> {
  const database = await createTestDatabase();
  const { db, sql, close } = connect({ url: database.url, poolSize: 12 });
  const act: Act = {
    node: { id: randomUUID(), macKey: randomBytes(32) },
    by: { type: 'administrator', id: 'test' },
    requestId: 'request-1',
    from: null,
  };
  await enlist(db, act.node);
  return {
    db,
    sql,
    act,
    url: database.url,
    close: async () => {
      await close();
      await database.drop();
    },
  };
}
