/**
 * Subscribers of the feed that come, read, stall and go: some join without a past, some resume, some never take anything,
 * some are gone before they are answered. What they are told expires in seconds, so that a minute stands for a day.
 */
import { randomUUID } from 'node:crypto';
import { Agent, type ClientRequest, type IncomingMessage, request as openRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Company } from './company.ts';

export interface Crowd {
  /** Has as many subscribers come and go, and resolves when the server has none left. */
  visit(count: number): Promise<void>;
  /** How many revocations were told, and how many of those who stalled the server cut off. */
  counts: { revocations: number; cut: number };
}

const kinds = ['new', 'resumed', 'stalled', 'gone'] as const;
const togetherAtMost = 100;
/** More than sockets of this machine take for a reader that does not read, and the feed's own bound. */
const flood = 50_000;
const trickle = 200;
const expirySeconds = 2;

/** Revocations as Writ publishes them, but for their life. */
async function publish({ sql }: Company, count: number): Promise<void> {
  await sql.begin(async (tx) => {
    await tx`
      with taken as (update feed set seq = seq + ${count}::int returning seq)
      insert into revocations (seq, subject, epoch, expires_at)
      select taken.seq - ${count}::int + place, gen_random_uuid()::text, 1,
        clock_timestamp() + make_interval(secs => ${expirySeconds}::int)
      from taken, generate_series(1, ${count}::int) as place`;
    await tx`select pg_notify('writ_feed', '')`;
  });
}

async function countSubscribers({ server }: Company): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^writ_feed_subscribers\S* (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

async function waitForSubscribers(company: Company, atMost: number): Promise<void> {
  const giveUpAt = performance.now() + 60_000;
  while (!((await countSubscribers(company)) <= atMost)) {
    if (performance.now() > giveUpAt) throw new Error(`more than ${atMost} subscribers are left`);
    await sleep(50);
  }
}

export function createCrowd(company: Company): Crowd {
  const { server, feedCredentials } = company;
  const { clientId, clientSecret } = feedCredentials;
  const authorization = `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
  const agent = new Agent({ keepAlive: false });
  const counts = { revocations: 0, cut: 0 };

  function open(headers: Record<string, string>): { outgoing: ClientRequest; answered: Promise<IncomingMessage> } {
    const named = { authorization, 'writ-verifier': randomUUID(), ...headers };
    const outgoing = openRequest(`${server.url}/revocations`, { agent, headers: named });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', (incoming) => {
        if (incoming.statusCode === 200) resolve(incoming.on('error', () => {}));
        else reject(new Error(`the feed answered ${incoming.statusCode}`));
      });
      outgoing.on('error', reject);
    });
    outgoing.end();
    return { outgoing, answered };
  }

  /** Reads up to the first heartbeat that comes live, acknowledges and goes. */
  async function follow(lastEventId?: number): Promise<void> {
    const { outgoing, answered } = open(lastEventId === undefined ? {} : { 'last-event-id': String(lastEventId) });
    let tail = '';
    for await (const piece of await answered) {
      tail = (tail + piece.toString('latin1')).slice(-2_000);
      const seq = /event: heartbeat\ndata: {"seq":(\d+)/.exec(tail)?.[1];
      if (seq === undefined) continue;
      await acknowledge(Number(seq));
      break;
    }
    outgoing.destroy();
  }

  async function acknowledge(seq: number): Promise<void> {
    const response = await fetch(`${server.url}/revocations/ack`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ seq, verifier: randomUUID() }),
    });
    if (response.status !== 204) throw new Error(`an acknowledgement was answered ${response.status}`);
  }

  async function leaveEarly(): Promise<void> {
    const { outgoing, answered } = open({});
    await Promise.race([answered, sleep(Math.random() * 20)]);
    answered.catch(() => {});
    outgoing.destroy();
  }

  async function visitTogether(count: number, isFlooded: boolean): Promise<void> {
    const stalled: ClientRequest[] = [];
    const visits = Array.from({ length: count }, async (_, turn) => {
      const kind = kinds[turn % kinds.length];
      if (kind === 'new') return follow();
      if (kind === 'resumed') return follow(Math.floor(Math.random() * (counts.revocations + 1)));
      if (kind === 'gone') return leaveEarly();
      const { outgoing, answered } = open({});
      stalled.push(outgoing);
      // Nobody listens to what comes, so nothing is taken from the socket.
      await answered;
    });
    await publish(company, trickle);
    await Promise.all(visits);
    if (isFlooded) await publish(company, flood);
    counts.revocations += trickle + (isFlooded ? flood : 0);
    // The server's own doing: these connections are still open at this end.
    if (isFlooded) await waitForSubscribers(company, 0);
    if (isFlooded) counts.cut += stalled.length;
    for (const outgoing of stalled) outgoing.on('error', () => {}).destroy();
    await waitForSubscribers(company, 0);
  }

  return {
    counts,
    async visit(count) {
      for (let left = count; left > 0; left -= togetherAtMost) {
        await visitTogether(Math.min(left, togetherAtMost), left <= togetherAtMost);
      }
    },
  };
}
