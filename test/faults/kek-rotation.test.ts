/** The key encryption key is exchanged while Writ runs: nothing that was sealed, signed or recorded under the old one is lost. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { open } from '../../src/platform/keys/seal.ts';
import { resolveSealedKey } from '../../src/platform/keys/sealed-key.ts';
import { openAuditLog } from '../support/audit-log.ts';
import { createTestDatabase, runAsAdmin, type TestDatabase } from '../support/database.ts';
import { asApi, introspectAs } from '../support/oauth.ts';
import { awaitSealed } from '../support/sealed.ts';
import { askToken, createWorld, detail, makeAssertion, must, readIntent, type World } from '../support/world.ts';
import { readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

const [first, second] = [randomBytes(32), randomBytes(32)].map((key) => key.toString('base64')) as [string, string];
let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const startNode = (env: Record<string, string>, issuer?: string): Promise<TestWrit> =>
  startWrit({ databaseUrl: database.url, env, ...(issuer === undefined ? {} : { issuer }) });
/** A token from any node; the assertion is for the one issuer. */
const askAt = (node: TestWrit, world: World, issuer: string) =>
  askToken(node, world.triage, {
    authorization_details: detail(readIntent),
    client_assertion: makeAssertion({ ...node, url: issuer }, world.triage),
  });

async function readSealed(): Promise<{ name: string; sealed: Buffer }[]> {
  let rows: { name: string; sealed: Buffer }[] = [];
  await runAsAdmin(database.url, async (sql) => {
    rows = await sql`select kid as name, private_key as sealed from signing_keys
      union all select name, sealed from sealed_keys`;
  });
  return rows;
}
const opens = (kek: string, { name, sealed }: { name: string; sealed: Buffer }): boolean => {
  try {
    return open(Buffer.from(kek, 'base64'), name, sealed).length > 0;
  } catch {
    return false;
  }
};

test('tokens and the audit log outlive the KEK, and no node has to stop for it', async () => {
  const old = await startNode({ WRIT_KEK: first });
  const issuer = old.url;
  const world = await createWorld(old);
  const token = must(await askAt(old, world, issuer)).body.access_token;
  const before = await awaitSealed(old);
  expect(before.ok).toBe(true);

  // Several nodes start at once: one of them seals anew.
  const both = { WRIT_KEK: second, WRIT_KEK_PREVIOUS: first };
  const nodes = await Promise.all([startNode(both, issuer), startNode(both, issuer)]);
  const [renewed] = nodes;
  for (const sealed of await readSealed()) expect([opens(first, sealed), opens(second, sealed)]).toEqual([false, true]);
  // The old node goes on beside them.
  for (const node of [old, ...nodes]) must(await askAt(node, world, issuer));
  expect((await renewed.admin('GET', '/audit?kind=key.rewrapped')).body.items).toMatchObject([
    { details: { keys: 5 } },
  ]);
  const [ours, theirs] = await Promise.all(
    [renewed, old].map(({ url }) => fetch(`${url}/oauth/jwks`).then(readAnswer)),
  );
  expect(ours?.body.keys).toEqual(theirs?.body.keys);
  await Promise.all([old, ...nodes].map((node) => node.close()));

  await expect(startNode({ WRIT_KEK: first }, issuer)).rejects.toThrow(/does not open with this WRIT_KEK/);
  await using later = await startNode({ WRIT_KEK: second }, issuer);
  expect((await introspectAs(later, asApi(world.api), token)).body.active).toBe(true);
  const { number, hash } = before.checkpoint;
  const after = (await later.admin('POST', '/audit/verify', { checkpoint: { number, hash } })).body;
  expect(after.ok).toBe(true);
  expect(after.entries).toBeGreaterThan(before.entries);
}, 60_000);

test('a log that was begun under a key derived from the KEK goes on under it', async () => {
  await using place = await openAuditLog();
  const act = await place.makeAct();
  await place.record(act, 3);
  const keks = { kek: place.kek };
  expect(await resolveSealedKey(place.db, keks, 'audit-mac')).toEqual(place.macKey);
  expect(await resolveSealedKey(place.db, keks, 'audit-mac')).toEqual(place.macKey);
  expect(await place.verify()).toMatchObject({ ok: true, entries: 3 });
});
