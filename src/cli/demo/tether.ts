/**
 * Preloaded (`node --import`) into the processes of the demo: when the demo is gone, however it ended, they stop as on
 * SIGTERM, and the last one out removes the folder.
 */
import { rmSync } from 'node:fs';

const folder = process.env.WRIT_DEMO_FOLDER;

function stop(): void {
  // Before its handler stands the process is starting; a signal now would leave half of it behind.
  if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM');
  else setTimeout(stop, 50).unref();
}

process.once('disconnect', () => {
  if (folder) process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  stop();
});
process.channel?.unref();
