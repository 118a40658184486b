/** What a verifier with valid feed credentials, or a node with a wrong clock, can make a signed receipt say. */
import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { latestOffboarding } from '../../src/domain/people/offboard.ts';
import { listReceipts, type Receipt } from '../../src/domain/people/receipts.ts';
import { acknowledge, readFeed } from '../../src/domain/signals/feed.ts';
import { createScim } from '../../src/edges/scim/scim.ts';
import { createLimits } from '../../src/platform/http/rate-limit.ts';
import { registerApi } from '../support/feed.ts';
import { issuer, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

async function receiptOf(person: string): Promise<Receipt> {
  const { items } = await listReceipts(world.db, { person }, { limit: 1 });
  const [receipt] = items;
  if (receipt === undefined) throw new Error('no receipt');
  return receipt;
}

async function offboard(): Promise<string> {
  const person = await directory.user();
  expect((await directory.call('DELETE', `/Users/${person}`)).status).toBe(204);
  return person;
}

const identifierOf = async (id: string): Promise<string> =>
  (await world.sql`select identifier from apis where id = ${id}`)[0]?.identifier;

it('a verifier cannot acknowledge under the name of another API’s: the receipt says whose it is', async () => {
  const [crm, evil] = [await registerApi(world.sql), await registerApi(world.sql)];
  const person = await offboard();
  const { seq } = await receiptOf(person);
  await acknowledge(world.db, evil.id, 'crm-1', seq);
  expect((await receiptOf(person)).acknowledgements).toMatchObject([
    { api: await identifierOf(evil.id), verifier: 'crm-1' },
  ]);
  await acknowledge(world.db, crm.id, 'crm-1', seq);
  expect((await receiptOf(person)).acknowledgements).toHaveLength(2);
});

it('a lower number that is acknowledged afterwards changes no instant of a receipt', async () => {
  const api = await registerApi(world.sql);
  const [first, second] = [await offboard(), await offboard()];
  await acknowledge(world.db, api.id, 'v', (await receiptOf(second)).seq);
  const before = await receiptOf(first);
  await acknowledge(world.db, api.id, 'v', before.seq);
  expect((await receiptOf(first)).acknowledgements).toEqual(before.acknowledgements);
});

it('who starts when every token of the leaver has expired is not in the receipt', async () => {
  const api = await registerApi(world.sql);
  const person = await offboard();
  const { seq } = await receiptOf(person);
  await acknowledge(world.db, api.id, 'in-time', seq);
  await world.sql`insert into acknowledgements (api_id, verifier, seq, at)
    values (${api.id}, 'a-year-later', ${seq}, now() + interval '1 year')`;
  expect((await receiptOf(person)).acknowledgements).toMatchObject([{ verifier: 'in-time' }]);
});

it('one API writes a bounded number of acknowledgements, whatever names it invents', async () => {
  const [api, other] = [await registerApi(world.sql), await registerApi(world.sql)];
  await offboard();
  const { head: seq } = await readFeed(world.db, 0, 0);
  await world.sql`insert into acknowledgements (api_id, verifier, seq)
    select ${api.id}, 'v-' || n, ${seq} from generate_series(1, 1000) n`;
  await expect(acknowledge(world.db, api.id, randomUUID(), seq)).rejects.toMatchObject({ code: 'forbidden' });
  await acknowledge(world.db, api.id, 'v-1', seq);
  await acknowledge(world.db, other.id, 'v', seq);
  // Numbers that were swept are about nothing that is alive.
  await world.sql`update feed set swept = seq`;
  await acknowledge(world.db, other.id, 'v-old', seq - 1);
  expect(await world.sql`select from acknowledgements where verifier = 'v-old'`).toHaveLength(0);
});

it.each([-3_600_000, 3_600_000])(
  'a node whose clock is %i ms off: asked, committed, answered, in this order',
  async (off) => {
    const now = () => new Date(Date.now() + off);
    const limits = createLimits({ client: 0, directory: 0, failures: 0 }, () => 0);
    const log = pino({ level: 'silent' });
    const deps = { db: world.db, node: world.act.node, now, issuer, limits, log, cursorKey: Buffer.alloc(32) };
    const app = new Hono().route('/scim/v2', createScim(deps));
    const person = await directory.user();
    const headers = { Authorization: `Bearer ${directory.token}` };
    expect((await app.request(`${issuer}/scim/v2/Users/${person}`, { method: 'DELETE', headers })).status).toBe(204);
    expect(await latestOffboarding(world.db, person)).toBeDefined();
    await expect.poll(async () => (await receiptOf(person)).answeredAt).not.toBeNull();
    const { requestedAt, committedAt, answeredAt } = await receiptOf(person);
    const instants = [requestedAt, committedAt, answeredAt ?? ''].map((at) => Date.parse(at));
    expect(instants).toEqual(instants.toSorted((a, b) => a - b));
  },
);
