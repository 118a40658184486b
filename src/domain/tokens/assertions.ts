/** Single use of client assertions, outside of the token endpoint's queue. */
import { sql } from 'drizzle-orm';
import type { Tx } from '../../platform/db/client.ts';
import type { Assertion } from './commit.ts';

/** Uses the assertion up; `false`: it was used before. One statement, so that of two at once one is first. */
export async function spendAssertion(tx: Tx, { id, expiresAt }: Assertion): Promise<boolean> {
  const rows = await tx.execute(sql`
    insert into assertions (id, expires_at) values (decode(${id}, 'hex'), ${expiresAt.toISOString()}::timestamptz)
    on conflict do nothing returning true`);
  return rows.length > 0;
}
