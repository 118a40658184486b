/** Offboarding: how long the IdP waits for its answer, and when the last of three verifiers refuses the leaver's token. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createVerifier, type Verifier, VerifyError } from '../../src/sdk/api/verify.ts';
import { api } from '../callers.ts';
import { type Company, hire, openCompany, secret } from '../company.ts';
import { quantile } from '../measure.ts';
import { type Section, show } from '../report.ts';
import type { Bench } from '../stage.ts';
import { fetchTokens } from './verifier.ts';

const verifierCount = 3;

interface Departure {
  answerMs: number;
  /** From the SCIM answer until the last verifier refused; negative: all had refused before it came. */
  refusalMs: number;
}

/** When this verifier first refused the token, by `performance.now()`. */
async function awaitRefusal(verifier: Verifier, token: string): Promise<number> {
  const giveUpAt = performance.now() + 20_000;
  while (performance.now() < giveUpAt) {
    try {
      await verifier.verify(token);
    } catch (error) {
      if (error instanceof VerifyError && error.code === 'token_revoked') return performance.now();
      throw error;
    }
    await sleep(1);
  }
  throw new Error('a verifier went on accepting the token of somebody who had left');
}

async function leave(company: Company, verifiers: readonly Verifier[], person: string): Promise<Departure> {
  const [agent] = await company.sql<{ id: string }[]>`select id from agents where owner_id = ${person} limit 1`;
  const [token = ''] = await fetchTokens(company.server.url, [{ clientId: agent?.id ?? '', secret }]);
  await Promise.all(verifiers.map((verifier) => verifier.verify(token)));
  const refusals = Promise.all(verifiers.map((verifier) => awaitRefusal(verifier, token)));
  const startedAt = performance.now();
  const response = await fetch(`${company.server.url}/scim/v2/Users/${person}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${company.directory.scimToken}` },
  });
  const answeredAt = performance.now();
  if (response.status !== 204) throw new Error(`DELETE answered ${response.status}: ${await response.text()}`);
  return { answerMs: answeredAt - startedAt, refusalMs: Math.max(...(await refusals)) - answeredAt };
}

function toRow(agents: number, departures: readonly Departure[]): string[] {
  const of = (read: (departure: Departure) => number) => departures.map(read).sort((a, b) => a - b);
  const answers = of(({ answerMs }) => answerMs);
  const refusals = of(({ refusalMs }) => refusalMs);
  return [
    agents.toLocaleString('en-US'),
    String(departures.length),
    ...[answers, refusals].flatMap((times) => [show(quantile(times, 0.5)), show(quantile(times, 0.99))]),
  ];
}

export async function measureOffboarding(bench: Bench): Promise<Section[]> {
  const url = await bench.postgres.createDatabase();
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url));
  const issuer = (await bench.keep(Promise.resolve(company.server))).url;
  const options = { issuer, audience: api, credentials: company.feedCredentials };
  const verifiers = await Promise.all(Array.from({ length: verifierCount }, () => createVerifier(options)));
  const rows: string[][] = [];
  try {
    await Promise.all(verifiers.map((verifier) => verifier.ready()));
    for (const [agentsEach, people] of bench.quick
      ? [
          [1, 20],
          [1_000, 3],
        ]
      : [
          [1, 100],
          [1_000, 10],
          [100_000, 3],
        ]) {
      bench.progress(`offboarding: ${agentsEach?.toLocaleString('en-US')} agents`);
      const [warm = '', ...leavers] = await hire(company, {
        people: (people ?? 0) + 1,
        agentsEach: agentsEach ?? 0,
        credential: 'secret',
      });
      if (rows.length === 0) await leave(company, verifiers, warm);
      const departures: Departure[] = [];
      for (const person of leavers) departures.push(await leave(company, verifiers, person));
      rows.push(toRow(agentsEach ?? 0, departures));
    }
  } finally {
    await Promise.all(verifiers.map((verifier) => verifier.close()));
  }
  return [
    {
      title: 'Offboarding',
      notes: [
        `SCIM DELETE of a person, one after the other; ${verifierCount} verifiers ask for a token of theirs every millisecond. ` +
          'Refusal is counted from the moment the IdP has its answer; negative: all had refused before. With few departures p99 is the worst.',
      ],
      header: ['agents', 'departures', 'answer p50 ms', 'answer p99 ms', 'last refusal p50 ms', 'last refusal p99 ms'],
      rows,
    },
  ];
}
