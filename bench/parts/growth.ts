/** Growth: what a token costs with a hundred agents, and with a million. Each size is a Writ and a database of its own. */
import { api, askToken, type Caller, grants, readIntent } from '../callers.ts';
import { type Company, hire, openCompany } from '../company.ts';
import { type Contestant, compete, noteDisturbance, type Round, ratioOf, summarise } from '../measure.ts';
import { type Section, show, showRatio } from '../report.ts';
import type { Bench } from '../stage.ts';

const agentsEach = 10;
const busy = 100;

async function openGrown(bench: Bench, agents: number): Promise<Company> {
  bench.progress(`growth: ${agents.toLocaleString('en-US')} agents are hired`);
  const url = await bench.postgres.createDatabase();
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url));
  await bench.keep(Promise.resolve(company.server));
  await hire(company, { people: agents / agentsEach, agentsEach, credential: 'jwks', intents: [readIntent] });
  return company;
}

/** `atMost`: as many random agents take turns; they are as many as are asked for in all rounds, or all that there are. */
async function createContestant(company: Company, atMost: number): Promise<Contestant> {
  const rows = await company.sql<{ id: string }[]>`select id from agents order by random() limit ${atMost}`;
  const callers: Caller[] = rows.map(({ id }) => ({ clientId: id }));
  const details = JSON.stringify([{ type: 'agent_intent', task_intent: readIntent }]);
  const form = { grant_type: grants.clientCredentials, resource: api, authorization_details: details };
  const { server } = company;
  let turn = 0;
  return {
    server,
    makeRequests: (count) =>
      Array.from({ length: count }, () => askToken(server.url, callers[turn++ % callers.length] as Caller, form)),
  };
}

export async function measureGrowth(bench: Bench): Promise<Section[]> {
  const sizes = bench.quick ? [100, 10_000] : [100, 10_000, 1_000_000];
  const companies: Company[] = [];
  for (const size of sizes) companies.push(await openGrown(bench, size));
  const pace = { ...bench.pace, connections: 8 };
  const rows: string[][] = [];
  const all: Round[][] = [];
  for (const [pattern, atMost] of [
    [`the same ${busy} agents ask`, busy],
    ['any of them asks', 100_000],
  ] as const) {
    bench.progress(`growth: ${pattern}`);
    const contestants = await Promise.all(companies.map((company) => createContestant(company, atMost)));
    const results = await compete(contestants, pace, bench.postgres);
    all.push(...results);
    const [smallest = []] = results;
    for (const [index, rounds] of results.entries()) {
      const { rate, p50, p99, cpuMs, databaseMs } = summarise(rounds);
      const ratio = (read: (round: Round) => number) => showRatio(ratioOf(rounds, smallest, read));
      rows.push([
        `${sizes[index]?.toLocaleString('en-US')} agents, ${pattern}`,
        ...[rate, p50, p99, cpuMs, databaseMs].map((value) => show(value)),
        ratio((round) => round.p50),
        ratio((round) => round.cpuMs),
      ]);
    }
  }
  return [
    {
      title: 'Growth',
      notes: [
        `\`private_key_jwt\`, ${pace.rounds} rounds of ${pace.seconds} s over ${pace.connections} connections. The ratios are to the smallest, ` +
          'whose agents are all known to the server after a moment; where there are more, most ask for the first time.',
        ...noteDisturbance(all),
      ],
      header: ['', 'tokens/s', 'p50 ms', 'p99 ms', 'CPU ms/token', 'PostgreSQL ms/token', 'p50 ratio', 'CPU ratio'],
      rows,
    },
  ];
}
