/** The API's SDK against `jose`, both verifying Writ's own tokens in this process. */
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose';
import { createVerifier } from '../../src/sdk/api/verify.ts';
import { accessTokenType, api, askToken, type Caller, grants, readIntent } from '../callers.ts';
import { hire, openCompany, secret } from '../company.ts';
import { createClient } from '../load.ts';
import { median } from '../measure.ts';
import { type Section, show, showRatio } from '../report.ts';
import type { Bench } from '../stage.ts';

const distinctTokens = 64;
const rounds = 7;

interface Cost {
  /** Microseconds for each token: on the clock, and of CPU, all threads of this process counted. */
  wall: number;
  cpu: number;
}

/** Verifies the tokens over and over, one after the other. */
async function time(tokens: readonly string[], ms: number, verify: (token: string) => Promise<unknown>): Promise<Cost> {
  const before = process.cpuUsage();
  const startedAt = performance.now();
  let count = 0;
  while (performance.now() - startedAt < ms) {
    for (const token of tokens) await verify(token);
    count += tokens.length;
  }
  const wall = ((performance.now() - startedAt) * 1000) / count;
  const { user, system } = process.cpuUsage(before);
  return { wall, cpu: (user + system) / count };
}

/** Tokens by client secret, one each for as many agents as asked for. */
export async function fetchTokens(url: string, callers: readonly Caller[]): Promise<string[]> {
  const client = createClient(url, 8);
  try {
    const form = { grant_type: grants.clientCredentials, resource: api, requested_token_type: accessTokenType };
    const details = JSON.stringify([{ type: 'agent_intent', task_intent: readIntent }]);
    return await Promise.all(
      callers.map(async (caller) => {
        const { status, body } = await client.send(askToken(url, caller, { ...form, authorization_details: details }));
        if (status !== 200) throw new Error(`the token endpoint answered ${status}: ${body}`);
        return JSON.parse(body).access_token;
      }),
    );
  } finally {
    client.close();
  }
}

export async function measureVerifier(bench: Bench): Promise<Section[]> {
  bench.progress('verifier');
  const url = await bench.postgres.createDatabase();
  const company = await openCompany(bench.cores, bench.folder, url, bench.postgres.open(url));
  const issuer = (await bench.keep(Promise.resolve(company.server))).url;
  await hire(company, { people: 1, agentsEach: distinctTokens, credential: 'secret' });
  const ids = await company.sql<{ id: string }[]>`select id from agents`;
  const tokens = await fetchTokens(
    issuer,
    ids.map(({ id }) => ({ clientId: id, secret })),
  );
  const common = { issuer, audience: api, credentials: company.feedCredentials };
  await using uncached = await createVerifier({ ...common, rememberedTokens: 0 });
  await using cached = await createVerifier(common);
  await Promise.all([uncached.ready(), cached.ready()]);
  const jwks: JSONWebKeySet = JSON.parse(await (await fetch(`${issuer}/oauth/jwks`)).text());
  const keys = createLocalJWKSet(jwks);
  const requirement = { intent: readIntent, action: 'read', datatype: 'ticket' };
  const contestants = {
    'jose, jwtVerify with a local key set': (token: string) =>
      jwtVerify(token, keys, { issuer, audience: api, typ: 'at+jwt', algorithms: ['ES256'] }),
    'Writ, nothing remembered': (token: string) => uncached.verify(token, requirement),
    'Writ, token seen before': (token: string) => cached.verify(token, requirement),
  };
  const ms = bench.quick ? 50 : 400;
  const times = Object.values(contestants).map((): Cost[] => []);
  for (const verify of Object.values(contestants)) await time(tokens, ms, verify);
  for (let round = 0; round < rounds; round++) {
    for (const [index, verify] of Object.values(contestants).entries()) {
      times[index]?.push(await time(tokens, ms, verify));
    }
  }
  const [jose = []] = times;
  const rows = Object.keys(contestants).map((name, index) => {
    const own = times[index] ?? [];
    const ratio = (read: (cost: Cost) => number) =>
      median(own.map((one, round) => read(jose[round] ?? one) / read(one)));
    const wall = median(own.map((one) => one.wall));
    const cpu = median(own.map((one) => one.cpu));
    const ratios = [ratio((one) => one.wall), ratio((one) => one.cpu)];
    return [name, show(1e6 / wall), show(wall), show(cpu), ...ratios.map(showRatio)];
  });
  return [
    {
      title: 'Verifying a token',
      notes: [
        `ES256, ${distinctTokens} tokens in turns, ${rounds} rounds of ${ms} ms. Writ's verifier also checks revocation, ` +
          'staleness and that the token grants what the request needs; `jose` does not.',
      ],
      header: ['', 'tokens/s', 'µs/token', 'CPU µs/token', 'times jose', 'times jose by CPU'],
      rows,
    },
  ];
}
