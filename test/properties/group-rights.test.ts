/** Random memberships and rights, and what the agents of those people get. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { environment, intentsOf, openRights } from '../support/rights.ts';
import { askToken, must } from '../support/world.ts';

test('promise 5: for any memberships and rights, an agent gets just the intents that it was granted and that are open to its owner', async () => {
  await using rights = await openRights();
  const { world, writ } = rights;
  const names = ['any.one', 'any.two', 'any.three'];
  for (const name of names) await rights.addIntent(name);
  const groups = await Promise.all(['A', 'B', 'C'].map((name) => rights.createGroup(name)));
  const owners = await Promise.all(['x', 'y'].map((name) => rights.createPerson(`any-${name}@example.com`)));
  const agents = await Promise.all(
    owners.map(async (owner, index) =>
      world.createAgent({ name: `any-${index}`, owner, environment, intents: names.slice(index) }),
    ),
  );
  const some = <T>(values: readonly T[]) => fc.subarray([...values]);
  const step = fc.oneof(
    fc.record({ group: fc.nat(2), members: some(owners) }),
    fc.record({ group: fc.nat(2), intents: some(names) }),
  );
  const [members, keptFor] = [groups.map((): string[] => []), groups.map((): string[] => [])];
  const tokens: { token: string; owner: number; name: string }[] = [];
  const isOpen = (owner: number, name: string): boolean => {
    const keeping = groups.map((_, index) => index).filter((index) => keptFor[index]?.includes(name));
    return keeping.length === 0 || keeping.some((index) => members[index]?.includes(owners[owner] ?? ''));
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 4 }), async (steps) => {
      for (const one of steps) {
        const id = groups[one.group] ?? '';
        if ('members' in one) {
          members[one.group] = one.members;
          await rights.put(id, one.members);
        } else {
          keptFor[one.group] = one.intents;
          must(await rights.setRights(id, { intents: one.intents }));
        }
      }
      // What was lost on the way, or is not open now, is dead.
      for (const { token, owner, name } of tokens)
        if (!isOpen(owner, name)) expect(await rights.isActive(token)).toBe(false);
      for (const [owner, agent] of agents.entries()) {
        const granted = names.slice(owner).filter((name) => isOpen(owner, name));
        const answer = await askToken(writ, agent);
        expect(answer.status === 200 ? intentsOf(answer.body.access_token) : []).toEqual(granted.sort());
        for (const name of names) {
          const { status, body } = await askToken(writ, agent, { scope: name });
          expect(status === 200, `${name} for ${owner}`).toBe(granted.includes(name));
          if (status === 200) tokens.push({ token: body.access_token, owner, name });
        }
      }
    }),
    { numRuns: 25 },
  );
  expect(tokens.length).toBeGreaterThan(10);
}, 60_000);
