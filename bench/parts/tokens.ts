/** Tokens: Writ with its durable audit, against bare oidc-provider in memory and on PostgreSQL. */
import { randomUUID } from 'node:crypto';
import {
  accessTokenType,
  api,
  askToken,
  type Caller,
  grants,
  publicJwk,
  readIntent,
  searchIntent,
} from '../callers.ts';
import { hire, openCompany, secret } from '../company.ts';
import { createClient, type Request } from '../load.ts';
import { type Contestant, compete, noteDisturbance, type Round, ratioOf, summarise } from '../measure.ts';
import { type Server, startServer } from '../processes.ts';
import { type Section, show, showRatio, showShare } from '../report.ts';
import type { Bench } from '../stage.ts';

export const kinds = ['private_key_jwt', 'client_secret', 'exchange'] as const;
export type Kind = (typeof kinds)[number];
export const targets = ['memory', 'postgres', 'writ'] as const;
export type Target = (typeof targets)[number];

const names: Record<Target, string> = {
  memory: 'oidc-provider in memory',
  postgres: 'oidc-provider on PostgreSQL',
  writ: 'Writ, durable audit',
};
const callersOfEach = 100;

interface Field {
  server: Server;
  keyed: Caller[];
  secret: Caller[];
  /** Parameters of a request for a token, and of one for a narrower token. */
  ask: Record<string, string>;
  narrow: Record<string, string>;
}

async function openOidc(bench: Bench, target: 'memory' | 'postgres'): Promise<Field> {
  const ids = Array.from({ length: 2 * callersOfEach }, () => randomUUID());
  const keyed = ids.slice(callersOfEach).map((clientId) => ({ clientId }));
  const withSecret = ids.slice(0, callersOfEach).map((clientId) => ({ clientId, secret }));
  const clients = [
    ...keyed.map(({ clientId }) => ({
      client_id: clientId,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [publicJwk] },
    })),
    ...withSecret.map(({ clientId }) => ({ client_id: clientId, client_secret: secret })),
  ];
  const databaseUrl = target === 'postgres' ? await bench.postgres.createDatabase() : '';
  const server = await bench.keep(
    startServer(bench.cores, bench.folder, {
      name: names[target],
      module: './servers/oidc.ts',
      env: (issuer, port) => ({
        PORT: String(port),
        BENCH_ISSUER: issuer,
        BENCH_API: api,
        BENCH_CLIENTS: JSON.stringify(clients),
        DATABASE_URL: databaseUrl,
      }),
      probePath: '/.well-known/openid-configuration',
      quietMs: 100,
    }),
  );
  return { server, keyed, secret: withSecret, ask: { resource: api, scope: 'read update' }, narrow: { scope: 'read' } };
}

async function openWrit(bench: Bench): Promise<Field> {
  const url = await bench.postgres.createDatabase();
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url));
  await bench.keep(Promise.resolve(company.server));
  const staff = { people: 10, agentsEach: callersOfEach / 10 };
  await hire(company, { ...staff, credential: 'jwks' });
  await hire(company, { ...staff, credential: 'secret' });
  const rows = await company.sql<{ id: string; credential_kind: string }[]>`select id, credential_kind from agents`;
  const idsOf = (kind: string) => rows.filter((row) => row.credential_kind === kind).map((row) => row.id);
  const detail = (taskIntent: string) => ({ type: 'agent_intent', task_intent: taskIntent });
  return {
    server: company.server,
    keyed: idsOf('jwks').map((clientId) => ({ clientId })),
    secret: idsOf('secret').map((clientId) => ({ clientId, secret })),
    ask: { resource: api, authorization_details: JSON.stringify([detail(readIntent), detail(searchIntent)]) },
    narrow: { authorization_details: JSON.stringify([detail(readIntent)]) },
  };
}

/** A token of each caller, to be exchanged. They live five minutes; a measurement of one kind takes less than one. */
async function fetchSubjectTokens({ server, keyed, ask }: Field): Promise<string[]> {
  const client = createClient(server.url, 8);
  try {
    const requests = keyed.map((caller) =>
      askToken(server.url, caller, { grant_type: grants.clientCredentials, ...ask }),
    );
    const answers = await Promise.all(requests.map((request) => client.send(request)));
    return answers.map(({ status, body }) => {
      if (status !== 200) throw new Error(`${server.name} answered ${status}: ${body}`);
      return JSON.parse(body).access_token;
    });
  } finally {
    client.close();
  }
}

async function createContestant(field: Field, kind: Kind): Promise<Contestant> {
  const { server, keyed, ask, narrow } = field;
  const tokens = kind === 'exchange' ? await fetchSubjectTokens(field) : [];
  const callers = kind === 'client_secret' ? field.secret : keyed;
  let next = 0;
  const makeRequest = (): Request => {
    const turn = next++ % callers.length;
    const caller = callers[turn] as Caller;
    if (kind !== 'exchange') return askToken(server.url, caller, { grant_type: grants.clientCredentials, ...ask });
    return askToken(server.url, caller, {
      grant_type: grants.exchange,
      subject_token: tokens[turn] ?? '',
      subject_token_type: accessTokenType,
      ...narrow,
    });
  };
  return { server, makeRequests: (count) => Array.from({ length: count }, makeRequest) };
}

const header = [
  '',
  'tokens/s',
  'p50 ms',
  'p99 ms',
  'CPU ms/token',
  'PostgreSQL ms/token',
  'RSS MiB',
  'client busy',
  'server waited',
];

const toRow = (name: string, rounds: readonly Round[]): string[] => {
  const all = summarise(rounds);
  const numbers = [all.rate, all.p50, all.p99, all.cpuMs, all.databaseMs, all.rssMiB];
  return [name, ...numbers.map((value) => show(value)), showShare(all.clientShare), showShare(all.waitedShare)];
};

function compareRow(name: string, writ: readonly Round[], other: readonly Round[]): string[] {
  const ratio = (read: (round: Round) => number) => showRatio(ratioOf(writ, other, read));
  return [
    `Writ ÷ ${name}`,
    ratio((round) => round.rate),
    ratio((round) => round.p50),
    ratio((round) => round.p99),
    ratio((round) => round.cpuMs),
    '',
    ratio((round) => round.rssMiB),
    '',
    '',
  ];
}

export async function measureTokens(bench: Bench): Promise<Section[]> {
  const { pace, only } = bench;
  const wanted = only.target?.split(',');
  const chosen = targets.filter((target) => wanted === undefined || wanted.includes(target));
  const fields: Field[] = [];
  for (const target of chosen) fields.push(target === 'writ' ? await openWrit(bench) : await openOidc(bench, target));
  const sections: Section[] = [];
  for (const kind of kinds.filter((one) => only.kind === undefined || only.kind.split(',').includes(one))) {
    bench.progress(`tokens: ${kind}`);
    const contestants = await Promise.all(fields.map((field) => createContestant(field, kind)));
    const results = await compete(contestants, pace, bench.postgres);
    const rows = results.map((rounds, index) => toRow(names[chosen[index] ?? 'writ'], rounds));
    const writ = results[chosen.indexOf('writ')];
    for (const [index, target] of chosen.entries()) {
      const other = results[index];
      if (writ !== undefined && other !== undefined && target !== 'writ')
        rows.push(compareRow(names[target], writ, other));
    }
    sections.push({
      title: `Tokens by ${kind}`,
      notes: [
        `${pace.rounds} rounds of ${pace.seconds} s over ${pace.connections} connections, ${callersOfEach} clients. ` +
          'CPU is the server process alone, until it has settled (sealing of the audit log included).',
        ...(kind === 'exchange'
          ? ['Each client exchanges one token again and again, whose signature Writ verifies once.']
          : []),
        ...noteDisturbance(results),
      ],
      header,
      rows,
    });
  }
  return sections;
}
