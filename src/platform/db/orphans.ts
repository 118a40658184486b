import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Stops whatever still works in a cluster that nobody owns (the caller holds the lock), and removes its
 * `postmaster.pid` once nothing does. PostgreSQL itself would refuse to start when the number in there belongs to any
 * living process by now, which after a reboot or in a container it often does.
 */
export async function clearLeftovers(cluster: string, log: (message: string) => void): Promise<void> {
  const pidFile = join(cluster, 'postmaster.pid');
  const text = await readFile(pidFile, 'utf8').catch(() => undefined);
  if (text === undefined) return;
  // Elsewhere PostgreSQL's own check has to do: only Linux shows where a process works.
  if (process.platform !== 'linux') return;
  const postmaster = Number(text.split('\n')[0]);
  const steps: [NodeJS.Signals | 0, number][] = [
    [0, 500], // the backends of a postmaster that was killed end by themselves
    ['SIGINT', 15_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ];
  for (const [signal, ms] of steps) {
    const pids = await findProcesses(cluster);
    if (pids.length === 0) break;
    if (signal !== 0) {
      log(`Stopping a PostgreSQL that was left behind in ${cluster} (${signal})`);
      // Its children end with the postmaster; without one they are told themselves.
      for (const pid of pids.includes(postmaster) && signal !== 'SIGKILL' ? [postmaster] : pids) send(pid, signal);
    } else if (pids.includes(postmaster)) continue;
    await waitForNone(cluster, ms);
  }
  const rest = await findProcesses(cluster);
  if (rest.length > 0) throw new Error(`processes ${rest.join(', ')} still use ${cluster}: stop them first`);
  await rm(pidFile, { force: true });
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile; the next look tells.
  }
}

async function waitForNone(cluster: string, ms: number): Promise<void> {
  const giveUpAt = performance.now() + ms;
  while (performance.now() < giveUpAt && (await findProcesses(cluster)).length > 0) await sleep(50);
}

/** Every process of PostgreSQL has its cluster as the working directory. */
async function findProcesses(cluster: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const directory = await readlink(`/proc/${name}/cwd`).catch(() => undefined);
    if (directory !== cluster) continue;
    const command = await readFile(`/proc/${name}/comm`, 'utf8').catch(() => '');
    if (command.trim() === 'postgres') found.push(Number(name));
  }
  return found;
}
