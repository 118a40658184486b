/** A database with people, a small catalogue, and an administrator who acts: where tests of agents begin. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { eq, sql as statement } from 'drizzle-orm';
import { createAgent, type NewAgent } from '../../src/domain/agents/agents.ts';
import { latchOwnedBy } from '../../src/domain/agents/latches.ts';
import type { AgentView } from '../../src/domain/agents/views.ts';
import { type Sql, transaction } from '../../src/platform/db/client.ts';
import { lockOwners } from '../../src/platform/db/locks.ts';
import { people } from '../../src/platform/db/schema.ts';
import { type Ground, openGround } from './ground.ts';

export interface AgentWorld extends Ground {
  /** Makes a person and returns their id. */
  person(): Promise<string>;
  leave(person: string): Promise<void>;
  comeBack(person: string): Promise<void>;
  /**
   * As an offboarding does it: lock, then the person, then their agents, which are returned; `meanwhile` runs before the
   * lock is let go.
   */
  offboard(person: string, meanwhile?: () => Promise<void>): Promise<{ id: string; name: string }[]>;
  agent(input?: Partial<NewAgent>): Promise<AgentView>;
  /** Kinds of the audit entries about this agent, oldest first. */
  kinds(agent: string): Promise<string[]>;
  epoch(subject: string): Promise<number>;
}

/** A public key of the kind that most agents have. */
export const makeJwk = () => {
  const { kty, ...members } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
  return { kty: kty ?? '', ...members };
};

/** Intents `tickets.read`, `tickets.update` at an API in production, and `payments.read` at one in staging. */
export async function openAgentWorld(): Promise<AgentWorld> {
  const ground = await openGround();
  const { db, sql, act } = ground;
  const directoryId = randomUUID();
  await sql`insert into directories (id, name, kind) values (${directoryId}, 'corporate', 'okta')`;
  await fillCatalogue(sql);
  const person = async () => {
    const id = randomUUID();
    await sql`insert into people (id, directory_id, user_name) values (${id}, ${directoryId}, ${id})`;
    return id;
  };
  return {
    ...ground,
    person,
    leave: async (id) => void (await sql`update people set active = false where id = ${id}`),
    comeBack: async (id) => void (await sql`update people set active = true where id = ${id}`),
    offboard: (id, meanwhile = async () => {}) =>
      transaction(db, async (tx) => {
        await lockOwners(tx, [id]);
        await tx.update(people).set({ active: false }).where(eq(people.id, id));
        const latched = await tx.execute<{ id: string; name: string }>(
          statement`with ${latchOwnedBy(id)} select id, name from owned order by name`,
        );
        await meanwhile();
        return [...latched];
      }),
    agent: async (input = {}) => {
      const place = input.parent === undefined ? { ownerId: input.ownerId ?? (await person()) } : {};
      const environment = input.parent === undefined ? { environment: 'production' } : {};
      const given: NewAgent = { name: 'triage', credential: { secret: true }, ...environment, ...input, ...place };
      return (await createAgent(db, act, given)).agent;
    },
    kinds: async (agent) =>
      (await sql`select kind from audit_entries where agent_id = ${agent} order by counter`).map(({ kind }) => kind),
    epoch: async (subject) => {
      const [row] = await sql`select epoch from subjects where id = ${subject}`;
      return Number(row?.epoch ?? 0);
    },
  };
}

async function fillCatalogue(sql: Sql): Promise<void> {
  for (const [environment, names] of [
    ['production', ['tickets.read', 'tickets.update']],
    ['staging', ['payments.read']],
  ] as const) {
    const [api] = await sql`insert into apis (identifier, name, environment, secret_hash)
      values (${`https://${environment}.example.com`}, ${environment}, ${environment}, '\\x00') returning id`;
    for (const name of names) {
      const write = name.endsWith('update');
      const [intent] = await sql`insert into intents (task_intent, description, actions, datatypes, risk)
        values (${name}, ${name}, ${write ? ['update'] : ['read']}, ${['ticket']}, ${write ? 'write' : 'read'}) returning id`;
      await sql`insert into intent_apis (intent_id, api_id) values (${intent?.id}, ${api?.id})`;
    }
  }
}
