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

/** Of the main thread, in milliseconds: what it has run, and how long it has waited for its core. */
function readMainThread(): { ran: number; waited: number } {
  try {
    const [ran = 0, waited = 0] = readFileSync('/proc/self/schedstat', 'utf8').split(' ').map(Number);
    return { ran: ran / 1e6, waited: waited / 1e6 };
  } catch {
    return { ran: 0, waited: 0 };
  }
}

function readUsage(): Usage {
  const { user, system } = process.cpuUsage();
  const cpuMs = (user + system) / 1000;
  const { ran, waited } = readMainThread();
  // V8's own threads share the core, and are the process's own work: waiting for them is no disturbance.
  return { cpuMs, waitedMs: waited - (cpuMs - ran), rssBytes: process.memoryUsage.rss() };
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
