/**
 * Verification of an export by somebody who has only it and the issuer's public keys. What each check finds:
 * - number: an entry taken out, put in, or moved;
 * - hash: an edited entry;
 * - checkpoints: a chain that was worked out anew, a checkpoint that was moved or invented, an end that nobody signed;
 * - counters (in an export from the first entry on): an entry taken out before it was sealed;
 * - an outside checkpoint: a log that was cut at one of its checkpoints, or replaced as a whole.
 * Not found without an outside checkpoint: a log that was cut exactly behind a checkpoint.
 *
 * A checkpoint signs everything before it, so those by keys that are no longer published need no trust: the last one does.
 * Pure; reads line by line, and stops at the first that does not fit.
 */
import { chain, encodeHash, genesis, type Head } from './chain.ts';
import { type PublicKeys, readCheckpoint } from './checkpoint.ts';
import { createCounters, nameEntries } from './counters.ts';
import { type ExportedEntry, type ExportHeader, parseLine } from './export.ts';

export interface OfflineVerification {
  ok: boolean;
  /** Entries that were read and found whole. */
  entries: number;
  issuer?: string;
  /** The number of the first entry. */
  from?: number;
  /** The end of the log as far as it was exported and is signed; only when it is whole. */
  checkpoint?: { number: number; hash: string };
  /** The first entry that does not fit, and why. */
  firstBad?: { number: number; why: string };
}

export interface OfflineOptions {
  keys: PublicKeys;
  /** A head that was kept elsewhere; `hash` in base64url. */
  checkpoint?: { number: number; hash: string } | undefined;
}

/** Thrown to end the pass; never leaves this file. */
class Finding extends Error {
  readonly number: number;
  constructor(number: number, why: string) {
    super(why);
    this.number = number;
  }
}

type Counters = ReturnType<typeof createCounters>;

interface Pass extends OfflineOptions {
  header: ExportHeader;
  head: Head;
  /** The last place that a checkpoint by a known key signs. */
  vouched: number;
  /** The last place that any checkpoint stands at. */
  signed: number;
  counters: Counters;
  entries: number;
  isEnded: boolean;
}

/** A finding is an answer, not an error; what fails to be read throws. */
export async function verifyExport(
  lines: AsyncIterable<string> | Iterable<string>,
  options: OfflineOptions,
): Promise<OfflineVerification> {
  let pass: Pass | undefined;
  try {
    for await (const text of lines) {
      if (text === '') continue;
      if (pass === undefined) pass = begin(text, options);
      else takeLine(pass, text);
    }
    if (pass === undefined) throw new Finding(1, 'the export is empty');
    finish(pass);
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    const firstBad = { number: error.number, why: error.message };
    return { ok: false, entries: pass?.entries ?? 0, ...about(pass), firstBad };
  }
  const { number, hash } = pass.head;
  return { ok: true, entries: pass.entries, ...about(pass), checkpoint: { number, hash: encodeHash(hash) } };
}

const about = (pass: Pass | undefined) =>
  pass === undefined ? {} : { issuer: pass.header.issuer, from: pass.header.from };

function begin(text: string, options: OfflineOptions): Pass {
  const header = parseLine(text);
  if (header === null || !('export' in header)) throw new Finding(1, 'the first line is not that of an export');
  const hash = Buffer.from(header.previous, 'base64url');
  if (header.from === 1 && !hash.equals(genesis.hash)) throw new Finding(1, 'nothing comes before the first entry');
  const head = { number: header.from - 1, hash };
  const pass = { ...options, header, head, vouched: head.number, signed: head.number, counters: createCounters() };
  const begun = { ...pass, entries: 0, isEnded: false };
  checkOutside(begun);
  return begun;
}

function takeLine(pass: Pass, text: string): void {
  const next = pass.head.number + 1;
  const line = parseLine(text);
  if (pass.isEnded) throw new Finding(next, 'something follows the end of the export');
  if (line === null) throw new Finding(next, 'its line was edited: it is not one of an export');
  if ('export' in line) throw new Finding(next, 'a second export begins here');
  if ('checkpoint' in line) takeCheckpoint(pass, line.checkpoint);
  else if ('number' in line) takeEntry(pass, line);
  else if (line.end !== pass.head.number) throw new Finding(next, `it is missing: the export ends with ${line.end}`);
  else pass.isEnded = true;
}

function takeEntry(pass: Pass, entry: ExportedEntry): void {
  const number = pass.head.number + 1;
  if (entry.number !== number) throw new Finding(number, `it is missing: entry ${entry.number} stands in its place`);
  const next = chain(pass.head, { body: entry.body, mac: Buffer.from(entry.mac, 'base64url') });
  if (encodeHash(next.hash) !== entry.hash) {
    throw new Finding(number, 'its hash does not continue the chain: it was edited, or entries changed places');
  }
  const { node, counter } = readPlace(entry.body);
  if (typeof node !== 'string' || !Number.isSafeInteger(counter)) throw new Finding(number, 'its body is no entry’s');
  if (pass.header.from === 1 && !pass.counters.see(node, Number(counter), number)) {
    throw new Finding(number, `entry ${counter} of node ${node} is in the log twice`);
  }
  pass.head = next;
  pass.entries += 1;
  checkOutside(pass);
}

function readPlace(body: string): { node?: unknown; counter?: unknown } {
  try {
    return JSON.parse(body) ?? {};
  } catch {
    return {};
  }
}

function takeCheckpoint(pass: Pass, jws: string): void {
  const { number } = pass.head;
  const found = readCheckpoint(jws, pass.keys);
  if (found === null || found.signature === 'bad' || found.issuer !== pass.header.issuer) {
    throw new Finding(number, `the checkpoint after entry ${number} was not made by ${pass.header.issuer}`);
  }
  if (found.number !== number) {
    // Behind one that fits, entries are missing; else it stands in the place of the one that would fit.
    const isCut = pass.signed === number && found.number > number;
    if (isCut) throw new Finding(number + 1, `it was cut off: there is a checkpoint of entry ${found.number}`);
    const first = Math.min(pass.vouched + 1, number);
    throw new Finding(
      first,
      `nothing vouches for it: the checkpoint after entry ${number} is that of entry ${found.number}`,
    );
  }
  if (found.hash !== encodeHash(pass.head.hash)) {
    const first = pass.vouched + 1;
    throw new Finding(first, `entries ${first} to ${number} are not those that the signed checkpoint describes`);
  }
  pass.signed = number;
  if (found.signature === 'good') pass.vouched = number;
}

function checkOutside({ checkpoint, head }: Pass): void {
  if (checkpoint?.number !== head.number || checkpoint.hash === encodeHash(head.hash)) return;
  throw new Finding(head.number, 'the log up to here is not the one of the checkpoint that was kept elsewhere');
}

function finish(pass: Pass): void {
  const { head, checkpoint, vouched, counters, isEnded } = pass;
  const next = head.number + 1;
  if (checkpoint !== undefined && checkpoint.number > head.number) {
    throw new Finding(next, `it was cut off: the checkpoint kept elsewhere is of entry ${checkpoint.number}`);
  }
  if (!isEnded) throw new Finding(next, 'the export has no end: it was cut, or never finished');
  if (vouched < head.number) {
    throw new Finding(vouched + 1, `no checkpoint by a known key vouches for entries ${vouched + 1} to ${head.number}`);
  }
  const [gap] = counters.gaps();
  if (gap !== undefined) {
    throw new Finding(gap.number, `before it, ${nameEntries(gap.node, gap.from, gap.to)} missing`);
  }
}
