/** The adapter that one writes first for oidc-provider on PostgreSQL, but for its race: an assertion is used up by one statement. */
import { createHash } from 'node:crypto';
import type { Adapter } from 'oidc-provider';
import postgres from 'postgres';

export async function connectStore(url: string, clients: { client_id: string }[]) {
  const sql = postgres(url, { max: 10, onnotice: () => {} });
  await sql`create table clients (id text primary key, metadata jsonb not null)`;
  await sql`create table used_assertions (id bytea primary key, expires_at timestamptz not null)`;
  for (const client of clients) {
    await sql`insert into clients (id, metadata) values (${client.client_id}, ${sql.json(client)})`;
  }
  const refuse = async (): Promise<never> => {
    throw new Error('a JWT is not stored');
  };
  const nothing = async () => undefined;
  const adapter = (model: string): Adapter => ({
    find: async (id) => {
      if (model !== 'Client') return undefined;
      const [row] = await sql`select metadata from clients where id = ${id}`;
      return row?.metadata;
    },
    findByUid: nothing,
    findByUserCode: nothing,
    upsert: refuse,
    consume: refuse,
    destroy: refuse,
    revokeByGrantId: refuse,
  });
  const unique = async (iss: string, jti: string, exp: number): Promise<boolean> => {
    const id = createHash('sha256').update(`${iss} ${jti}`).digest();
    const { count } = await sql`
      insert into used_assertions (id, expires_at) values (${id}, to_timestamp(${exp})) on conflict do nothing`;
    return count === 1;
  };
  return { adapter, unique };
}
