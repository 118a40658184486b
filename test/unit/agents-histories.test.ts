/** Random histories of people and agents: whatever is done in whatever order, the tree and its rules hold. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { changeAgent } from '../../src/domain/agents/agents.ts';
import { activateAgent, decommissionAgent, suspendAgent, transferAgent } from '../../src/domain/agents/lifecycle.ts';
import { WritError } from '../../src/errors.ts';
import { type AgentWorld, openAgentWorld } from '../support/agents.ts';

let world: AgentWorld;
beforeAll(async () => {
  world = await openAgentWorld();
});
afterAll(() => world.close());

type Step = [
  act:
    | 'root'
    | 'child'
    | 'suspend'
    | 'activate'
    | 'decommission'
    | 'transfer'
    | 'leave'
    | 'return'
    | 'expire'
    | 'extend',
  agent: number,
  person: number,
];
const step: fc.Arbitrary<Step> = fc.tuple(
  fc.constantFrom(
    'root',
    'child',
    'child',
    'suspend',
    'activate',
    'decommission',
    'transfer',
    'leave',
    'return',
    'expire',
    'extend',
  ),
  fc.nat(5),
  fc.nat(2),
);

interface History {
  people: string[];
  agents: string[];
}

async function take({ people, agents }: History, [act, a, p]: Step): Promise<void> {
  const { db, act: who } = world;
  const person = people[p % people.length] ?? '';
  const agent = agents[a % Math.max(agents.length, 1)];
  if (act === 'root') return void agents.push((await world.agent({ ownerId: person })).id);
  if (act === 'return') return world.comeBack(person);
  if (act === 'leave') return void (await world.offboard(person));
  if (agent === undefined) return;
  if (act === 'child') agents.push((await world.agent({ parent: agent })).id);
  if (act === 'suspend') await suspendAgent(db, who, agent, 'test');
  if (act === 'activate') await activateAgent(db, who, agent, 'test');
  if (act === 'decommission') await decommissionAgent(db, who, agent, 'test');
  if (act === 'transfer') await transferAgent(db, who, agent, person, 'test');
  if (act === 'expire') await world.sql`update agents set expires_at = now() - interval '1 s' where id = ${agent}`;
  if (act === 'extend') await changeAgent(db, who, agent, { expiresAt: null });
}

/** One row for each agent whose state breaks a rule, with the rule's name. */
const broken = ({ agents }: History) => world.sql`
  with mine as (select a.*, why_dead(a.id) is null as live from agents a where a.id = any (${agents}))
  select 'one owner and environment in a tree' as rule, a.id from mine a join agents r on r.id = a.path[1]
    where (a.owner_id, a.environment) is distinct from (r.owner_id, r.environment)
  union all select 'a path leads through the parent', a.id from mine a left join agents p on p.id = a.parent_id
    where a.path is distinct from coalesce(p.path, '{}') || a.id
  union all select 'a lost owner means dead', a.id from mine a join latches l on l.agent_id = any (a.path) where a.live
  union all select 'an owner who has left means dead', a.id from mine a join people p on p.id = a.owner_id
    where a.live and not p.active
  union all select 'an owner who has left is latched', a.id from mine a join people p on p.id = a.owner_id
    where not p.active and a.status <> 'decommissioned'
      and not exists (select from latches l where l.agent_id = a.id and l.reason = 'owner_lost')
  union all select 'the end of a parent is the end of all', a.id from mine a join agents x on x.id = any (a.path)
    where x.status = 'decommissioned' and a.status <> 'decommissioned'
  union all select 'an ancestor that is not active means dead', a.id from mine a join agents x on x.id = any (a.path)
    where a.live and (x.status <> 'active' or x.expires_at <= now())`;

test('histories', { timeout: 120_000 }, async () => {
  const property = fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
    const history: History = { people: [await world.person(), await world.person()], agents: [] };
    for (const next of steps) {
      const before = await statesOf(history);
      try {
        await take(history, next);
      } catch (error) {
        // A refusal is fine, a fault is not, and neither changes anything.
        if (!(error instanceof WritError)) throw error;
        expect(await statesOf(history)).toEqual(before);
      }
      expect(await broken(history), next.join(' ')).toEqual([]);
      expect(before.filter(({ gone }) => gone).map(({ id }) => id)).toEqual(
        (await statesOf(history))
          .filter(({ id, gone }) => gone && before.some((old) => old.id === id && old.gone))
          .map(({ id }) => id),
      );
    }
  });
  await fc.assert(property, { numRuns: 40 });
});

/** Every agent's state in full, and whether it is decommissioned, which nothing undoes. */
const statesOf = ({ agents }: History) => world.sql`
  select a.id, a.status = 'decommissioned' as gone, a.version, a.owner_id, a.status,
    (select count(*) from latches l where l.agent_id = a.id) as latches
  from agents a where a.id = any (${agents}) order by a.id`;
