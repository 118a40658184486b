/** Somebody with every right on the database changes the log. Each change is found, at its first bad number. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chain, encodeHash, genesis, type Head } from '../../src/audit/chain.ts';
import type { Act } from '../../src/domain/audit/append.ts';
import { latestCheckpoint } from '../../src/domain/audit/seal-chain.ts';
import { revokeKey } from '../../src/domain/tokens/key-lifecycle.ts';
import { makeKeyPair, sealKeyPair } from '../../src/platform/keys/key-pair.ts';
import { signStatement } from '../../src/platform/keys/sign.ts';
import { jwtTypes } from '../../src/protocol.ts';
import { type AuditLog, issuer, openAuditLog } from '../support/audit-log.ts';

let log: AuditLog;
let act: Act;
beforeAll(async () => {
  log = await openAuditLog();
  // What the database refuses by itself does not count: the attacker owns it.
  await log.sql`alter table audit_entries drop constraint audit_entries_pkey, drop constraint audit_entries_node_fkey`;
});
afterAll(() => log[Symbol.asyncDispose]());

/** Ten sealed entries, with checkpoints of 4, 8 and 10, and three that are not sealed (11, 12, 13 to be). */
beforeEach(async () => {
  await log.sql`truncate audit_entries, audit_nodes, audit_chain, audit_sealed, checkpoints`;
  act = await log.makeAct();
  for (const count of [4, 4, 2]) {
    await log.record(act, count);
    expect(await log.seal()).toBe(count);
  }
  await log.record(act, 3);
  expect(await log.verify()).toMatchObject({ ok: true, entries: 13, checkpoint: { number: 10 } });
});

const firstBad = async (number: number, why: RegExp, checkpoint?: { number: number; hash: string }) => {
  const found = await log.verify(checkpoint);
  expect(found).toMatchObject({ ok: false, firstBad: { number } });
  expect(found.firstBad?.why).toMatch(why);
  expect(found.checkpoint).toBeUndefined();
};

/** Works the chain out anew from the rows as they stand, as an attacker without the signing key can. */
async function rechain() {
  const rows = await log.sql<{ number: string; body: string; mac: Buffer }[]>`
    select number, body, mac from audit_chain join audit_entries using (node, counter) order by number`;
  let head: Head = genesis;
  for (const row of rows) {
    head = chain(head, row);
    await log.sql`update audit_chain set hash = ${head.hash} where number = ${row.number}`;
  }
  return head;
}

describe('edits of a sealed entry', () => {
  it('body', async () => {
    await log.sql`update audit_entries set body = replace(body, '"done"', '"refused"') where counter = 6`;
    await firstBad(6, /MAC does not fit/);
    await rechain();
    await firstBad(6, /MAC does not fit/);
  });

  it('MAC', async () => {
    await log.sql`update audit_entries set mac = set_byte(mac, 3, get_byte(mac, 3) # 1) where counter = 7`;
    await firstBad(7, /MAC does not fit/);
  });

  it('a MAC of another length', async () => {
    await log.sql`update audit_entries set mac = '' where counter = 7`;
    await firstBad(7, /MAC does not fit/);
  });

  it('hash', async () => {
    await log.sql`update audit_chain set hash = set_byte(hash, 0, get_byte(hash, 0) # 1) where number = 3`;
    await firstBad(3, /does not continue the chain/);
  });

  it.each([
    ['at', "at + interval '1 microsecond'"],
    ['kind', "'token.refused'"],
    ['agent_id', 'gen_random_uuid()'],
    ['agent_id', 'null'],
    ['person_id', 'gen_random_uuid()'],
    ['intent', "'payments.refund'"],
    ['jti', "'another'"],
    ['expires_at', 'now()'],
    ['depends_on', "array['x']"],
    ['depends_on', "'{}'::text[]"],
  ])('column %s = %s', async (column, value) => {
    await log.sql.unsafe(`update audit_entries set ${column} = ${value} where counter = 9`);
    await firstBad(9, new RegExp(`column ${column} was edited`));
  });

  it.each(['counter = counter + 100', 'node = gen_random_uuid()'])('its place: %s', async (edit) => {
    await log.sql.unsafe(`update audit_entries set ${edit} where counter = 9`);
    await firstBad(9, /it is missing: entry 9 of node/);
  });

  it('a body of another entry with its MAC', async () => {
    await log.sql`update audit_entries a set body = b.body, mac = b.mac from audit_entries b where a.counter = 5 and b.counter = 6`;
    await firstBad(5, /column counter was edited/);
  });
});

describe('sealed entries deleted', () => {
  it.each([1, 5, 9])('number %i', async (number) => {
    await log.sql`delete from audit_entries where counter = ${number}`;
    await firstBad(number, /missing/);
  });

  it('and the rest moved up', async () => {
    await log.sql`delete from audit_entries where counter = 5`;
    await log.sql`delete from audit_chain where number = 5`;
    await log.sql`update audit_chain set number = -number where number > 5`;
    await log.sql`update audit_chain set number = -number - 1 where number < 0`;
    await firstBad(5, /does not continue/);
    await rechain();
    await firstBad(5, /entry 5 of node .* is missing/);
  });

  it('in the middle of a log of many batches', async () => {
    await log.record(act, 1_600);
    await log.seal();
    await log.record(act, 600);
    expect(await log.verify()).toMatchObject({ ok: true, entries: 2_213 });
    await log.sql`delete from audit_entries where counter = 2100`;
    await firstBad(2_100, /entry 2100 of node .* is missing/);
    await log.sql`delete from audit_entries where counter = 1001`;
    await firstBad(1_001, /missing/);
    await log.sql`update audit_entries set jti = 'x' where counter = 1000`;
    await firstBad(1_000, /column jti/);
  });

  it('all of them, and everything about them but the counters', async () => {
    await log.sql`truncate audit_entries, audit_chain, checkpoints`;
    await firstBad(1, /entries 1 to 13 of node .* are missing/);
  });

  it('at the end, and their places left', async () => {
    await log.sql`delete from audit_entries where counter > 8`;
    await firstBad(9, /it is missing: entry 9 of node .* has this place/);
  });

  it('at the end', async () => {
    await log.sql`delete from audit_entries where counter > 8`;
    await log.sql`delete from audit_chain where number > 8`;
    await firstBad(9, /cut off the end: there is a checkpoint of entry 10/);
  });

  it('at the end, with the checkpoint', async () => {
    await log.sql`delete from audit_entries where counter > 8`;
    await log.sql`delete from audit_chain where number > 8`;
    await log.sql`delete from checkpoints where number > 8`;
    await firstBad(9, /cut off the end: entries 9 to 13 of node .* are missing/);
  });

  it('at the end, behind the last checkpoint that is left', async () => {
    await log.sql`delete from audit_entries where counter > 9`;
    await log.sql`delete from audit_chain where number > 9`;
    await log.sql`delete from checkpoints where number > 8`;
    await firstBad(9, /no checkpoint vouches for entries 9 to 9/);
  });

  it('at the end, and the log goes on', async () => {
    await log.sql`delete from audit_entries where counter in (9, 10)`;
    await log.sql`delete from audit_chain where number > 8`;
    await log.record(act, 1);
    await expect(log.seal()).rejects.toThrow(/not sealing/);
    await firstBad(9, /cut off the end: there is a checkpoint/);
    await log.sql`delete from checkpoints where number > 8`;
    await log.seal();
    await firstBad(9, /entries 9 to 10 of node .* are missing/);
  });

  it('at the end, with checkpoints and counters: the checkpoint kept outside finds it', async () => {
    const kept = await latestCheckpoint(log.db);
    const outside = { number: kept?.number ?? 0, hash: kept?.hash ?? '' };
    expect(await log.verify(outside)).toMatchObject({ ok: true });
    await log.sql`delete from audit_entries where counter > 8`;
    await log.sql`delete from audit_chain where number > 8`;
    await log.sql`delete from checkpoints where number > 8`;
    await log.sql`update audit_nodes set counter = 8`;
    await log.sql`update audit_sealed set counter = 8`;
    expect(await log.verify()).toMatchObject({ ok: true, entries: 8 });
    await firstBad(9, /cut off the end: the checkpoint kept outside is of entry 10/, outside);
    // The node goes on and fills the numbers again.
    await log.record(act, 4);
    await log.seal();
    expect(await log.verify()).toMatchObject({ ok: true, entries: 12 });
    await firstBad(10, /not the one of the checkpoint that was kept outside/, outside);
  });
});

describe('order', () => {
  it('two entries change places', async () => {
    await log.sql`update audit_chain set number = case number when 5 then -6 else -5 end where number in (5, 6)`;
    await log.sql`update audit_chain set number = -number where number < 0`;
    await firstBad(5, /does not continue the chain/);
    await rechain();
    await firstBad(5, /entries 5 to 8 are not those that the signed checkpoint describes/);
  });

  it('an entry is put in', async () => {
    await log.sql`update audit_chain set number = -number where number > 6`;
    await log.sql`update audit_chain set number = -number + 1 where number < 0`;
    await log.sql`
      insert into audit_entries (node, counter, at, kind, body, mac)
      select node, 14, at, kind, replace(body, '"counter":6', '"counter":14'), mac from audit_entries where counter = 6`;
    await log.sql`insert into audit_chain select 7, node, 14, hash from audit_chain where number = 6`;
    await rechain();
    await firstBad(7, /MAC does not fit/);
  });

  it('an entry is there twice', async () => {
    await log.sql`
      insert into audit_entries select node, counter, at, kind, body, mac, agent_id, person_id, intent, jti, expires_at,
        depends_on from audit_entries where counter = 2`;
    await firstBad(2, /entry 2 of node .* is in the log twice/);
  });

  it('an entry that was sealed is made one that was not', async () => {
    await log.sql`delete from audit_chain where number = 10`;
    await firstBad(10, /there is a checkpoint of entry 10/);
  });
});

describe('checkpoints', () => {
  it('an invented signature', async () => {
    await log.sql`update checkpoints set jws = overlay(jws placing 'AAAA' from length(jws) - 9) where number = 8`;
    await firstBad(8, /no signature/);
  });

  it('a chain worked out anew, with a checkpoint by a key that the attacker put in', async () => {
    await log.sql`update audit_chain set number = case number when 9 then -10 else -9 end where number in (9, 10)`;
    await log.sql`update audit_chain set number = -number where number < 0`;
    const head = await rechain();
    const pair = await makeKeyPair('ES256');
    await log.sql`
      insert into signing_keys (kid, algorithm, public_jwk, private_key, signs_from)
      values (${pair.kid}, 'ES256', ${JSON.stringify(pair.publicJwk)}::jsonb, ${sealKeyPair(randomBytes(32), pair)}, now())`;
    const claims = { iss: issuer, number: 10, hash: encodeHash(head.hash), iat: 1 };
    const jws = signStatement({ signingKey: () => pair }, jwtTypes.checkpoint, claims);
    await log.sql`update checkpoints set hash = ${head.hash}, jws = ${jws} where number = 10`;
    await firstBad(10, /no signature/);
    await log.sql`delete from signing_keys where kid = ${pair.kid}`;
  });

  it('one moved to another place', async () => {
    await log.sql`delete from checkpoints where number = 8`;
    await log.sql`update checkpoints set number = 8 where number = 4`;
    await firstBad(8, /was edited/);
  });

  it('edited columns', async () => {
    await log.sql`update checkpoints set hash = set_byte(hash, 1, get_byte(hash, 1) # 1) where number = 4`;
    await firstBad(4, /was edited/);
  });

  it('all gone', async () => {
    await log.sql`truncate checkpoints`;
    await firstBad(1, /no checkpoint vouches for entries 1 to 10/);
    await expect(log.seal()).rejects.toThrow(/not sealing/);
  });

  it('signed by a key that was revoked, and the log cut behind them', async () => {
    const kid = log.keyring.signingKey('ES256').kid;
    await log.seal();
    await revokeKey(log.db, act, kid, { kek: log.kek });
    // The keyring is behind: nothing is signed with the dead key, and the next turn has the new one.
    expect(await log.seal()).toBe(0);
    expect(await log.verify()).toMatchObject({ ok: true, entries: 14, checkpoint: { number: 13 } });
    expect(await log.seal()).toBe(1);
    expect(await log.verify()).toMatchObject({ ok: true, checkpoint: { number: 14 } });
    await log.sql`delete from audit_entries where counter > 13`;
    await log.sql`delete from audit_chain where number > 13`;
    await log.sql`delete from checkpoints where number > 13`;
    await log.sql`update audit_nodes set counter = 13`;
    await firstBad(13, /only the revoked key/);
  });
});

describe('entries that are not sealed', () => {
  it('edited', async () => {
    await log.sql`update audit_entries set body = replace(body, 'done', 'refused') where counter = 12`;
    await firstBad(12, /not sealed yet, this is the number it would get: .*MAC/);
  });

  it('passed over: the sealer was made to think that it has come further', async () => {
    await log.sql`update audit_sealed set counter = 13`;
    await firstBad(11, /would never be sealed/);
    await log.seal();
    await firstBad(11, /would never be sealed/);
  });

  it('the sealer made to think that it has not come so far: it gives nothing a second place', async () => {
    await log.sql`update audit_sealed set counter = 3`;
    expect(await log.verify()).toMatchObject({ ok: true });
    expect(await log.seal()).toBe(3);
    expect(await log.verify()).toMatchObject({ ok: true, entries: 13, checkpoint: { number: 13 } });
  });

  it('column edited', async () => {
    await log.sql`update audit_entries set jti = null where counter = 12`;
    await firstBad(12, /not sealed yet.*column jti/);
  });

  it('deleted', async () => {
    await log.sql`delete from audit_entries where counter = 12`;
    await firstBad(12, /entry 12 of node .* is missing/);
    await log.seal();
    await firstBad(12, /entry 12 of node .* is missing/);
  });

  it('cut off', async () => {
    await log.sql`delete from audit_entries where counter > 11`;
    await firstBad(12, /cut off the end: entries 12 to 13 of node .* are missing/);
  });

  it('the last one alone', async () => {
    await log.sql`delete from audit_entries where counter = 13`;
    await firstBad(13, /cut off the end: entry 13 of node .* is missing/);
  });

  it('invented', async () => {
    await log.sql`
      insert into audit_entries (node, counter, at, kind, body, mac)
      select node, 14, clock_timestamp(), kind, replace(body, '"counter":13', '"counter":14'), ${randomBytes(32)}
      from audit_entries where counter = 13`;
    await log.sql`update audit_nodes set counter = 14`;
    await firstBad(14, /MAC does not fit/);
  });
});

describe('nodes', () => {
  it('a counter set back or put forward', async () => {
    await log.sql`update audit_nodes set counter = 12`;
    await firstBad(14, /counter of node .* was set back/);
    await log.sql`update audit_nodes set counter = 15`;
    await firstBad(14, /entries 14 to 15 of node .* are missing/);
  });

  it('a node that was taken off the list, and with it its entries', async () => {
    const other = await log.makeAct();
    await log.record(other, 2);
    expect(await log.verify()).toMatchObject({ ok: true, entries: 15 });
    await log.sql`delete from audit_nodes where node = ${other.node.id}`;
    await firstBad(16, /node .* is not known/);
  });

  it('several nodes, one of them cut', async () => {
    const other = await log.makeAct();
    await log.record(other, 2);
    await log.record(act, 1);
    await log.seal();
    expect(await log.verify()).toMatchObject({ ok: true, entries: 16, checkpoint: { number: 16 } });
    await log.sql`delete from audit_entries where node = ${other.node.id} and counter = 2`;
    await firstBad(15, /missing/);
  });

  it('another KEK fits nothing', async () => {
    const stranger = { ...act, node: { id: randomUUID(), macKey: randomBytes(32) } };
    await log.sql`insert into audit_nodes (node) values (${stranger.node.id})`;
    await log.record(stranger, 1);
    await firstBad(14, /MAC does not fit/);
  });
});
