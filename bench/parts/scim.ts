/** SCIM: what an IdP sends most, to Writ and to scimmy-routers on Express in memory. */
import { randomUUID } from 'node:crypto';
import { openCompany } from '../company.ts';
import { createClient, type Request } from '../load.ts';
import { type Contestant, compete, noteDisturbance, type Round, ratioOf, summarise } from '../measure.ts';
import { type Server, startServer } from '../processes.ts';
import { type Section, show, showRatio } from '../report.ts';
import type { Bench } from '../stage.ts';

const userSchema = 'urn:ietf:params:scim:schemas:core:2.0:User';
const patchSchema = 'urn:ietf:params:scim:api:messages:2.0:PatchOp';
const seeded = 500;

interface Directory {
  server: Server;
  headers: Record<string, string>;
  users: { id: string; userName: string }[];
}

const kinds: Record<string, (directory: Directory, turn: number) => Request> = {
  'POST a user': ({ headers }) => ({
    path: '/scim/v2/Users',
    headers,
    body: renderUser(`${randomUUID()}@example.com`),
  }),
  'PATCH displayName': ({ headers, users }, turn) => ({
    method: 'PATCH',
    path: `/scim/v2/Users/${users[turn % users.length]?.id}`,
    headers,
    body: JSON.stringify({
      schemas: [patchSchema],
      Operations: [{ op: 'replace', path: 'displayName', value: randomUUID() }],
    }),
  }),
  'GET by userName': ({ headers, users }, turn) => ({
    method: 'GET',
    path: `/scim/v2/Users?filter=${encodeURIComponent(`userName eq "${users[turn % users.length]?.userName}"`)}`,
    headers,
  }),
};

const renderUser = (userName: string): string =>
  JSON.stringify({
    schemas: [userSchema],
    userName,
    externalId: randomUUID(),
    name: { givenName: 'Alice', familyName: 'Example' },
    emails: [{ value: userName, type: 'work', primary: true }],
    active: true,
  });

async function openDirectory(server: Server, token: string): Promise<Directory> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/scim+json' };
  const client = createClient(server.url, 8);
  try {
    const users = await Promise.all(
      Array.from({ length: seeded }, async () => {
        const userName = `${randomUUID()}@example.com`;
        const { status, body } = await client.send({ path: '/scim/v2/Users', headers, body: renderUser(userName) });
        if (status !== 201) throw new Error(`${server.name} answered ${status}: ${body}`);
        return { id: String(JSON.parse(body).id), userName };
      }),
    );
    return { server, headers, users };
  } finally {
    client.close();
  }
}

function createContestant(directory: Directory, make: (directory: Directory, turn: number) => Request): Contestant {
  let turn = 0;
  return {
    server: directory.server,
    makeRequests: (count) => Array.from({ length: count }, () => make(directory, turn++)),
  };
}

const toRow = (name: string, rounds: readonly Round[]): string[] => {
  const { rate, p50, p99, cpuMs, databaseMs } = summarise(rounds);
  return [name, ...[rate, p50, p99, cpuMs, databaseMs].map((value) => show(value))];
};

export async function measureScim(bench: Bench): Promise<Section[]> {
  const token = randomUUID();
  const scimmy = await bench.keep(
    startServer(bench.cores, bench.folder, {
      name: 'scimmy-routers in memory',
      module: './servers/scimmy.ts',
      env: (_url, port) => ({ PORT: String(port), BENCH_TOKEN: token }),
      probePath: '/',
      quietMs: 100,
    }),
  );
  const url = await bench.postgres.createDatabase();
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url));
  await bench.keep(Promise.resolve(company.server));
  const directories = [
    await openDirectory(scimmy, token),
    await openDirectory(company.server, company.directory.scimToken),
  ];
  const pace = { rounds: Math.min(bench.pace.rounds, 3), seconds: Math.min(bench.pace.seconds, 1), connections: 8 };
  const rows: string[][] = [];
  const all: Round[][] = [];
  for (const [kind, make] of Object.entries(kinds)) {
    bench.progress(`scim: ${kind}`);
    const contestants = directories.map((directory) => createContestant(directory, make));
    const results = await compete(contestants, pace, bench.postgres);
    all.push(...results);
    const [other = [], writ = []] = results;
    const ratio = (read: (round: Round) => number) => showRatio(ratioOf(writ, other, read));
    rows.push(toRow(`${kind}: scimmy-routers in memory`, other), toRow(`${kind}: Writ on PostgreSQL`, writ), [
      `${kind}: Writ ÷ scimmy-routers`,
      ratio((round) => round.rate),
      ratio((round) => round.p50),
      ratio((round) => round.p99),
      ratio((round) => round.cpuMs),
      '',
    ]);
  }
  return [
    {
      title: 'SCIM',
      notes: [
        `${pace.rounds} rounds of ${pace.seconds} s over ${pace.connections} connections, ${seeded} users to begin with. ` +
          'Writ commits each change with its audit record before it answers; the other keeps a Map.',
        ...noteDisturbance(all),
      ],
      header: ['', 'calls/s', 'p50 ms', 'p99 ms', 'CPU ms/call', 'PostgreSQL ms/call'],
      rows,
    },
  ];
}
