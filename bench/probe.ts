/**
 * Preloaded (`node --import`) into every measured process: answers the bench's questions about CPU time and memory from
 * inside, and ends the process when the bench is gone.
 */
import { readFileSync } from 'node:fs';

export interface Usage {
  /** User and system time of the whole process so far, in milliseconds. */
  cpuMs: number;
  /** How long its main thread has waited for its core, in milliseconds: others were on it. 0 where that is not told. */
  waitedMs: number;
  rssBytes: number;
}

function readWaited(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

process.on('message', (question) => {
  if (question !== 'usage') return;
  const { user, system } = process.cpuUsage();
  process.send?.({
    cpuMs: (user + system) / 1000,
    waitedMs: readWaited(),
    rssBytes: process.memoryUsage.rss(),
  } satisfies Usage);
});
process.once('disconnect', () => process.exit());
process.channel?.unref();
