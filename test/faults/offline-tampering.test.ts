/**
 * An auditor who has an export of the log and the issuer's public keys, and nothing else. Whatever was done to the file is
 * found, at the first entry that is not proven.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeHash } from '../../src/audit/chain.ts';
import type { Act } from '../../src/domain/audit/append.ts';
import { latestCheckpoint } from '../../src/domain/audit/seal-chain.ts';
import { type AuditLog, issuer } from '../support/audit-log.ts';
import {
  at,
  change,
  cutAt,
  expectBad,
  exportLines,
  fillLog,
  openTamperedLog,
  rechain,
  signedAt,
  strangersCheckpoint,
  swap,
  verifyLines,
  without,
} from '../support/exported-log.ts';

let log: AuditLog;
let act: Act;
beforeAll(async () => {
  log = await openTamperedLog();
});
afterAll(() => log[Symbol.asyncDispose]());

const fill = async () => {
  act = await fillLog(log);
};

describe('an export', () => {
  beforeEach(fill);

  it('of a whole log verifies, from the first entry on and in parts', async () => {
    const lines = await exportLines(log);
    const kept = await latestCheckpoint(log.db);
    expect(await verifyLines(log, lines)).toEqual({
      ok: true,
      entries: 10,
      issuer,
      from: 1,
      checkpoint: { number: 10, hash: kept?.hash },
    });
    expect(await verifyLines(log, lines, { number: 10, hash: kept?.hash ?? '' })).toMatchObject({ ok: true });
    expect(await verifyLines(log, await exportLines(log, 6))).toMatchObject({
      ok: true,
      entries: 5,
      from: 6,
      checkpoint: { number: 10 },
    });
    expect(await verifyLines(log, await exportLines(log, 11))).toMatchObject({
      ok: true,
      entries: 0,
      checkpoint: { number: 10 },
    });
    await expect(exportLines(log, 12)).rejects.toMatchObject({ code: 'not_found' });
  });

  it('of many pages has every entry and checkpoint once', async () => {
    for (const count of [500, 499, 502, 1]) {
      await log.record(act, count);
      await log.seal();
    }
    const lines = await exportLines(log);
    expect(await verifyLines(log, lines)).toMatchObject({ ok: true, entries: 1_513 });
    expect(lines.filter((line) => line.startsWith('{"checkpoint"'))).toHaveLength(7);
  });

  it('of an empty log is a header and an end', async () => {
    await log.sql`truncate audit_entries, audit_nodes, audit_chain, audit_sealed, checkpoints`;
    expect(await verifyLines(log, await exportLines(log))).toMatchObject({ ok: true, entries: 0 });
  });

  it('survives a rotation, and the loss of keys that no longer sign', async () => {
    const lines = await exportLines(log);
    const stranger = await strangersCheckpoint(4, JSON.parse(lines[at(lines, 4)] ?? '').hash);
    // By a key that is not published (any more): it proves nothing, and the later ones prove everything before them.
    expect(await verifyLines(log, lines.with(signedAt(lines, 4), stranger))).toMatchObject({ ok: true });
  });
});

type Tampering = [string, (lines: string[]) => string[] | Promise<string[]>, number, RegExp];

describe('the file', () => {
  let lines: string[];
  beforeAll(async () => {
    await fill();
    lines = await exportLines(log);
  });

  const edits: Tampering[] = [
    [
      'a body',
      (all) => change(all, 6, (entry) => Object.assign(entry, { body: entry.body.replace('done', 'none') })),
      6,
      /does not continue/,
    ],
    [
      'a body, by a space',
      (all) => change(all, 6, (entry) => Object.assign(entry, { body: `${entry.body} ` })),
      6,
      /does not continue/,
    ],
    [
      'a MAC',
      (all) => change(all, 7, (entry) => Object.assign(entry, { mac: encodeHash(randomBytes(32)) })),
      7,
      /does not continue/,
    ],
    [
      'a hash',
      (all) => change(all, 3, (entry) => Object.assign(entry, { hash: encodeHash(randomBytes(32)) })),
      3,
      /does not continue/,
    ],
    [
      'a number',
      (all) => change(all, 3, (entry) => Object.assign(entry, { number: 30 })),
      3,
      /entry 30 stands in its place/,
    ],
    [
      'a body, and the chain worked out anew',
      (all) => rechain(change(all, 6, (entry) => Object.assign(entry, { body: entry.body.replace('done', 'none') }))),
      5,
      /entries 5 to 8 are not those/,
    ],
    [
      'a line that is no JSON',
      (all) => all.with(at(all, 5), (all[at(all, 5)] ?? '').slice(0, -1)),
      5,
      /line was edited/,
    ],
    [
      'the first line',
      (all) => all.with(0, (all[0] ?? '').replace('"from":1', '"from":2')),
      2,
      /entry 1 stands in its place/,
    ],
    [
      'the hash before the first',
      (all) => all.with(0, (all[0] ?? '').replace(/"previous":"A/, '"previous":"B')),
      1,
      /nothing comes before/,
    ],
    ['the issuer', (all) => all.with(0, (all[0] ?? '').replace('localhost', 'elsewhere')), 4, /was not made by/],
  ];
  const removals: Tampering[] = [
    ['the first entry', (all) => without(all, at(all, 1)), 1, /missing: entry 2/],
    ['an entry', (all) => without(all, at(all, 6)), 6, /missing: entry 7/],
    ['an entry, and the chain worked out anew', (all) => rechain(without(all, at(all, 6))), 5, /is that of entry 8/],
    ['the last entry', (all) => without(all, at(all, 10)), 9, /is that of entry 10/],
    [
      'the last two entries, and their checkpoint stays',
      (all) => without(all, at(all, 9), at(all, 10)),
      9,
      /cut off: there is a checkpoint of entry 10/,
    ],
    [
      'the last entry and the checkpoint',
      (all) => [...all.slice(0, at(all, 10)), '{"end":9}'],
      9,
      /no checkpoint by a known key vouches for entries 9 to 9/,
    ],
    [
      'the last entries, cut at a checkpoint, but for the end',
      (all) => [...all.slice(0, at(all, 9)), '{"end":10}'],
      9,
      /missing: the export ends with 10/,
    ],
    ['the end', (all) => all.slice(0, -2), 11, /no end/],
    [
      'half of a line',
      (all) => [...all.slice(0, at(all, 8)), (all[at(all, 8)] ?? '').slice(0, 40)],
      8,
      /line was edited/,
    ],
    ['everything', () => [''], 1, /empty/],
  ];
  const moves: Tampering[] = [
    ['two entries', (all) => swap(all, at(all, 5), at(all, 6)), 5, /entry 6 stands in its place/],
    [
      'two entries, and the chain worked out anew',
      (all) => rechain(swap(all, at(all, 5), at(all, 6))),
      5,
      /entries 5 to 8 are not those/,
    ],
    ['two checkpoints', (all) => swap(all, signedAt(all, 4), signedAt(all, 8)), 1, /is that of entry 8/],
    [
      'a checkpoint into another’s place',
      (all) => all.with(signedAt(all, 8), all[signedAt(all, 4)] ?? ''),
      5,
      /is that of entry 4/,
    ],
    [
      'a checkpoint to the end',
      (all) => [...without(all, signedAt(all, 4)).slice(0, -2), all[signedAt(all, 4)] ?? '', ...all.slice(-2)],
      10,
      /is that of entry 4/,
    ],
  ];
  const additions: Tampering[] = [
    ['an entry', (all) => all.toSpliced(at(all, 7), 0, all[at(all, 6)] ?? ''), 7, /entry 6 stands in its place/],
    [
      'an entry, and the chain worked out anew',
      (all) => rechain(all.toSpliced(at(all, 7), 0, all[at(all, 6)] ?? '')),
      7,
      /in the log twice/,
    ],
    [
      'an entry of a node’s own, and the chain worked out anew',
      (all) => {
        const body = JSON.stringify({ node: randomUUID(), counter: 1, kind: 'agent.created' });
        return rechain(
          all.toSpliced(
            at(all, 7),
            0,
            JSON.stringify({ number: 0, body, mac: 'AA', hash: encodeHash(randomBytes(32)) }),
          ),
        );
      },
      5,
      /is that of entry 8|not those that the signed checkpoint/,
    ],
    ['entries behind the end', (all) => [...all.slice(0, -1), all[at(all, 1)] ?? ''], 11, /follows the end/],
    [
      'entries behind the last checkpoint',
      (all) => rechain(all.toSpliced(-2, 0, (all[at(all, 10)] ?? '').replace('\\"counter\\":10', '\\"counter\\":11'))),
      11,
      /no checkpoint by a known key vouches for entries 11 to 11/,
    ],
    [
      'a checkpoint with an invented signature',
      (all) => all.with(signedAt(all, 8), (all[signedAt(all, 8)] ?? '').replace(/.{12}"}$/, 'AAAAAAAAAAAA"}')),
      8,
      /was not made by/,
    ],
    [
      'a checkpoint by another key under a known name',
      async (all) => {
        const changed = rechain(swap(all, at(all, 9), at(all, 10)));
        const kid = log.keyring.signingKey('ES256').kid;
        const { hash } = JSON.parse(changed.findLast((line) => line.startsWith('{"number"')) ?? '');
        return changed.with(-3, await strangersCheckpoint(10, hash, kid));
      },
      10,
      /was not made by/,
    ],
    [
      'a checkpoint by a key that nobody published',
      async (all) => {
        const changed = rechain(swap(all, at(all, 9), at(all, 10)));
        const { hash } = JSON.parse(changed.findLast((line) => line.startsWith('{"number"')) ?? '');
        return changed.with(-3, await strangersCheckpoint(10, hash));
      },
      9,
      /no checkpoint by a known key vouches for entries 9 to 10/,
    ],
    ['a second export', (all) => [...all.slice(0, signedAt(all, 8)), ...all], 9, /second export|is that of|checkpoint/],
  ];

  it.each(edits)('edited: %s', async (_, tamper, number, why) => expectBad(log, await tamper(lines), number, why));
  it.each(removals)('removed: %s', async (_, tamper, number, why) => expectBad(log, await tamper(lines), number, why));
  it.each(moves)('moved: %s', async (_, tamper, number, why) => expectBad(log, await tamper(lines), number, why));
  it.each(additions)('added: %s', async (_, tamper, number, why) => expectBad(log, await tamper(lines), number, why));

  it('cut exactly at a checkpoint is found by a later one, and by nothing else', async () => {
    const cut = cutAt(lines, 8);
    const outside = { number: 10, hash: (await latestCheckpoint(log.db))?.hash ?? '' };
    expect(await verifyLines(log, cut)).toMatchObject({ ok: true, checkpoint: { number: 8 } });
    await expectBad(log, cut, 9, /cut off: the checkpoint kept elsewhere is of entry 10/, outside);
    await expectBad(log, lines, 10, /not the one of the checkpoint/, { ...outside, hash: encodeHash(randomBytes(32)) });
  });
});
