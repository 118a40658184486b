/**
 * Statement by statement: in each journey the first, second, third … statement fails, until one passes undisturbed.
 * Each time all or nothing, a 5xx, and the retry succeeds.
 */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type Fault, type PgProxy, type Round, startPgProxy } from '../support/pg-proxy.ts';
import {
  askToken,
  createWorld,
  exchangeToken,
  type KeyedAgent,
  must,
  postForm,
  readIntent,
  type World,
} from '../support/world.ts';
import { type Answer, startWrit, type TestWrit } from '../support/writ.ts';

let database: TestDatabase;
let proxy: PgProxy;
let writ: TestWrit;
let world: World;
/** Around the proxy. */
let sql: postgres.Sql;

beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await startPgProxy(database.url);
  writ = await startWrit({ databaseUrl: proxy.url });
  world = await createWorld(writ);
  sql = postgres(database.url, { max: 1, onnotice: () => {} });
});
afterAll(async () => {
  await writ?.close();
  await proxy?.close();
  await sql?.end();
  await database?.drop();
});

interface Journey<Subject> {
  /** What one round needs, made before anything fails. */
  prepare(): Promise<Subject>;
  /** The request. Called again, as a client would, it is the retry. */
  run(subject: Subject): Promise<Answer>;
  /** Whether it has happened, from everything that belongs to it; throws when only a part has. Absent: it only reads. */
  happened?(subject: Subject): Promise<boolean>;
  /** Looks at the answer to the retry. */
  afterRetry?(subject: Subject, retried: Answer): Promise<void>;
  countAlso?: RegExp;
}

const roundsAtMost = 60;

/** One round; again, when the process's own work came in between. */
async function disturb<S>(journey: Journey<S>, n: number, fault: Fault): Promise<Round> {
  for (let attempt = 0; attempt < 8; attempt++) {
    const subject = await journey.prepare();
    proxy.arm(n, fault, journey.countAlso);
    const answer = await journey.run(subject);
    const round = proxy.disarm();
    if (round.failed === undefined) {
      expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
      expect(await journey.happened?.(subject)).not.toBe(false);
      if (!round.isNoisy) return round;
      continue;
    }
    // A `begin` or a probe of the process's own looks like any other, and so does what `countAlso` lets through.
    const mayBeForeign =
      round.isNoisy || /^begin|as writes$/.test(round.failed) || journey.countAlso?.test(round.failed);
    if (answer.status < 300 && mayBeForeign === true) continue;
    const where = `${fault} at ${n}: ${round.failed}`;
    expect(answer.status, where).toBeGreaterThanOrEqual(500);
    if (fault !== 'error') {
      expect(answer.status, where).toBe(503);
      expect(Number(answer.headers.get('retry-after')), where).toBeGreaterThan(0);
    }
    // After the commit there may be reads that only word the answer: then it has happened, as if the answer was lost.
    const isCommitted = fault === 'lostAnswer' || round.statements.slice(0, -1).includes('commit');
    if (journey.happened) expect(await journey.happened(subject), where).toBe(isCommitted);
    const retried = await journey.run(subject);
    expect(retried.status, `${where}, retried: ${JSON.stringify(retried.body)}`).toBeLessThan(300);
    expect(await journey.happened?.(subject), where).not.toBe(false);
    await journey.afterRetry?.(subject, retried);
    if (!round.isNoisy) return round;
  }
  throw new Error(`statement ${n} was never met alone`);
}

/** Every n until there is no n-th statement; how many there were. */
async function disturbEach<S>(journey: Journey<S>, fault: Fault): Promise<string[]> {
  for (let n = 1; n <= roundsAtMost; n++) {
    const round = await disturb(journey, n, fault);
    if (round.failed === undefined && round.statements.length < n) return round.statements;
  }
  throw new Error(`more than ${roundsAtMost} statements`);
}

function describeJourney<S>(name: string, least: number, makeJourney: () => Journey<S>): void {
  describe(name, () => {
    test.each<Fault>(['cut', 'error'])('%s at each statement', { timeout: 120_000 }, async (fault) => {
      const statements = await disturbEach(makeJourney(), fault);
      expect(statements.length).toBeGreaterThanOrEqual(least);
    });
  });
}

const entriesOf = async (kind: string, column: 'agent_id' | 'person_id', id: string): Promise<number> => {
  const [row] = await sql`
    select count(*)::int as n from audit_entries where kind = ${kind} and ${sql(column)} = ${id}::uuid`;
  return row?.n;
};

/** The assertions that were spent and the records of what was asked: both or none. */
function tokenJourney(kind: string, ask: (agent: KeyedAgent, subjectToken: string) => Promise<Answer>) {
  const count = async (agent: KeyedAgent) => ({
    spent: Number((await sql`select count(*) as n from assertions`)[0]?.n),
    records: await entriesOf(kind, 'agent_id', agent.id),
  });
  interface Subject extends Awaited<ReturnType<typeof count>> {
    agent: KeyedAgent;
    subjectToken: string;
  }
  const journey: Journey<Subject> = {
    prepare: async () => {
      const agent = await world.createAgent({ name: 'asking', owner: world.alice, environment: 'production' });
      const subjectToken = must(await askToken(writ, agent, { scope: readIntent })).body.access_token;
      return { agent, subjectToken, ...(await count(agent)) };
    },
    run: ({ agent, subjectToken }) => ask(agent, subjectToken),
    happened: async ({ agent, spent, records }) => {
      const after = await count(agent);
      expect(after.spent - spent).toBe(after.records - records);
      return after.records > records;
    },
    afterRetry: async (_subject, retried) => {
      expect(retried.body.access_token).toMatch(/^eyJ/);
    },
  };
  return journey;
}

describeJourney('get a token', 4, () =>
  tokenJourney('token.issued', (agent) => askToken(writ, agent, { scope: readIntent })),
);

describeJourney('exchange', 5, () =>
  tokenJourney('token.exchanged', (agent, subjectToken) => exchangeToken(writ, agent, subjectToken)),
);

interface Leaver {
  person: string;
  agents: string[];
}

const deactivation = {
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: [{ op: 'replace', value: { active: false } }],
};

function leaverJourney(leave: (person: string) => Promise<Answer>): Journey<Leaver> {
  const receiptsOf = (person: string) => sql`select id from offboardings where person_id = ${person}`;
  return {
    prepare: async () => {
      const userName = `${randomUUID()}@example.com`;
      const person = must(
        await world.scim('POST', '/Users', { schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName }),
      ).body.id;
      const root = await world.createAgent({ name: 'root', owner: person, environment: 'production' });
      const child = await world.createAgent({ name: 'child', parent: root.id, environment: 'production' });
      return { person, agents: [root.id, child.id] };
    },
    run: ({ person }) => leave(person),
    happened: async ({ person, agents }) => {
      const [state] = await sql`
        select (select not active from people where id = ${person}) as gone,
          (select count(*)::int from offboardings where person_id = ${person}) as receipts,
          coalesce((select epoch::int from subjects where id = ${person}), 0) as epoch,
          (select count(*)::int from latches where agent_id = any (${agents}::uuid[])) as latches,
          (select count(*)::int from revocations join offboardings using (seq) where subject = ${person}) as signals,
          (select count(*)::int from audit_entries where person_id = ${person} and kind = 'person.offboarded') as records`;
      const gone = state?.gone === true;
      const once = gone ? 1 : 0;
      expect(state).toEqual({
        gone,
        receipts: once,
        epoch: once,
        latches: gone ? agents.length : 0,
        signals: once,
        records: once,
      });
      return gone;
    },
    afterRetry: async ({ person }, retried) => {
      const [receipt, ...more] = await receiptsOf(person);
      expect(more).toEqual([]);
      expect(retried.headers.get('writ-offboarding')).toBe(receipt?.id);
    },
  };
}

const patch = () => leaverJourney((person) => world.scim('PATCH', `/Users/${person}`, deactivation));
describeJourney('offboard by PATCH', 10, patch);
describeJourney(
  'a person comes',
  5,
  (): Journey<string> => ({
    prepare: async () => `${randomUUID()}@example.com`,
    run: (userName) =>
      world.scim('POST', '/Users', { schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName }),
    happened: async (userName) => {
      const [row] = await sql`
      select count(*)::int as people, (select count(*)::int from audit_entries e join people p on p.id = e.person_id
        where p.user_name = ${userName} and e.kind = 'person.created') as records
      from people where user_name = ${userName}`;
      expect(row?.records).toBe(row?.people);
      return row?.people === 1;
    },
  }),
);
describeJourney('offboard by DELETE', 10, () => {
  // A retry of a deletion that has happened finds nobody: 404, which every IdP takes for done.
  const { afterRetry: _, ...journey } = leaverJourney((person) => world.scim('DELETE', `/Users/${person}`));
  return journey;
});

describe('the answer to COMMIT is lost', () => {
  test('an offboarding has happened, and its retry leads to the same receipt', async () => {
    const round = await disturb(patch(), 1, 'lostAnswer');
    expect(round.failed).toBe('commit');
  });

  test('a token is not given out, its record stands, and a new assertion gets another', async () => {
    const journey = tokenJourney('token.issued', (agent) => askToken(writ, agent, { scope: readIntent }));
    expect((await disturb(journey, 1, 'lostAnswer')).failed).toBe('commit');
  });

  test('a suspension has happened, and its retry says so', async () => {
    expect((await disturb(suspension(), 1, 'lostAnswer')).failed).toBe('commit');
  });
});

describe('verify', () => {
  const basic = () => {
    const { clientId, clientSecret } = world.api.feedCredentials;
    return `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
  };

  describeJourney(
    'introspection',
    4,
    (): Journey<string> => ({
      prepare: async () => must(await askToken(writ, world.triage, { scope: readIntent })).body.access_token,
      run: async (token) => {
        const answer = await postForm(`${writ.url}/oauth/introspect`, { token }, { authorization: basic() });
        // Nothing but the truth: neither alive nor dead as long as nobody knows.
        if (answer.status < 300) expect(answer.body).toMatchObject({ active: true, sub: world.triage.id });
        else expect(answer.body).not.toHaveProperty('active');
        return answer;
      },
    }),
  );
  describeJourney('the feed', 3, () => ({
    prepare: async () => null,
    run: () => connectFeed(basic()),
    countAlso: /from "checkpoints"/,
  }));
});

/** Connects, and reads what comes first. */
async function connectFeed(authorization: string): Promise<Answer> {
  const controller = new AbortController();
  const response = await fetch(`${writ.url}/revocations`, { headers: { authorization }, signal: controller.signal });
  try {
    const first = response.status === 200 ? await response.body?.getReader().read() : undefined;
    const body = first?.value === undefined ? '' : Buffer.from(first.value).toString();
    if (response.status === 200) expect(body).toMatch(/^event: snapshot\n/);
    return { status: response.status, headers: response.headers, body };
  } finally {
    controller.abort();
  }
}

/** An agent that is stopped: its status, its epoch, the signal and the record go together. */
function suspension(): Journey<string> {
  return {
    prepare: async () => (await world.createAgent({ name: 'bad', owner: world.bob, environment: 'production' })).id,
    run: (id) => writ.admin('POST', `/agents/${id}/suspend`, { reason: 'it misbehaves' }),
    happened: async (id) => {
      const [state] = await sql`
        select (select status = 'suspended' from agents where id = ${id}) as stopped,
          coalesce((select epoch::int from subjects where id = ${id}), 0) as epoch,
          (select count(*)::int from revocations where subject = ${id}) as signals`;
      const once = state?.stopped === true ? 1 : 0;
      expect(state).toEqual({ stopped: once === 1, epoch: once, signals: once });
      expect(await entriesOf('agent.suspended', 'agent_id', id)).toBe(once);
      return once === 1;
    },
  };
}

describeJourney('suspend an agent', 8, suspension);

describeJourney(
  'create an agent',
  5,
  (): Journey<string> => ({
    prepare: async () => `agent-${randomUUID()}`,
    run: (name) =>
      writ.admin('POST', '/agents', {
        name,
        owner: world.bob,
        environment: 'production',
        credential: { secret: true },
        intents: [readIntent],
      }),
    happened: async (name) => {
      const [row] = await sql`
      select count(*)::int as agents,
        (select count(*)::int from agent_intents where agent_id in (select id from agents where name = ${name})) as intents,
        (select count(*)::int from audit_entries e join agents a on a.id = e.agent_id
          where a.name = ${name} and e.kind = 'agent.created') as records
      from agents where name = ${name}`;
      const once = row?.agents;
      expect(row).toEqual({ agents: once, intents: once, records: once });
      expect(once).toBeLessThanOrEqual(1);
      return once === 1;
    },
  }),
);

describeJourney(
  'transfer a tree of agents',
  8,
  (): Journey<{ root: string; child: string }> => ({
    prepare: async () => {
      const root = await world.createAgent({ name: 'root', owner: world.bob, environment: 'production' });
      const child = await world.createAgent({ name: 'child', parent: root.id, environment: 'production' });
      return { root: root.id, child: child.id };
    },
    run: ({ root }) => writ.admin('POST', `/agents/${root}/transfer`, { owner: world.alice, reason: 'other team' }),
    happened: async ({ root, child }) => {
      const [state] = await sql`
      select (select count(*)::int from agents where id in (${root}, ${child}) and owner_id = ${world.alice}) as moved,
        coalesce((select epoch::int from subjects where id = ${root}), 0) as epoch`;
      const records = await entriesOf('agent.transferred', 'agent_id', root);
      expect({ ...state, records }).toEqual(
        state?.moved > 0 ? { moved: 2, epoch: 1, records: 1 } : { moved: 0, epoch: 0, records: 0 },
      );
      return state?.moved === 2;
    },
  }),
);

test('the audit log of all this verifies', async () => {
  expect((await writ.admin('POST', '/audit/verify', {})).body).toMatchObject({ ok: true });
});
