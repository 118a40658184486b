/**
 * Somebody with every right on the database changes the log before it is exported: the auditor who has only the export
 * and the public keys finds it all the same. And the whole way by the command line.
 */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chain, genesis, type Head } from '../../src/audit/chain.ts';
import type { Act } from '../../src/domain/audit/append.ts';
import type { AuditLog } from '../support/audit-log.ts';
import { makeFolder, runCli } from '../support/cli.ts';
import { change, cutAt, expectBad, exportLines, fillLog, openTamperedLog } from '../support/exported-log.ts';
import { createWorld } from '../support/world.ts';
import { adminToken, startWrit } from '../support/writ.ts';

let log: AuditLog;
let act: Act;
beforeAll(async () => {
  log = await openTamperedLog();
});
afterAll(() => log[Symbol.asyncDispose]());

const fill = async () => {
  act = await fillLog(log);
};

describe('the database', () => {
  beforeEach(fill);

  /** As an attacker without the signing key can. */
  async function rechainRows() {
    const rows = await log.sql<{ number: string; body: string; mac: Buffer }[]>`
      select number, body, mac from audit_chain join audit_entries using (node, counter) order by number`;
    let head: Head = genesis;
    for (const row of rows) {
      head = chain(head, row);
      await log.sql`update audit_chain set hash = ${head.hash}, number = ${-head.number} where number = ${row.number}`;
    }
    await log.sql`update audit_chain set number = -number where number < 0`;
  }

  const statements: [string, string[], number, RegExp, boolean?][] = [
    [
      'edit a body',
      ["update audit_entries set body = replace(body, 'done', 'none') where counter = 6"],
      6,
      /does not continue/,
    ],
    [
      'edit a body and rechain',
      ["update audit_entries set body = replace(body, 'done', 'none') where counter = 6"],
      5,
      /entries 5 to 8 are not those/,
      true,
    ],
    [
      'edit a MAC',
      ['update audit_entries set mac = set_byte(mac, 3, get_byte(mac, 3) # 1) where counter = 7'],
      7,
      /does not continue/,
    ],
    [
      'edit a hash',
      ['update audit_chain set hash = set_byte(hash, 0, get_byte(hash, 0) # 1) where number = 3'],
      3,
      /does not continue/,
    ],
    ['delete an entry', ['delete from audit_entries where counter = 5'], 5, /missing/],
    ['delete a place', ['delete from audit_chain where number = 5'], 5, /missing/],
    [
      'delete an entry and rechain',
      ['delete from audit_entries where counter = 5', 'delete from audit_chain where number = 5'],
      5,
      /entries 5 to 8 are not those/,
      true,
    ],
    [
      'reorder',
      [
        'update audit_chain set number = case number when 5 then -6 else -5 end where number in (5, 6)',
        'update audit_chain set number = -number where number < 0',
      ],
      5,
      /does not continue/,
    ],
    [
      'reorder and rechain',
      [
        'update audit_chain set number = case number when 5 then -6 else -5 end where number in (5, 6)',
        'update audit_chain set number = -number where number < 0',
      ],
      5,
      /entries 5 to 8/,
      true,
    ],
    [
      'insert and rechain',
      [
        'update audit_chain set number = -number where number > 6',
        'update audit_chain set number = -number + 1 where number < 0',
        `insert into audit_entries (node, counter, at, kind, body, mac)
         select node, 14, at, kind, replace(body, '"counter":6', '"counter":14'), mac from audit_entries where counter = 6`,
        'insert into audit_chain select 7, node, 14, hash from audit_chain where number = 6',
      ],
      5,
      /not those|is that of/,
      true,
    ],
    ['cut the tail', ['delete from audit_entries where counter > 8'], 9, /there is a checkpoint of entry 10/],
    [
      'cut the tail and its places',
      ['delete from audit_chain where number > 8'],
      9,
      /there is a checkpoint of entry 10/,
    ],
    [
      'cut the tail with its checkpoint',
      ['delete from audit_chain where number > 9', 'delete from checkpoints where number > 8'],
      9,
      /no checkpoint by a known key/,
    ],
    ['cut everything', ['delete from audit_entries', 'delete from audit_chain'], 1, /checkpoint/],
    [
      'swap checkpoints',
      [
        'update checkpoints c set jws = (select o.jws from checkpoints o where o.number = case c.number when 4 then 8 else 4 end) where number in (4, 8)',
      ],
      1,
      /is that of entry 8/,
    ],
    [
      'move a checkpoint',
      ['delete from checkpoints where number = 8', 'update checkpoints set number = 8 where number = 4'],
      1,
      /is that of entry 4/,
    ],
    [
      'delete all checkpoints',
      ['delete from checkpoints'],
      1,
      /no checkpoint by a known key vouches for entries 1 to 10/,
    ],
  ];

  it.each(statements)('%s', async (_, sql, number, why, isRechained) => {
    for (const statement of sql) await log.sql.unsafe(statement);
    if (isRechained === true) await rechainRows();
    await expectBad(log, await exportLines(log), number, why);
  });

  it('an entry that was deleted before it was sealed', async () => {
    await log.record(act, 2);
    await log.sql`delete from audit_entries where counter = 12`;
    await log.seal();
    await expectBad(log, await exportLines(log), 12, /before it, entry 12 of node .* is missing/);
  });
});

it('the command line: export, verify with the public keys alone, exit code 6 for a tampered file', async () => {
  await using writ = await startWrit();
  const world = await createWorld(writ);
  const sealedAs = async (kind: string) =>
    (await writ.admin('GET', `/audit?kind=${kind}&limit=1`)).body.items[0]?.number;
  // Two checkpoints at least, one before the departure and one after it.
  await expect.poll(() => sealedAs('agent.created'), { timeout: 10_000 }).toEqual(expect.any(Number));
  await world.scim('DELETE', `/Users/${world.alice}`);
  using folder = makeFolder();
  const env = { WRIT_URL: writ.url, WRIT_ADMIN_TOKEN: adminToken };
  await expect.poll(() => sealedAs('person.offboarded'), { timeout: 10_000 }).toEqual(expect.any(Number));

  const exported = await runCli(['audit', 'export'], { env });
  expect(exported).toMatchObject({ code: 0, stderr: '' });
  expect(exported.stdout).toMatch(/\n\{"end":\d+\}\n$/);
  const file = folder.file('audit.ndjson');
  writeFileSync(file, exported.stdout);
  const jwks = folder.file('jwks.json');
  writeFileSync(jwks, await (await fetch(`${writ.url}/oauth/jwks`)).text());
  const end = /"end":(\d+)/.exec(exported.stdout)?.[1];

  // Without the server, and without a token.
  const offline = ['audit', 'verify', '--offline', file, '--jwks', jwks];
  const alone = { env: { WRIT_URL: 'http://localhost:1', WRIT_ADMIN_TOKEN: '' } };
  const whole = await runCli(offline, alone);
  expect(whole).toMatchObject({ code: 0, stderr: '' });
  expect(whole.stdout).toContain(`signed up to number ${end}`);
  const kept = new RegExp(`${end}:[\\w-]{43}`).exec(whole.stdout)?.[0] ?? '';
  expect((await runCli([...offline, '--checkpoint', kept], alone)).stdout).toContain(`It holds checkpoint ${end}.`);
  expect(JSON.parse((await runCli([...offline, '--json'], alone)).stdout)).toMatchObject({
    ok: true,
    issuer: writ.url,
  });
  expect(await runCli(['audit', 'verify', '--offline', '-'], { env, input: exported.stdout })).toMatchObject({
    code: 0,
  });

  // Signed checkpoints, as the feed hands them out, are files too.
  const signed = folder.file('checkpoint.jwt');
  const lines = exported.stdout.split('\n');
  writeFileSync(signed, JSON.parse(lines.findLast((line) => line.startsWith('{"checkpoint"')) ?? '').checkpoint);
  expect(await runCli([...offline, '--checkpoint', signed], alone)).toMatchObject({ code: 0 });

  writeFileSync(
    file,
    change(lines, 3, (entry) => Object.assign(entry, { body: entry.body.replace('e', 'E') })).join('\n'),
  );
  const tampered = await runCli(offline, alone);
  expect(tampered.code).toBe(6);
  expect(tampered.stderr).toMatch(/first bad entry: 3: /);
  writeFileSync(file, `${cutAt(lines, JSON.parse(readCheckpointBefore(lines)).number).join('\n')}\n`);
  expect((await runCli([...offline, '--checkpoint', kept], alone)).code).toBe(6);
  expect((await runCli(['audit', 'verify', '--offline', folder.file('none')], { env })).code).toBe(2);
  expect((await runCli([...offline, '--checkpoint', '7:short'], alone)).code).toBe(2);
});

/** The entry before a checkpoint that is not the last. */
function readCheckpointBefore(lines: string[]): string {
  const first = lines.findIndex((line) => line.startsWith('{"checkpoint"'));
  return lines[first - 1] ?? '';
}
