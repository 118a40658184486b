/** An administrator unassigns an application by mistake: all stop, somebody is told, and the way back is one command. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '../support/cli.ts';
import { patchOf } from '../support/departures.ts';
import { awaitScrape } from '../support/metrics.ts';
import { askToken, createWorld, type KeyedAgent, must, readIntent, type World } from '../support/world.ts';
import { adminToken, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
});
afterAll(() => writ.close());

const writCli = (...args: string[]) => runCli(args, { env: { WRIT_URL: writ.url, WRIT_ADMIN_TOKEN: adminToken } });
const statusOf = async (agent: KeyedAgent): Promise<number> =>
  (await askToken(writ, agent, { scope: readIntent })).status;

test('a group that owners have to be in is emptied, filled again, and the departures are undone', async () => {
  const people: string[] = [world.alice, world.bob];
  for (let n = 0; n < 6; n++) {
    people.push(must(await world.scim('POST', '/Users', { userName: `${randomUUID()}@example.com` })).body.id);
  }
  const members = people.map((value) => ({ value }));
  const group = must(await world.scim('POST', '/Groups', { displayName: 'Agent owners', members })).body.id;
  const { id } = world.directory;
  const settings = ['--mass-departure-percent', '30', '--required-group', 'Agent owners'];
  const set = await writCli('directories', 'set', id, ...settings, '--json');
  expect(JSON.parse(set.stdout)).toMatchObject({ requiredGroup: group, massDeparturePercent: 30, departed: 0 });
  expect([await statusOf(world.triage), await statusOf(world.billing)]).toEqual([200, 200]);

  const emptied = await world.scim('PATCH', `/Groups/${group}`, patchOf({ op: 'remove', path: 'members' }));
  expect(emptied.status).toBe(204);
  expect(emptied.headers.get('writ-offboarding')?.split(', ')).toHaveLength(8);
  expect([await statusOf(world.triage), await statusOf(world.billing)]).not.toContain(200);
  const { sum } = await awaitScrape(writ.url, (found) => found.sum('writ_offboardings_unconfirmed') > 0);
  const waiting = await writCli('offboardings', 'list', '--confirmation', 'needed', '--json');
  expect(JSON.parse(waiting.stdout)).toHaveLength(sum('writ_offboardings_unconfirmed'));

  must(await world.scim('PATCH', `/Groups/${group}`, patchOf({ op: 'add', path: 'members', value: members })));
  // A return brings no agent back.
  expect([await statusOf(world.triage), await statusOf(world.billing)]).not.toContain(200);
  const undone = await writCli('directories', 'undo-departures', id, '--reason', 'unassigned by mistake', '--json');
  expect(JSON.parse(undone.stdout)).toEqual({ undone: 8, notYetBack: 0 });
  expect([await statusOf(world.triage), await statusOf(world.helper), await statusOf(world.billing)]).toEqual([
    200, 200, 200,
  ]);
  await awaitScrape(writ.url, (found) => found.sum('writ_offboardings_unconfirmed') === 0);
});
