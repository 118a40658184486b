/** Memory: that it stays flat over a million tokens, a day of the feed, and thousands of subscribers. */
import { hire, openCompany, secret } from '../company.ts';
import { createCrowd } from '../crowd.ts';
import { sampleTenths, toSection } from '../flatness.ts';
import { createMixedLoad } from '../mixed-load.ts';
import { startServer } from '../processes.ts';
import type { Section } from '../report.ts';
import { openSimulatedIssuer } from '../simulated-issuer.ts';
import type { Bench } from '../stage.ts';

/** For each token that is asked for: with a million of them, more agents than any cache of Writ has room for. */
const agentsPerToken = 0.03;
const agentsEach = 10;
/** Before the first token: more strangers than the rate limits have room for. */
const strangers = 10_500;

async function measureTokens(bench: Bench): Promise<Section> {
  const total = bench.only.count ?? (bench.quick ? 20_000 : 1_000_000);
  const agents = total * agentsPerToken;
  bench.progress(`memory: ${total.toLocaleString('en-US')} tokens`);
  const url = await bench.postgres.createDatabase();
  // A rate that no agent reaches, so that the limits have something to count.
  const settings = { WRIT_RATE_CLIENT: '1000' };
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url), settings);
  const server = await bench.keep(Promise.resolve(company.server));
  const staff = { people: agents / 2 / agentsEach, agentsEach };
  await hire(company, { ...staff, credential: 'jwks' });
  await hire(company, { ...staff, credential: 'secret' });
  const rows = await company.sql<{ id: string; credential_kind: string }[]>`select id, credential_kind from agents`;
  const idsOf = (kind: string) =>
    rows.filter((row) => row.credential_kind === kind).map(({ id }) => ({ clientId: id }));
  const load = createMixedLoad({
    url: server.url,
    keyed: idsOf('jwks'),
    secret: idsOf('secret').map((caller) => ({ ...caller, secret })),
    connections: bench.pace.connections,
  });
  try {
    if (!bench.quick) await load.bringStrangers(strangers);
    const samples = await sampleTenths(server, total, load.issue, bench.progress);
    const answers = [...load.tally].map(([kind, count]) => `${count.toLocaleString('en-US')} ${kind}`).sort();
    return toSection('Memory over tokens', 'token', samples, [
      `Asked by any of ${agents.toLocaleString('en-US')} agents, mistakes from an address each: ${answers.join(', ')}.`,
    ]);
  } finally {
    load.close();
    await server.stop();
  }
}

const daySeconds = 86_400;

async function measureVerifier(bench: Bench): Promise<Section> {
  const seconds = bench.quick ? daySeconds / 4 : daySeconds;
  bench.progress(`memory: ${seconds.toLocaleString('en-US')} seconds of the feed`);
  await using issuer = await openSimulatedIssuer();
  const starting = startServer(bench.cores, bench.folder, {
    name: 'a verifier',
    module: './servers/verifier.ts',
    env: (_url, port) => ({ PORT: String(port), BENCH_ISSUER: issuer.url }),
    probePath: '/',
    quietMs: 100,
  });
  const server = await bench.keep(starting);
  const check = (): void => {
    const words = server.lastWords();
    if (words !== undefined) throw new Error(words);
  };
  const samples = await sampleTenths(server, seconds, (count) => issuer.tell(count, check), bench.progress);
  await server.stop();
  const { revocations, resumed, snapshots } = issuer.counts;
  return toSection('Memory over a day of the feed: a verifier', 'second', samples, [
    `${revocations.toLocaleString('en-US')} revocations, each found in the next token, ${resumed} connections resumed and ` +
      `${snapshots} begun with a snapshot; two tokens judged each second. Time is simulated: the verifier's clocks show what the feed says.`,
  ]);
}

async function measureSubscribers(bench: Bench): Promise<Section> {
  const visits = bench.quick ? 500 : 5_000;
  bench.progress(`memory: ${visits.toLocaleString('en-US')} subscribers`);
  const url = await bench.postgres.createDatabase();
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url));
  const server = await bench.keep(Promise.resolve(company.server));
  const crowd = createCrowd(company);
  const samples = await sampleTenths(server, visits, crowd.visit, bench.progress);
  await server.stop();
  return toSection('Memory over subscribers of the feed: the server', 'subscriber', samples, [
    'A quarter each joins without a past, resumes, takes nothing, and is gone before the answer; ' +
      `${crowd.counts.revocations.toLocaleString('en-US')} revocations, ${crowd.counts.cut} of those who took nothing cut off by the server.`,
  ]);
}

const measurements: Record<string, (bench: Bench) => Promise<Section>> = {
  tokens: measureTokens,
  verifier: measureVerifier,
  subscribers: measureSubscribers,
};

export async function measureMemory(bench: Bench): Promise<Section[]> {
  const wanted = bench.only.target?.split(',');
  const sections: Section[] = [];
  for (const [name, measure] of Object.entries(measurements)) {
    if (wanted === undefined || wanted.includes(name)) sections.push(await measure(bench));
  }
  return sections;
}
