/** A process that owns an embedded PostgreSQL: prints its URL, and stops it when standard input ends. */
import { startEmbedded } from '../../src/platform/db/embedded.ts';

const [dataDir = ''] = process.argv.slice(2);
const embedded = await startEmbedded({ dataDir, log: (message) => process.stderr.write(`${message}\n`) });
process.stdout.write(`${embedded.url}\n`);
process.stdin.resume().once('end', async () => {
  await embedded.stop();
  process.exit(0);
});
