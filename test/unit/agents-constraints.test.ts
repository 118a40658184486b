/** What holds of agents even for somebody who writes to the database by hand. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AgentWorld, openAgentWorld } from '../support/agents.ts';

let world: AgentWorld;
beforeAll(async () => {
  world = await openAgentWorld();
});
afterAll(() => world.close());

describe('the database itself refuses', () => {
  const insert = (columns: Record<string, unknown>) => {
    const row = {
      name: 'a',
      environment: 'production',
      credential_kind: 'secret',
      secret_hash: Buffer.of(0),
      ...columns,
    };
    return world.sql`insert into agents ${world.sql({ path: [], ...row })}`;
  };

  test('an agent without an owner, or of nobody', async () => {
    await expect(insert({})).rejects.toMatchObject({ code: '23502' });
    await expect(insert({ owner_id: randomUUID() })).rejects.toMatchObject({ code: '23503' });
  });

  test('a sub-agent of another owner or in another environment', async () => {
    const { id: parent_id, owner: owner_id } = await world.agent();
    await expect(insert({ parent_id, owner_id: await world.person() })).rejects.toMatchObject({ code: '23503' });
    await expect(insert({ parent_id, owner_id, environment: 'staging' })).rejects.toMatchObject({ code: '23503' });
    await expect(insert({ parent_id, owner_id })).resolves.toBeDefined();
  });

  test('a cycle, a parent of itself, another parent, another path', async () => {
    const root = await world.agent();
    const child = await world.agent({ parent: root.id });
    const self = randomUUID();
    await expect(insert({ id: self, parent_id: self, owner_id: root.owner })).rejects.toMatchObject({
      code: expect.stringMatching(/^23/),
    });
    const { sql } = world;
    for (const attempt of [
      sql`update agents set parent_id = ${child.id} where id = ${root.id}`,
      sql`update agents set parent_id = ${root.id} where id = ${root.id}`,
      sql`update agents set parent_id = null where id = ${child.id}`,
      sql`update agents set path = array[id] where id = ${child.id}`,
    ]) {
      await expect(attempt).rejects.toMatchObject({ constraint_name: 'agents_place' });
    }
  });

  test('another owner or environment for a sub-agent alone', async () => {
    const root = await world.agent();
    const child = await world.agent({ parent: root.id });
    const { sql } = world;
    const owner = await world.person();
    await expect(sql`update agents set owner_id = ${owner} where id = ${child.id}`).rejects.toMatchObject({
      code: '23503',
    });
    await expect(sql`update agents set environment = 'b' where id = ${child.id}`).rejects.toMatchObject({
      code: '23503',
    });
    await expect(sql`delete from agents where id = ${root.id}`).rejects.toMatchObject({ code: '23503' });
  });
});
