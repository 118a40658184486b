import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  confirmDeparture,
  confirmDepartures,
  undoDeparture,
  undoDepartures,
} from '../../src/domain/people/departure-review.ts';
import { changeDirectory } from '../../src/domain/people/directories.ts';
import { receiptsOf, setActive, standingOf, whyDead } from '../support/departures.ts';
import { openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

let world: ScimWorld;
beforeAll(async () => {
  world = await openScimWorld();
});
afterAll(() => world.close());

interface Company {
  directory: ScimDirectory;
  people: string[];
  agents: string[];
  leave(...who: number[]): Promise<void>;
  comeBack(...who: number[]): Promise<void>;
  confirmations(): Promise<(string | null)[]>;
  alarms(): Promise<number>;
}

async function company(size: number, percent: number | null): Promise<Company> {
  const directory = await world.directory();
  const people: string[] = [];
  for (let n = 0; n < size; n++) people.push(await directory.user());
  const agents: string[] = [];
  for (const person of people) agents.push(await world.agentOf(person));
  const settings = { massDeparturePercent: percent };
  await changeDirectory(world.db, world.act, directory.id, settings, new Date());
  const send = async (active: boolean, who: number[]): Promise<void> => {
    for (const n of who) {
      const answer = await directory.call('PATCH', `/Users/${people[n]}`, setActive(active));
      expect(answer).toMatchObject({ status: 200, body: { active } });
    }
  };
  return {
    directory,
    people,
    agents,
    leave: (...who) => send(false, who),
    comeBack: (...who) => send(true, who),
    confirmations: async () => {
      const rows = await world.sql`
        select confirmation from offboardings where directory_id = ${directory.id} order by seq`;
      return rows.map(({ confirmation }) => confirmation);
    },
    alarms: async () =>
      (
        await world.sql`
          select 1 from audit_entries where kind = 'directory.mass_departure'
            and body::jsonb -> 'details' ->> 'directory' = ${directory.id}`
      ).length,
  };
}

const first = async (of: Company, n: number): Promise<string> =>
  (await receiptsOf(world, of.people[n] ?? ''))[0]?.id ?? '';
const setPolicy = (agent: string | undefined, policy: string) =>
  world.sql`update agents set leaver_policy = ${policy} where id = ${agent ?? ''}`;
const quarantines = (agent: string | undefined) => world.sql`select 1 from quarantines where agent_id = ${agent ?? ''}`;

describe('the guard against a departure of very many', () => {
  it('is off by default', async () => {
    const of = await company(8, null);
    await of.leave(0, 1, 2, 3, 4, 5, 6);
    expect(await of.confirmations()).toEqual([null, null, null, null, null, null, null]);
  });

  it('alarms once beyond the share, from five departures on; the write is accepted and agents are stopped', async () => {
    const of = await company(20, 30);
    await of.leave(0, 1, 2, 3, 4, 5);
    expect(await of.confirmations()).toEqual([null, null, null, null, null, null]);
    await of.leave(6, 7);
    expect((await of.confirmations()).slice(6)).toEqual(['needed', 'needed']);
    for (const agent of of.agents.slice(0, 8)) expect(await whyDead(world, agent)).toBe('owner_inactive');
    expect(await of.alarms()).toBe(1);
    const small = await company(4, 10);
    await small.leave(0, 1, 2, 3);
    expect(await small.confirmations()).toEqual([null, null, null, null]);
  });

  it('counts an hour, and no other directory', async () => {
    const of = await company(12, 50);
    await of.leave(0, 1, 2, 3, 4, 5);
    await world.sql`update offboardings set committed_at = committed_at - interval '61 minutes' where directory_id = ${of.directory.id}`;
    const other = await company(6, 90);
    await other.leave(0, 1, 2, 3, 4);
    await of.leave(6);
    expect((await of.confirmations()).at(-1)).toBeNull();
  });

  it('of many at once all beyond the bound are held, but for those in flight, and it begins once', async () => {
    const of = await company(40, 25);
    await Promise.all(of.people.map((_person, n) => of.leave(n)));
    const held = (await of.confirmations()).filter((state) => state === 'needed').length;
    // Ten connections: that many may not have seen each other.
    expect(held).toBeGreaterThanOrEqual(40 - 10 - 12);
    expect(held).toBeLessThanOrEqual(30);
    expect(await of.alarms()).toBe(1);
  });

  it('holds back what is hard to undo until it is confirmed, and does it then', async () => {
    const of = await company(10, 50);
    for (const n of [0, 5, 6]) await setPolicy(of.agents[n], 'quarantine');
    await of.leave(0, 1, 2, 3, 4, 5, 6);
    expect(await of.confirmations()).toEqual([null, null, null, null, null, 'needed', 'needed']);
    expect(await quarantines(of.agents[0])).toHaveLength(1);
    expect(await quarantines(of.agents[5])).toHaveLength(0);
    expect(await whyDead(world, of.agents[5] ?? '')).toBe('owner_inactive');
    await confirmDeparture(world.db, world.act, await first(of, 5), 'meant');
    expect(await quarantines(of.agents[5])).toHaveLength(1);
    expect(await whyDead(world, of.agents[5] ?? '')).toBeNull();
    expect(await quarantines(of.agents[6])).toHaveLength(0);
    const [receipt] = await world.sql`select agents, confirmed_by from offboardings where id = ${await first(of, 5)}`;
    expect(receipt).toMatchObject({ agents: [{ id: of.agents[5], outcome: 'quarantined' }], confirmed_by: 'test' });
    expect(await confirmDepartures(world.db, world.act, of.directory.id, 'meant')).toEqual({ confirmed: 1 });
    expect(await whyDead(world, of.agents[6] ?? '')).toBeNull();
    await expect(confirmDeparture(world.db, world.act, await first(of, 0), 'x')).rejects.toMatchObject({
      code: 'conflict',
    });
    // What was confirmed is settled: the next one is not held for its sake.
    await of.leave(7);
    expect((await of.confirmations()).at(-1)).toBe('needed');
  });
});

describe('undoing it', () => {
  it('revives exactly what it had stopped, once the directory has brought the people back', async () => {
    const of = await company(10, 50);
    const old = of.agents[9] ?? '';
    await of.leave(9);
    await of.comeBack(9);
    await world.sql`update offboardings set committed_at = committed_at - interval '2 hours' where directory_id = ${of.directory.id}`;
    await world.sql`update latches set since = since - interval '2 hours' where agent_id = ${old}`;
    const fresh = await world.agentOf(of.people[9] ?? '');
    await of.leave(0, 1, 2, 3, 4, 9, 5);
    expect((await of.confirmations()).slice(1)).toEqual([null, null, null, null, null, 'needed', 'needed']);
    const undo = (n: number) => first(of, n).then((id) => undoDeparture(world.db, world.act, id, 'mistake'));
    await expect(undo(5)).rejects.toMatchObject({ code: 'conflict' });
    expect(await undoDepartures(world.db, world.act, of.directory.id, 'mistake')).toEqual({ undone: 0, notYetBack: 7 });
    await of.comeBack(0, 1, 2, 3, 9, 5);
    for (const n of [0, 5]) expect(await whyDead(world, of.agents[n] ?? '')).toBe('owner_inactive');
    expect(await undoDepartures(world.db, world.act, of.directory.id, 'mistake')).toEqual({ undone: 6, notYetBack: 1 });
    for (const n of [0, 1, 2, 3, 5]) expect(await whyDead(world, of.agents[n] ?? '')).toBeNull();
    expect(await whyDead(world, fresh)).toBeNull();
    expect(await whyDead(world, old)).toBe('owner_inactive');
    expect(await whyDead(world, of.agents[4] ?? '')).toBe('owner_inactive');
    await of.comeBack(4);
    expect(await undoDepartures(world.db, world.act, of.directory.id, 'mistake')).toEqual({ undone: 1, notYetBack: 0 });
    expect(await whyDead(world, of.agents[4] ?? '')).toBeNull();
    expect((await world.kinds(of.people[0] ?? '')).slice(-2)).toEqual(['person.returned', 'offboarding.undone']);
  });

  it('is refused once confirmed, and after a later departure', async () => {
    const of = await company(6, 50);
    await of.leave(0, 1, 2, 3, 4);
    await of.comeBack(0, 4);
    await confirmDeparture(world.db, world.act, await first(of, 4), 'meant');
    const undo = (n: number) => first(of, n).then((id) => undoDeparture(world.db, world.act, id, 'mistake'));
    await expect(undo(4)).rejects.toMatchObject({ code: 'conflict' });
    await of.leave(0);
    await of.comeBack(0);
    await expect(undo(0)).rejects.toMatchObject({ code: 'conflict', detail: expect.stringContaining('once more') });
    expect(await standingOf(world, of.people[0] ?? '')).toMatchObject({ live: true });
    expect(await whyDead(world, of.agents[0] ?? '')).toBe('owner_inactive');
  });
});
