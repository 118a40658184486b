/** `writ audit export`: what the server sends, to stdout as it arrives. The count goes to stderr, on a terminal. */
import { once } from 'node:events';
import { CliFailure, exitCodes } from './failure.ts';
import { type Session, showProgress } from './session.ts';

/** Longer than the last line of an export, which alone says that it is whole. */
const tailBytes = 64;

export async function exportAudit(session: Session, { from }: { from?: number }): Promise<void> {
  const pieces = await session.client().stream(`/audit/export${from === undefined ? '' : `?from=${from}`}`);
  const progress = showProgress();
  let lines = 0;
  let tail = '';
  try {
    for await (const piece of pieces) {
      if (!process.stdout.write(piece)) await once(process.stdout, 'drain');
      for (const byte of piece) if (byte === 10) lines += 1;
      progress.update(`${lines} lines …`);
      tail = (tail + Buffer.from(piece.subarray(-tailBytes)).toString('latin1')).slice(-tailBytes);
    }
  } finally {
    progress.stop();
  }
  const end = /\n\{"end":(\d+)\}\n$/.exec(tail)?.[1];
  if (end === undefined) {
    throw new CliFailure(exitCodes.unavailable, 'The export ended early: what was written is not whole. Export again.');
  }
  if (process.stderr.isTTY) session.note(`The log up to entry ${end}.`);
}
