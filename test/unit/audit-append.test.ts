import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chain, encodeHash, genesis } from '../../src/audit/chain.ts';
import * as audit from '../../src/domain/audit/append.ts';
import { compose, readBody } from '../../src/domain/audit/compose.ts';
import { latestCheckpoint, sealEntries } from '../../src/domain/audit/seal-chain.ts';
import { type AuditItem, searchAudit } from '../../src/domain/audit/search.ts';
import { transaction } from '../../src/platform/db/client.ts';
import { createKeyring } from '../../src/platform/keys/keyring.ts';
import { readStatement } from '../../src/platform/keys/sign.ts';
import { jwtTypes } from '../../src/protocol.ts';
import { type AuditLog, issuer, openAuditLog, silentLog } from '../support/audit-log.ts';

let log: AuditLog;
beforeAll(async () => {
  log = await openAuditLog();
});
afterAll(() => log[Symbol.asyncDispose]());

const issued = (more: Partial<audit.AuditEvent> = {}): audit.AuditEvent => ({
  kind: 'token.issued',
  outcome: 'done',
  ...more,
});
const countersOf = async (act: audit.Act) => {
  const rows = await log.sql`select counter from audit_entries where node = ${act.node.id} order by counter`;
  return rows.map((row) => Number(row.counter));
};

describe('append', () => {
  it('numbers a node without a gap, also when many append at once and some roll back', async () => {
    const act = await log.makeAct();
    const work = Array.from({ length: 40 }, (_, index) =>
      transaction(log.db, async (tx) => {
        await audit.append(tx, act, [issued(), issued({ reason: 'second' })]);
        if (index % 4 === 0) throw new Error('rolled back');
      }).catch(() => {}),
    );
    await Promise.all(work);
    expect(await countersOf(act)).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
    expect(await log.verify()).toMatchObject({ ok: true });
  });

  it('given the pool, is all or nothing too', async () => {
    const act = await log.makeAct();
    await audit.append(log.db, act, [issued(), issued()]);
    const bad = issued({ details: { n: 1n } });
    await expect(audit.append(log.db, act, [issued(), bad])).rejects.toThrow();
    await audit.append(log.db, act, [issued()]);
    expect(await countersOf(act)).toEqual([1, 2, 3]);
  });

  it('records what a stranger sent, whatever it is', async () => {
    const act = { ...(await log.makeAct()), from: null };
    const odd = 'x\0\ud800 \u2028 " \\ é 🙂';
    const details = { odd, nested: [{ odd }] };
    const event = issued({ agent: odd, person: 'nobody', intent: odd, jti: 'x'.repeat(5_000), reason: odd, details });
    await audit.append(log.db, act, [event]);
    const [item] = (await searchAudit(log.db, {}, { limit: 1 })).items;
    expect(item).toMatchObject(event);
    expect(await log.verify()).toMatchObject({ ok: true });
  });

  it('keeps every column', async () => {
    const act = await log.makeAct();
    const event = issued({
      agent: randomUUID().toUpperCase(),
      person: randomUUID(),
      intent: 'crm.read',
      jti: randomUUID(),
      expiresAt: new Date('2026-12-01T00:00:00Z'),
      dependsOn: [randomUUID(), 'with "quotes", {braces} and \\', ''],
    });
    await log.sql.begin(async (tx) => audit.insertAt(tx, await audit.takePlace(tx, act.node, 1), [{ act, event }]));
    await audit.append(log.db, act, [event]);
    const rows = await log.sql`select * from audit_entries where node = ${act.node.id} order by counter`;
    for (const row of rows) {
      expect(row).toMatchObject({
        kind: 'token.issued',
        agent_id: event.agent?.toLowerCase(),
        person_id: event.person,
        intent: 'crm.read',
        jti: event.jti,
        depends_on: event.dependsOn,
      });
      expect(new Date(row.expires_at)).toEqual(event.expiresAt);
    }
    expect(rows).toHaveLength(2);
    expect(await log.verify()).toMatchObject({ ok: true });
  });

  it('takes acts of several callers in one go', async () => {
    const act = await log.makeAct();
    const records = Array.from({ length: 200 }, (_, index) => ({
      act: { ...act, requestId: `r${index}` },
      event: issued({ jti: `j${index}` }),
    }));
    await log.sql.begin(async (tx) => audit.insertAt(tx, await audit.takePlace(tx, act.node, 200), records));
    expect(await countersOf(act)).toHaveLength(200);
    expect(await log.verify()).toMatchObject({ ok: true });
  });

  it('refuses a node that was not enlisted', async () => {
    const act = await log.makeAct();
    const stranger = { ...act, node: { ...act.node, id: randomUUID() } };
    await expect(audit.append(log.db, stranger, [issued()])).rejects.toThrow(/not enlisted/);
    await audit.enlist(log.db, stranger.node);
    await audit.enlist(log.db, stranger.node);
    await audit.append(log.db, stranger, [issued()]);
  });
});

describe('sealing', () => {
  const drain = async () => {
    while ((await log.seal()) > 0);
  };

  it('can be repeated offline from bodies, MACs and a checkpoint', async () => {
    await log.record(await log.makeAct(), 3);
    await drain();
    const checkpoint = await latestCheckpoint(log.db);
    const statement = checkpoint && readStatement(log.keyring, jwtTypes.checkpoint, checkpoint.jws);
    const rows = await log.sql<{ body: string; mac: Buffer }[]>`
      select body, mac from audit_chain join audit_entries using (node, counter) order by number`;
    let head = genesis;
    for (const row of rows) head = chain(head, row);
    expect(checkpoint).toMatchObject({ number: rows.length, hash: encodeHash(head.hash) });
    expect(statement?.claims).toMatchObject({ iss: issuer, number: rows.length, hash: encodeHash(head.hash) });
    expect(await log.seal()).toBe(0);
  });

  it('is done once, however many nodes seal at once', async () => {
    const second = await createKeyring({ db: log.db, kek: log.kek, now: () => new Date(), log: silentLog });
    const acts = [await log.makeAct(), await log.makeAct(), await log.makeAct()];
    let recording = true;
    const sealer = async (keyring: typeof second) => {
      let sealed = 0;
      while (recording) sealed += await sealEntries(log.db, keyring, issuer, 7);
      return sealed;
    };
    const sealers = [sealer(log.keyring), sealer(second), sealer(log.keyring)];
    const write = async (act: audit.Act) => {
      for (let made = 0; made < 40; made++) await log.record(act, 1);
    };
    const verifier = async () => {
      // Whatever is half-way at the moment, what is committed is whole.
      while (recording) expect(await log.verify()).toMatchObject({ ok: true });
    };
    const verified = verifier();
    await Promise.all(acts.map(write)).finally(() => {
      recording = false;
    });
    await verified;
    const sealed = (await Promise.all(sealers)).reduce((sum, one) => sum + one, 0);
    expect(sealed).toBeGreaterThan(0);
    await drain();
    const whole = await log.verify();
    expect(whole).toMatchObject({ ok: true, checkpoint: { number: whole.entries } });
    await second.close();
  });

  it('gives an entry that is committed late a later number', async () => {
    const [slow, fast] = [await log.makeAct(), await log.makeAct()];
    let late: Promise<void> = Promise.resolve();
    await new Promise<void>((written) => {
      late = transaction(log.db, async (tx) => {
        await audit.append(tx, slow, [issued()]);
        written();
        await log.record(fast, 2);
        await drain();
      });
    });
    await late;
    await drain();
    const numbers = await log.sql`
      select node from audit_chain where node in (${slow.node.id}, ${fast.node.id}) order by number`;
    expect(numbers.map((row) => row.node)).toEqual([fast.node.id, fast.node.id, slow.node.id]);
    expect(await log.verify()).toMatchObject({ ok: true });
  });

  it('bears a clock that was set back', async () => {
    const act = await log.makeAct();
    await log.record(act, 3);
    // The first of the three under a later instant, as its node would have written it.
    const [first] = await log.sql`select body from audit_entries where node = ${act.node.id} and counter = 1`;
    const body = readBody(first?.body);
    const at = new Date(Date.now() + 60_000);
    const row = compose(act, 1, at, issued({ jti: body?.jti ?? '', agent: body?.agent ?? '' }));
    await log.sql`
      update audit_entries set at = ${at}, body = ${row.body}, mac = ${row.mac}
      where node = ${act.node.id} and counter = 1`;
    expect(await log.verify()).toMatchObject({ ok: true });
    for (let turn = 0; turn < 3; turn++) expect(await log.seal(1)).toBe(1);
    expect(await log.verify()).toMatchObject({ ok: true });
  });

  it('leaves nothing half done when it is cut off in the middle', async () => {
    const act = await log.makeAct();
    await log.record(act, 5);
    await log.sql.unsafe(`
      create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
      create trigger refuse before insert on checkpoints for each row execute function refuse()`);
    await expect(log.seal()).rejects.toThrow();
    expect(await log.sql`select from audit_chain where node = ${act.node.id}`).toHaveLength(0);
    expect(await log.verify()).toMatchObject({ ok: true });
    await log.sql.unsafe('drop trigger refuse on checkpoints');
    expect(await log.seal()).toBe(5);
    expect(await log.verify()).toMatchObject({ ok: true });
  });
});

describe('search', () => {
  const all = async (filter: Parameters<typeof searchAudit>[1], limit: number) => {
    const items: AuditItem[] = [];
    let cursor: string | undefined;
    do {
      const page = await searchAudit(log.db, filter, { limit, cursor });
      items.push(...page.items);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    return items;
  };

  it('pages through everything once, newest first', async () => {
    const items = await all({}, 17);
    const [count] = await log.sql`select count(*)::int as n from audit_entries`;
    expect(items).toHaveLength(count?.n);
    expect(new Set(items.map(({ node, counter }) => `${node} ${counter}`)).size).toBe(items.length);
    const instants = items.map(({ at }) => at);
    expect(instants).toEqual([...instants].sort().reverse());
  });

  it('finds by each member and by all together', async () => {
    const act = await log.makeAct();
    const [agent, person, jti] = [randomUUID(), randomUUID(), randomUUID()];
    const intent = 'search.me';
    await audit.append(log.db, act, [issued({ agent, person, jti, intent }), issued({ agent }), issued({ person })]);
    const find = async (filter: Parameters<typeof searchAudit>[1]) =>
      (await all(filter, 100)).map(({ counter }) => counter);
    expect(await find({ agent })).toEqual([2, 1]);
    expect(await find({ person })).toEqual([3, 1]);
    expect(await find({ jti })).toEqual([1]);
    expect(await find({ intent })).toEqual([1]);
    expect(await find({ agent, person, jti, intent, kind: 'token.issued' })).toEqual([1]);
    expect(await find({ agent, kind: 'token.refused' })).toEqual([]);
    expect(await find({ agent: 'no uuid' })).toEqual([]);
    const [entry] = await all({ jti }, 1);
    const at = new Date(entry?.at ?? 0);
    expect(await find({ jti, since: at })).toEqual([1]);
    expect(await find({ jti, until: at })).toEqual([]);
    await log.seal();
    expect(await all({ jti }, 1)).toMatchObject([{ number: expect.any(Number), hash: expect.any(String) }]);
  });

  it.each(['x', Buffer.from('["a","b",1]').toString('base64url'), Buffer.from('[1,2,3]').toString('base64url')])(
    'refuses a cursor that is none of its own: %s',
    async (cursor) => {
      await expect(searchAudit(log.db, {}, { limit: 1, cursor })).rejects.toMatchObject({ code: 'invalid_request' });
    },
  );

  it('shows the rest of the log when a body was overwritten', async () => {
    const act = await log.makeAct();
    await log.record(act, 1);
    await log.sql`update audit_entries set body = 'gone' where node = ${act.node.id}`;
    const items = await all({ since: new Date(Date.now() - 60_000) }, 50);
    expect(items.filter((item) => 'unreadable' in item)).toMatchObject([{ node: act.node.id, counter: 1 }]);
  });
});
