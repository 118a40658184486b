/** Rounds that take turns, and what is made of their numbers. */

import type { Postgres } from './database.ts';
import { type Client, createClient, type Request } from './load.ts';
import type { Server } from './processes.ts';

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}

/** `sorted` ascending; `share` from 0 to 1. */
export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

export interface Contestant {
  server: Server;
  /** Makes this many requests, all different where they have to be. */
  makeRequests(count: number): Promise<Request[]> | Request[];
}

export interface Round {
  rate: number;
  p50: number;
  p99: number;
  /** Of the server, until it has settled: what it put off counts. */
  cpuMs: number;
  /** Of PostgreSQL; `undefined` where it cannot be read. */
  databaseMs: number | undefined;
  rssMiB: number;
  /** Share of its core that the load generator was busy: near 1 it is the limit, and not the server. */
  clientShare: number;
  /** Share of the round that the server waited for its core: far from 0, the machine is busy with something else. */
  waitedShare: number;
}

export interface Pace {
  rounds: number;
  /** Of one round, and of the warm-up. */
  seconds: number;
  connections: number;
}

/** The median of each number over the rounds. */
export function summarise(rounds: readonly Round[]): Round {
  const of = (read: (round: Round) => number) => median(rounds.map(read));
  const databases = rounds.flatMap(({ databaseMs }) => (databaseMs === undefined ? [] : [databaseMs]));
  return {
    rate: of((round) => round.rate),
    p50: of((round) => round.p50),
    p99: of((round) => round.p99),
    cpuMs: of((round) => round.cpuMs),
    databaseMs: databases.length === 0 ? undefined : median(databases),
    rssMiB: of((round) => round.rssMiB),
    clientShare: of((round) => round.clientShare),
    waitedShare: of((round) => round.waitedShare),
  };
}

/** Median of the ratios of rounds that were measured next to each other: what slows the machine slows both. */
export const ratioOf = (a: readonly Round[], b: readonly Round[], read: (round: Round) => number): number =>
  median(a.map((round, index) => read(round) / read(b[index] ?? round)));

/** Warms every contestant up, then measures them in turns, each round beginning with another one. */
export async function compete(contestants: readonly Contestant[], pace: Pace, postgres: Postgres): Promise<Round[][]> {
  const clients = contestants.map(({ server }) => createClient(server.url, pace.connections));
  const results = contestants.map((): Round[] => []);
  try {
    const counts: number[] = [];
    for (const [index, contestant] of contestants.entries()) {
      const client = clients[index] as Client;
      // The first requests only find out how many the warm-up needs.
      const first = await client.run(await contestant.makeRequests(pace.connections * 10));
      const warm = await client.run(await contestant.makeRequests(Math.ceil(first.rate * pace.seconds)));
      counts[index] = Math.ceil(warm.rate * pace.seconds);
      await contestant.server.settle();
    }
    for (let turn = 0; turn < pace.rounds; turn++) {
      for (let place = 0; place < contestants.length; place++) {
        const index = (turn + place) % contestants.length;
        const contestant = contestants[index] as Contestant;
        results[index]?.push(await measure(contestant, clients[index] as Client, counts[index] ?? 0, postgres));
      }
    }
  } finally {
    for (const client of clients) client.close();
  }
  return results;
}

async function measure(contestant: Contestant, client: Client, count: number, postgres: Postgres): Promise<Round> {
  const { server } = contestant;
  const requests = await contestant.makeRequests(count);
  const [before, database] = [await server.usage(), await postgres.cpuMs()];
  const own = process.cpuUsage();
  const run = await client.run(requests);
  const { user, system } = process.cpuUsage(own);
  const atEnd = await server.usage();
  await server.settle();
  const [after, databaseAfter] = [await server.usage(), await postgres.cpuMs()];
  return {
    rate: run.rate,
    p50: quantile(run.latencies, 0.5),
    p99: quantile(run.latencies, 0.99),
    cpuMs: (after.cpuMs - before.cpuMs) / count,
    databaseMs: database === undefined || databaseAfter === undefined ? undefined : (databaseAfter - database) / count,
    rssMiB: atEnd.rssBytes / 2 ** 20,
    clientShare: (user + system) / 1000 / run.elapsedMs,
    waitedShare: Math.max(0, (atEnd.waitedMs - before.waitedMs) / run.elapsedMs),
  };
}

/** Of the shares that servers waited for their core: beyond this, rates and latencies are those of somebody else's work. */
const disturbing = 0.15;

/** What has to be said about rounds on a machine that had other things to do; nothing on a quiet one. */
export function noteDisturbance(results: readonly (readonly Round[])[]): string[] {
  const worst = Math.max(...results.map((rounds) => summarise(rounds).waitedShare));
  if (!(worst > disturbing)) return [];
  const share = `${Math.round(worst * 100)} %`;
  return [`**Disturbed: a server waited for its core for ${share} of the time. Only CPU per token can be compared.**`];
}
