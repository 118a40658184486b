/**
 * SCIM: what an IdP sends most, to Writ with 10,000 and with 1,000,000 users, and to scimmy-routers on Express, which
 * keeps its 10,000 users in memory.
 */
import { randomUUID } from 'node:crypto';
import { openCompany } from '../company.ts';
import { type Directory, groupSizes, seedMemory, seedWrit } from '../directory.ts';
import type { Request } from '../load.ts';
import { type Contestant, compete, noteDisturbance, type Round, ratioOf, summarise } from '../measure.ts';
import { startServer } from '../processes.ts';
import { type Section, show, showRatio } from '../report.ts';
import type { Bench } from '../stage.ts';

const patchSchema = 'urn:ietf:params:scim:api:messages:2.0:PatchOp';

const at = <T>(list: readonly T[], turn: number): T => list[turn % list.length] as T;

const find =
  (attribute: 'userName' | 'externalId') =>
  ({ headers, users }: Directory, turn: number) => ({
    method: 'GET',
    path: `/scim/v2/Users?filter=${encodeURIComponent(`${attribute} eq "${at(users, turn)[attribute]}"`)}`,
    headers,
  });

const patch = (path: string, headers: Record<string, string>, operation: object): Request => ({
  method: 'PATCH',
  path: `/scim/v2${path}`,
  headers,
  body: JSON.stringify({ schemas: [patchSchema], Operations: [operation] }),
});

interface Kind {
  make(directory: Directory, turn: number): Request;
  /** What cannot do it does not take part. */
  isWritAlone?: true;
}

const kinds: Record<string, Kind> = {
  'userName eq': { make: find('userName') },
  'externalId eq': { make: find('externalId') },
  // Each user leaves and comes back in turn: half of them are departures, with all that belongs to one.
  'PATCH active': {
    make: ({ headers, users }, turn) =>
      patch(`/Users/${at(users, Math.floor(turn / 2)).id}`, headers, {
        op: 'replace',
        value: { active: turn % 2 === 1 },
      }),
  },
  'PATCH displayName': {
    make: ({ headers, users }, turn) =>
      patch(`/Users/${at(users, turn).id}`, headers, { op: 'replace', path: 'displayName', value: randomUUID() }),
  },
  'add one member': {
    make: ({ headers, group, strangers }, turn) =>
      patch(`/Groups/${group}?excludedAttributes=members`, headers, {
        op: 'add',
        path: 'members',
        value: [{ value: at(strangers, turn).id }],
      }),
  },
  'next page by cursor': {
    make: ({ headers, cursors }, turn) => ({
      method: 'GET',
      path: `/scim/v2/Users?count=100&cursor=${at(cursors, turn)}`,
      headers,
    }),
    isWritAlone: true,
  },
  'POST a user': {
    make: ({ headers, render }) => ({ path: '/scim/v2/Users', headers, body: render() }),
  },
};

function createContestant(directory: Directory, make: Kind['make']): Contestant {
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

const toRatios = (name: string, one: readonly Round[], other: readonly Round[]): string[] => [
  name,
  ...(['rate', 'p50', 'p99', 'cpuMs'] as const).map((key) => showRatio(ratioOf(one, other, (round) => round[key]))),
  '',
];

async function openWrit(bench: Bench, size: number): Promise<Directory> {
  bench.progress(`scim: ${size.toLocaleString('en-US')} users are provisioned`);
  const url = await bench.postgres.createDatabase();
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url));
  await bench.keep(Promise.resolve(company.server));
  return seedWrit(company, size);
}

async function openMemory(bench: Bench, size: number): Promise<Directory> {
  const token = randomUUID();
  const server = await bench.keep(
    startServer(bench.cores, bench.folder, {
      name: 'scimmy-routers in memory',
      module: './servers/scimmy.ts',
      env: (_url, port) => ({ PORT: String(port), BENCH_TOKEN: token }),
      probePath: '/',
      quietMs: 100,
    }),
  );
  return seedMemory(server, token, size);
}

export async function measureScim(bench: Bench): Promise<Section[]> {
  const [small, large] = bench.quick ? [1_000, 20_000] : [10_000, 1_000_000];
  const memory = await openMemory(bench, small);
  const writs = [await openWrit(bench, small), await openWrit(bench, large)];
  const pace = { rounds: Math.min(bench.pace.rounds, 3), seconds: Math.min(bench.pace.seconds, 1), connections: 8 };
  const names = [small, large].map((size) => `Writ, ${size.toLocaleString('en-US')} users`);
  const rows: string[][] = [];
  const all: Round[][] = [];
  for (const [kind, { make, isWritAlone }] of Object.entries(kinds)) {
    bench.progress(`scim: ${kind}`);
    const directories = isWritAlone ? writs : [...writs, memory];
    const results = await compete(
      directories.map((directory) => createContestant(directory, make)),
      pace,
      bench.postgres,
    );
    all.push(...results);
    const [few = [], many = [], other] = results;
    rows.push(toRow(`${kind}: ${names[0]}`, few), toRow(`${kind}: ${names[1]}`, many));
    rows.push(toRatios(`${kind}: many ÷ few`, many, few));
    if (other === undefined) continue;
    rows.push(toRow(`${kind}: scimmy-routers in memory, ${small.toLocaleString('en-US')} users`, other));
    rows.push(toRatios(`${kind}: Writ ÷ scimmy-routers`, few, other));
  }
  return [
    {
      title: 'SCIM',
      notes: [
        `${pace.rounds} rounds of ${pace.seconds} s over ${pace.connections} connections; a group of ` +
          `${groupSizes(small).toLocaleString('en-US')} and of ${groupSizes(large).toLocaleString('en-US')} people. ` +
          'Writ commits each change with its audit record before it answers; the other keeps a Map, and searches it by its own filter.',
        ...noteDisturbance(all),
      ],
      header: ['', 'calls/s', 'p50 ms', 'p99 ms', 'CPU ms/call', 'PostgreSQL ms/call'],
      rows,
    },
  ];
}
