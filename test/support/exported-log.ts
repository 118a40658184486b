/** A log of ten entries, its export as lines, and what a tamperer does to them. */
import { expect } from 'vitest';
import { chain, encodeHash, genesis, type Head } from '../../src/audit/chain.ts';
import { readKeys } from '../../src/audit/checkpoint.ts';
import { type OfflineVerification, verifyExport } from '../../src/audit/verify-export.ts';
import type { Act } from '../../src/domain/audit/append.ts';
import { exportLog } from '../../src/domain/audit/export.ts';
import { makeKeyPair } from '../../src/platform/keys/key-pair.ts';
import { signStatement } from '../../src/platform/keys/sign.ts';
import { jwtTypes } from '../../src/protocol.ts';
import { type AuditLog, issuer, openAuditLog } from './audit-log.ts';
import type { Parsed } from './writ.ts';

export interface Kept {
  number: number;
  hash: string;
}

/** What the database refuses by itself does not count: the attacker owns it. */
export async function openTamperedLog(): Promise<AuditLog> {
  const log = await openAuditLog();
  await log.sql`alter table audit_entries drop constraint audit_entries_pkey, drop constraint audit_entries_node_fkey`;
  return log;
}

/** Ten sealed entries, with checkpoints of 4, 8 and 10, and one that is not sealed and so not exported. */
export async function fillLog(log: AuditLog): Promise<Act> {
  await log.sql`truncate audit_entries, audit_nodes, audit_chain, audit_sealed, checkpoints`;
  const act = await log.makeAct();
  for (const count of [4, 4, 2]) {
    await log.record(act, count);
    expect(await log.seal()).toBe(count);
  }
  await log.record(act, 1);
  return act;
}

export async function exportLines(log: AuditLog, from = 1): Promise<string[]> {
  let text = '';
  for await (const piece of exportLog(log.db, issuer, from)) text += piece;
  return text.split('\n');
}

export const verifyLines = (log: AuditLog, lines: string[], checkpoint?: Kept): Promise<OfflineVerification> =>
  verifyExport(lines, { keys: readKeys({ keys: log.keyring.publicJwks() }), checkpoint });

export async function expectBad(log: AuditLog, lines: string[], number: number, why: RegExp, checkpoint?: Kept) {
  const found = await verifyLines(log, lines, checkpoint);
  expect(found).toMatchObject({ ok: false, firstBad: { number } });
  expect(found.firstBad?.why).toMatch(why);
  expect(found.checkpoint).toBeUndefined();
}

/** Where a line stands: the entry of this number, or the checkpoint behind it. */
export const at = (lines: string[], number: number): number =>
  lines.findIndex((line) => line.startsWith(`{"number":${number},`));
export const signedAt = (lines: string[], number: number): number => at(lines, number) + 1;

export function change(lines: string[], number: number, edit: (entry: Parsed) => void): string[] {
  const entry = JSON.parse(lines[at(lines, number)] ?? '');
  edit(entry);
  return lines.with(at(lines, number), JSON.stringify(entry));
}

/** Works numbers, hashes and the end out anew, as anybody can; only the checkpoints cannot be made. */
export function rechain(lines: string[]): string[] {
  let head: Head = genesis;
  return lines.map((line) => {
    if (line.startsWith('{"end"')) return JSON.stringify({ end: head.number });
    if (!line.startsWith('{"number"')) return line;
    const entry = JSON.parse(line);
    head = chain(head, { body: entry.body, mac: Buffer.from(entry.mac, 'base64url') });
    return JSON.stringify({ ...entry, number: head.number, hash: encodeHash(head.hash) });
  });
}

export const without = (lines: string[], ...places: number[]): string[] =>
  lines.filter((_, index) => !places.includes(index));
export const swap = (lines: string[], a: number, b: number): string[] =>
  lines.with(a, lines[b] ?? '').with(b, lines[a] ?? '');
/** Everything up to the checkpoint of `number`, with an end that says so. */
export const cutAt = (lines: string[], number: number): string[] => [
  ...lines.slice(0, signedAt(lines, number) + 1),
  JSON.stringify({ end: number }),
];

export async function strangersCheckpoint(number: number, hash: string, kid?: string): Promise<string> {
  const pair = await makeKeyPair('ES256');
  const key = { ...pair, kid: kid ?? pair.kid };
  const jws = signStatement({ signingKey: () => key }, jwtTypes.checkpoint, { iss: issuer, number, hash, iat: 1 });
  return JSON.stringify({ checkpoint: jws });
}
