/**
 * `writ audit verify --offline`: for an auditor, who has an export, the issuer's public keys and perhaps a checkpoint that
 * was kept elsewhere. The server is asked for nothing but its keys, and not even for those when they are given.
 */
import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type PublicKeys, readCheckpoint, readKeys } from '../audit/checkpoint.ts';
import { type OfflineVerification, verifyExport } from '../audit/verify-export.ts';
import { CliFailure, exitCodes, usage } from './failure.ts';
import { discoverIssuer, getJson } from './issuer.ts';
import { isRow, parseJson } from './json.ts';
import { visible } from './print.ts';
import { type Session, showProgress } from './session.ts';

interface Kept {
  jwks?: string;
  checkpoint?: string;
}

interface Head {
  number: number;
  hash: string;
}

export async function verifyOffline(session: Session, file: string, { jwks, checkpoint: kept }: Kept): Promise<void> {
  const keys = readKeys(await loadKeys(session, jwks));
  if (keys.size === 0) throw usage('There is no key in this JWK Set that Writ signs checkpoints with (ES256).');
  const checkpoint = kept === undefined ? undefined : loadCheckpoint(kept, keys);
  const found = await verifyExport(readLines(file), { keys, checkpoint });
  if (session.isJson) session.print(JSON.stringify(found, null, 2));
  if (found.firstBad !== undefined) {
    const { number, why } = found.firstBad;
    throw new CliFailure(
      exitCodes.verificationFailed,
      `The export does not verify. first bad entry: ${number}: ${visible(why)}.`,
    );
  }
  if (checkpoint !== undefined && checkpoint.number < (found.from ?? 1) - 1) {
    throw usage(
      `The export begins at entry ${found.from}, behind checkpoint ${checkpoint.number}: nothing to compare.`,
    );
  }
  if (!session.isJson) report(session, found, checkpoint);
}

function report(session: Session, found: OfflineVerification, checkpoint: Head | undefined): void {
  const { issuer = '', entries, from = 1, checkpoint: head } = found;
  const start = from === 1 ? '' : ` from number ${from} on`;
  session.print(
    `The export of ${visible(issuer)} is whole: ${entries} entries${start}, signed up to number ${head?.number}.`,
  );
  session.print(
    `Its end is ${head?.number}:${head?.hash}: keep it elsewhere, and give it as --checkpoint the next time.`,
  );
  session.print(
    checkpoint === undefined
      ? 'Not compared with a checkpoint that was kept elsewhere: a log that was cut behind one of its own is not found.'
      : `It holds checkpoint ${checkpoint.number}.`,
  );
}

/** Lines as they are read, with a count on a terminal. */
async function* readLines(file: string): AsyncGenerator<string> {
  const input = file === '-' ? process.stdin : createReadStream(file);
  const progress = showProgress();
  let count = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      count += 1;
      if (count % 10_000 === 0) progress.update(`${count} lines …`);
      yield line;
    }
  } catch (error) {
    throw unreadable(file, error);
  } finally {
    progress.stop();
  }
}

async function loadKeys(session: Session, given: string | undefined): Promise<unknown> {
  if (given === undefined) return getJson((await discoverIssuer(session.url, fetch)).jwksUri, fetch);
  return /^https?:/.test(given) ? getJson(given, fetch) : parseJson(readText(given));
}

/** `number:hash`, or a file that has it, or the signed checkpoint as verifiers and the feed hand it out. */
function loadCheckpoint(given: string, keys: PublicKeys): Head {
  const text = /^\d+:/.test(given) ? given : readText(given).trim();
  const [, number, hash] = /^(\d{1,15}):([A-Za-z0-9_-]{43})$/.exec(text) ?? [];
  if (number !== undefined && hash !== undefined) return { number: Number(number), hash };
  const object = parseJson(text);
  if (isRow(object) && typeof object.number === 'number' && typeof object.hash === 'string') {
    return { number: object.number, hash: object.hash };
  }
  const signed = readCheckpoint(text, keys);
  if (signed?.signature === 'good') return { number: signed.number, hash: signed.hash };
  throw usage(
    `${given} is no checkpoint: write number:hash, or name a file with that, with {"number":…,"hash":…}, or with one signed by a key of the issuer.`,
  );
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw unreadable(path, error);
  }
}

const unreadable = (path: string, error: unknown) =>
  usage(`Cannot read ${path}: ${error instanceof Error ? error.message : error}`);
