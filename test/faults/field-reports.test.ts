/** What has gone wrong elsewhere, in production, told in our terms: two nodes on one database, and what must come of it. */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { revoke } from '../../src/domain/revocation/revoke.ts';
import { connect, transaction } from '../../src/platform/db/client.ts';
import { encodeBasic, openFeed } from '../support/feed.ts';
import { asApi, introspectAs } from '../support/oauth.ts';
import { askToken, callScim, createWorld, type KeyedAgent, must, readIntent, type World } from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let first: TestWrit;
let second: TestWrit;
let world: World;
let sql: postgres.Sql;
beforeAll(async () => {
  first = await startWrit();
  second = await startWrit({ databaseUrl: first.databaseUrl, issuer: first.url });
  world = await createWorld(first);
  sql = postgres(first.databaseUrl, { max: 1, onnotice: () => {} });
});
afterAll(async () => {
  await sql?.end();
  await second?.close();
  await first?.close();
});

const scim = (node: TestWrit, method: string, path: string, body?: object): Promise<Answer> =>
  callScim({ ...world.directory, scimUrl: `${node.url}/scim/v2` }, method, path, body);

const patch = (...Operations: object[]): object => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations,
});

const ask = (agent: KeyedAgent): Promise<Answer> => askToken(first, agent, { scope: readIntent });

test('two members are added to an empty group at once: it has both', async () => {
  for (let round = 0; round < 5; round++) {
    const group = must(await scim(first, 'POST', '/Groups', { displayName: randomUUID() })).body.id;
    const add = (node: TestWrit, value: string) =>
      scim(node, 'PATCH', `/Groups/${group}`, patch({ op: 'add', path: 'members', value: [{ value }] }));
    for (const answer of await Promise.all([add(first, world.alice), add(second, world.bob)])) must(answer);
    const { members } = must(await scim(first, 'GET', `/Groups/${group}`)).body;
    expect(members.map(({ value }: { value: string }) => value).sort()).toEqual([world.alice, world.bob].sort());
  }
});

describe('somebody who has left is created again with the same externalId', () => {
  interface Leaver {
    id: string;
    user: { userName: string; externalId: string; active: true };
    agent: KeyedAgent;
    token: string;
  }

  async function createLeaver(): Promise<Leaver> {
    const name = randomUUID();
    const user = { userName: `${name}@Example.com`, externalId: name, active: true } as const;
    const { id } = must(await scim(first, 'POST', '/Users', user)).body;
    const agent = await world.createAgent({ owner: id, environment: 'production' });
    return { id, user, agent, token: must(await ask(agent)).body.access_token };
  }

  async function expectStopped({ id, agent, token }: Leaver): Promise<void> {
    expect((await ask(agent)).body).toMatchObject({ error: 'access_denied', reason: 'owner_inactive' });
    expect((await introspectAs(second, asApi(world.api), token)).body).toEqual({ active: false });
    const { body } = await second.admin('GET', `/agents/${agent.id}`);
    expect(body).toMatchObject({ owner: id, live: false, latches: [{ reason: 'owner_lost' }] });
  }

  const deactivate = ({ id }: Leaver) =>
    scim(first, 'PATCH', `/Users/${id}`, patch({ op: 'Replace', path: 'active', value: 'false' }));

  test('after a deactivation the person is back, as they are now described, and without agents', async () => {
    const leaver = await createLeaver();
    must(await deactivate(leaver));
    const user = { ...leaver.user, userName: leaver.user.userName.toLowerCase(), displayName: 'Back again' };
    const back = await scim(second, 'POST', '/Users', user);
    expect([back.status, back.body]).toMatchObject([201, { ...user, id: leaver.id }]);
    expect(back.headers.get('location')).toMatch(new RegExp(`/scim/v2/Users/${leaver.id}$`));
    expect((await scim(first, 'GET', `/Users/${leaver.id}`)).body).toMatchObject(user);
    await expectStopped(leaver);

    const { items } = must(await first.admin('GET', `/audit?person=${leaver.id}`)).body;
    const kinds = items.map(({ kind }: { kind: string }) => kind).filter((kind: string) => kind.startsWith('person.'));
    expect(kinds).toEqual(['person.returned', 'person.offboarded', 'person.created']);
    // Only a named act revives an agent, and only its own.
    must(await first.admin('POST', `/agents/${leaver.agent.id}/activate`, { reason: 'reviewed' }));
    expect((await ask(leaver.agent)).status).toBe(200);
  });

  test('after a deletion it is somebody new, and what was theirs stays with the tombstone', async () => {
    const leaver = await createLeaver();
    must(await scim(second, 'DELETE', `/Users/${leaver.id}`));
    const back = must(await scim(first, 'POST', '/Users', leaver.user));
    expect(back.body.id).not.toBe(leaver.id);
    await expectStopped(leaver);
    expect((await first.admin('GET', `/agents?owner=${back.body.id}`)).body.items).toEqual([]);
    expect((await first.admin('POST', `/agents/${leaver.agent.id}/activate`, { reason: 'again' })).status).toBe(409);
  });

  test('at both nodes at once: one of them brings the person back, to the other they are there', async () => {
    for (let round = 0; round < 5; round++) {
      const leaver = await createLeaver();
      must(await deactivate(leaver));
      const answers = await Promise.all([first, second].map((node) => scim(node, 'POST', '/Users', leaver.user)));
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
      await expectStopped(leaver);
    }
  });

  test('who is active, or comes as inactive, is a conflict and changes nothing', async () => {
    const leaver = await createLeaver();
    const again = { ...leaver.user, displayName: 'Other' };
    const expectConflict = async (user: object): Promise<void> => {
      const { status, body } = await scim(first, 'POST', '/Users', user);
      expect([status, body.scimType]).toEqual([409, 'uniqueness']);
    };
    await expectConflict(again);
    expect((await ask(leaver.agent)).status).toBe(200);
    must(await deactivate(leaver));
    await expectConflict({ ...again, active: false });
    const { body } = await scim(first, 'GET', `/Users/${leaver.id}`);
    expect([body.active, body.displayName]).toEqual([false, undefined]);
  });
});

describe('the feed', () => {
  const authorization = () => encodeBasic(world.api.feedCredentials.clientId, world.api.feedCredentials.clientSecret);

  test('a node that starts between two transactions that commit in the other order misses neither', async () => {
    await using before = openDatabase(first.databaseUrl);
    const [early, late] = [randomUUID(), randomUUID()];
    const [begun, published, end] = [0, 1, 2].map(() => Promise.withResolvers<void>());
    // The one that began first is the last to take its number, and is still open when the node starts.
    const slow = transaction(before.db, async (tx) => {
      await tx.execute('select pg_current_xact_id()');
      begun?.resolve();
      await published?.promise;
      await revoke(tx, [{ id: early }]);
      await end?.promise;
    });
    await begun?.promise;
    await transaction(before.db, (tx) => revoke(tx, [{ id: late }]));
    published?.resolve();
    await using node = await startWrit({ databaseUrl: first.databaseUrl, issuer: first.url });
    await using feed = await openFeed(`${node.url}/revocations`, authorization());
    const snapshot = (await feed.next('snapshot'))?.data;
    expect(JSON.stringify(snapshot?.revocations)).toContain(late);
    expect(JSON.stringify(snapshot?.revocations)).not.toContain(early);
    end?.resolve();
    await slow;
    expect((await feed.next('revocation'))?.data).toMatchObject({ seq: Number(snapshot?.seq) + 1, subject: early });
  });

  test('the backend that listens is terminated while something is revoked: it is delivered all the same', async () => {
    await using feed = await openFeed(`${second.url}/revocations`, authorization());
    await feed.next('snapshot');
    for (let round = 0; round < 3; round++) {
      const agent = await world.createAgent({ owner: world.alice, environment: 'production' });
      const [gone] = await Promise.all([
        sql`select count(pg_terminate_backend(pid))::int as count from pg_stat_activity
          where datname = current_database() and application_name = 'writ bus'`,
        first.admin('POST', `/agents/${agent.id}/suspend`, { reason: 'test' }).then(must),
      ]);
      const answeredAt = performance.now();
      expect((await feed.next('revocation'))?.data).toMatchObject({ subject: agent.id });
      // It polls every 250 ms; the rest is for a busy machine.
      expect(performance.now() - answeredAt).toBeLessThan(3_000);
      if (round === 0) expect(gone[0]?.count).toBeGreaterThan(0);
    }
  });
});

function openDatabase(url: string) {
  const { db, close } = connect({ url });
  return { db, [Symbol.asyncDispose]: close };
}

test('all of this is in one log, which verifies', async () => {
  expect((await second.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
