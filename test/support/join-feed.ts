/**
 * Verifiers in a process of their own, which all join at once: `node join-feed.ts <url> <authorization> <count>`. They
 * read bytes and parse nothing. Prints a line of JSON when all have their snapshots, and another when all have got the
 * next revocation: for each verifier its number, and the instant of the snapshot's read.
 */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';

const [, , url = '', authorization = '', count = '0'] = process.argv;

async function join() {
  const outgoing = request(url, { headers: { authorization }, agent: false }).end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const chunks: AsyncIterator<Buffer> = response[Symbol.asyncIterator]();
  let tail = '';
  let bytes = 0;
  const readUntil = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = pattern.exec(tail)?.[1];
      if (found !== undefined) return found;
      const { value, done } = await chunks.next();
      if (done === true) throw new Error('the stream has ended');
      bytes += value.length;
      tail = tail.slice(-1_000) + value.subarray(-4_000).toString('latin1');
    }
  };
  const readAt = await readUntil(/"readAt":"([^"]+)","checkpoint":[^}]*}\n\n/);
  const seen = { readAt, bytes };
  return { seen, next: () => readUntil(/event: revocation\nid: (\d+)\n/) };
}

const joined = await Promise.all(Array.from({ length: Number(count) }, join));
process.stdout.write(`${JSON.stringify(joined.map(({ seen }) => seen))}\n`);
const next = await Promise.all(joined.map((one) => one.next()));
process.stdout.write(`${JSON.stringify(next)}\n`);
process.exit(0);
