/**
 * A node that hears no NOTIFY at all learns of every change of the signing keys by its poll: what another node rotates or
 * revokes is honoured within the interval. (`feed-delivery.test.ts` shows the same of revocations.)
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Cluster,
  type Company,
  judge,
  openCluster,
  openCompany,
  showOnFailure,
  untilJudged,
  type WritNode,
} from '../support/nodes.ts';
import { type PgProxy, startPgProxy } from '../support/pg-proxy.ts';
import { decodeToken, must } from '../support/world.ts';

/** `pollMs` of the keyring, and room for a busy machine. */
const withinMs = 5_000 + 10_000;

let cluster: Cluster;
let node: WritNode;
let deaf: WritNode;
let company: Company;
let proxy: PgProxy;

beforeAll(async () => {
  cluster = await openCluster();
  proxy = await startPgProxy(cluster.databaseUrl, { deaf: true });
  [node, deaf] = await Promise.all([cluster.start(), cluster.start({ databaseUrl: proxy.url })]);
  company = await openCompany(cluster, node);
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await proxy?.close();
});
showOnFailure(() => cluster?.said());

const publishedBy = async (where: WritNode): Promise<string[]> => {
  const { keys } = (await (await fetch(`${where.url}/oauth/jwks`)).json()) as { keys: { kid: string }[] };
  return keys.map(({ kid }) => kid);
};

const ask = async (where: WritNode): Promise<{ token: string; kid: string }> => {
  const token: string = must(await cluster.ask(where, company.triage)).body.access_token;
  return { token, kid: decodeToken(token).header.kid };
};

test('a rotated key is published by it before anybody signs with it', async () => {
  const { items } = must(await node.admin('POST', '/keys/rotate', { algorithm: 'ES256' })).body;
  const [{ kid }] = items;
  expect(await publishedBy(node)).toContain(kid);
  await expect.poll(() => publishedBy(deaf), { timeout: withinMs }).toContain(kid);
  expect((await ask(node)).kid).not.toBe(kid);
  expect((await ask(deaf)).kid).not.toBe(kid);
});

test('a revoked key is dead for its verifiers at once, and for itself within a poll', async () => {
  const verifier = await company.follow(deaf);
  const before = await ask(deaf);
  expect(await judge(verifier, before.token)).toBe('accepted');
  const { replacement } = must(await node.admin('POST', `/keys/${before.kid}/revoke`, {})).body;

  expect(await untilJudged(verifier, before.token, 'key_revoked')).toBe('key_revoked');
  expect((await ask(node)).kid).toBe(replacement);
  await expect.poll(async () => (await ask(deaf)).kid, { timeout: withinMs }).toBe(replacement);
  expect(await publishedBy(deaf)).not.toContain(before.kid);
  expect(await company.isActive(deaf, before.token)).toBe(false);
  const after = await ask(deaf);
  expect(await untilJudged(verifier, after.token, 'accepted')).toBe('accepted');
  expect(await company.isActive(node, after.token)).toBe(true);
  await verifier.close();
});
