/**
 * Preloaded (`node --import`) into every measured process: answers the bench's questions about CPU time and memory from
 * inside, and ends the process when the bench is gone.
 */
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export interface Usage {
  /** User and system time of the whole process so far, in milliseconds. */
  cpuMs: number;
  /** How long its main thread has waited for its core, in milliseconds: others were on it. 0 where that is not told. */
  waitedMs: number;
  rssBytes: number;
}

/** What is left when all garbage has been collected. */
export interface Memory {
  heapBytes: number;
  /** Beside the heap, but held by what is in it: buffers, mostly. */
  externalBytes: number;
  rssBytes: number;
}

function readWaited(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

function readUsage(): Usage {
  const { user, system } = process.cpuUsage();
  return { cpuMs: (user + system) / 1000, waitedMs: readWaited(), rssBytes: process.memoryUsage.rss() };
}

let collect: (() => void) | undefined;

/** Made when it is first asked for, so that a process whose memory nobody asks about runs as it always does. */
function makeCollect(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc');
}

async function readMemory(): Promise<Memory> {
  collect ??= makeCollect();
  // What is freed by a callback of the first collection is only seen to be garbage by the next.
  for (let turn = 0; turn < 3; turn++) {
    collect();
    await setImmediate();
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heapBytes: heapUsed, externalBytes: external, rssBytes: rss };
}

process.on('message', (question) => {
  if (question === 'usage') process.send?.(readUsage());
  if (question === 'memory') void readMemory().then((memory) => process.send?.(memory));
});
process.once('disconnect', () => process.exit());
process.channel?.unref();
