/** Settings of directories, and what an administrator says of people who left in such number that it may be a mistake. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { authenticateDirectory } from '../../src/domain/people/directories.ts';
import { deletePerson } from '../../src/domain/people/provisioning.ts';
import { type AdminWorld, type Json, openAdminWorld } from '../support/admin.ts';

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(async () => {
  expect(world.faults).toEqual([]);
  await world.close();
});

const nobody = '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';
const create = async (more: Json = {}): Promise<Json> =>
  (await world.post('/directories', { name: `IdP ${randomUUID()}`, kind: 'generic', ...more })).body;
const people = async (directory: unknown, count: number): Promise<string[]> => {
  const made: string[] = [];
  for (let n = 0; n < count; n++) made.push(await world.person(`${randomUUID()}@example.com`, String(directory)));
  return made;
};
async function groupOf(directory: unknown, members: readonly string[]): Promise<string> {
  const id = randomUUID();
  await world.sql`insert into groups (id, directory_id, display_name) values (${id}, ${String(directory)}, 'Owners')`;
  for (const person of members)
    await world.sql`insert into group_members (group_id, person_id) values (${id}, ${person})`;
  return id;
}

describe('settings', () => {
  const defaults = {
    requiredGroup: null,
    massDeparturePercent: null,
    scimAgents: false,
    scimAgentsEnvironment: 'sandbox',
    silenceAfterSeconds: null,
    requestsPerMinute: null,
  };
  const settings = {
    massDeparturePercent: 10,
    scimAgents: true,
    scimAgentsEnvironment: 'staging',
    silenceAfterSeconds: 3600,
    requestsPerMinute: 60,
  };

  it('are the defaults unless given at creation, and change by PATCH, one by one', async () => {
    expect(await create()).toMatchObject(defaults);
    const made = await create(settings);
    expect(made).toMatchObject(settings);
    const path = `/directories/${made.id}`;
    expect((await world.patch(path, { kind: 'entra', massDeparturePercent: null })).body).toMatchObject({
      ...settings,
      kind: 'entra',
      massDeparturePercent: null,
      departed: 0,
    });
    expect((await world.get(path)).body).toMatchObject({ ...settings, massDeparturePercent: null });
    expect((await world.get('/audit?kind=directory.changed')).body.items).toMatchObject([
      { details: { directory: made.id, from: { massDeparturePercent: 10 }, to: { massDeparturePercent: null } } },
    ]);
    // Nothing changes, and nothing is recorded.
    await world.patch(path, { kind: 'entra' });
    expect((await world.get('/audit?kind=directory.changed')).body.items).toHaveLength(1);
    expect((await world.patch(`/directories/${nobody}`, {})).status).toBe(404);
  });

  it('a name that is taken is a conflict, an unknown kind a 400 that lists them all', async () => {
    const [one, two] = [await create(), await create()];
    expect((await world.patch(`/directories/${one.id}`, { name: two.name })).body).toMatchObject({
      status: 409,
      detail: expect.stringContaining(String(two.name)),
    });
    const kinds = 'okta, entra, onelogin, jumpcloud, ping, google, rippling, authentik, generic';
    const detail = `kind: has to be one of ${kinds}`;
    expect((await world.patch(`/directories/${one.id}`, { kind: 'ldap' })).body).toMatchObject({ status: 400, detail });
    expect((await world.post('/directories', { name: 'x', kind: 'ldap' })).body).toMatchObject({ status: 400, detail });
  });

  it.each([
    { massDeparturePercent: 0 },
    { massDeparturePercent: 101 },
    { silenceAfterSeconds: 59 },
    { requestsPerMinute: 0 },
    { scimAgentsEnvironment: 'Not One' },
    { requiredGroup: 'x' },
    { requiredGroup: nobody },
    { tokenTtlSeconds: 60 },
    { name: '' },
  ])('%j is refused', async (body) => {
    const { id } = await create();
    const before = (await world.get(`/directories/${id}`)).body;
    expect((await world.patch(`/directories/${id}`, body)).body).toMatchObject({ status: 400 });
    expect((await world.get(`/directories/${id}`)).body).toEqual(before);
  });

  it('a token may have an end, at creation and at rotation', async () => {
    const made = await create({ tokenTtlSeconds: 60 });
    const left = Date.parse(String(made.scimTokenExpiresAt)) - Date.now();
    expect(left).toBeGreaterThan(50_000);
    expect(left).toBeLessThan(70_000);
    expect(made.tokens).toMatchObject([{ expiresAt: made.scimTokenExpiresAt }]);
    const works = async (token: unknown) => (await authenticateDirectory(world.deps.db, String(token))) !== null;
    expect(await works(made.scimToken)).toBe(true);
    await world.sql`update directory_tokens set expires_at = now() where directory_id = ${String(made.id)}`;
    expect(await works(made.scimToken)).toBe(false);
    const path = `/directories/${made.id}/rotate-token`;
    expect((await world.post(path, { tokenTtlSeconds: 3600 })).body.scimTokenExpiresAt).not.toBeNull();
    const endless = (await world.post(path)).body;
    expect(endless.scimTokenExpiresAt).toBeNull();
    expect(await works(endless.scimToken)).toBe(true);
  });
});

describe('a required group', () => {
  it('is refused with the number of those who would leave, and set once that is confirmed', async () => {
    const { id } = await create();
    const [member = '', ...others] = await people(id, 3);
    const group = await groupOf(id, [member]);
    const path = `/directories/${id}`;
    expect((await world.patch(path, { requiredGroup: group })).body).toMatchObject({
      status: 409,
      detail: expect.stringMatching(/^requiredGroup: 2 people .*confirm/),
    });
    expect((await world.get(path)).body).toMatchObject({ requiredGroup: null });
    const set = await world.patch(path, { requiredGroup: group.toUpperCase(), confirm: true });
    expect(set.body).toMatchObject({ requiredGroup: group, departed: 2 });
    const listed = (await world.get(`/offboardings?directory=${id}`)).body.items as Json[];
    expect(listed.map(({ person }) => (person as Json).id).toSorted()).toEqual(others.toSorted());
    expect(listed[0]).toMatchObject({ confirmation: 'confirmed', request: { method: 'PATCH' } });
    expect((await world.get(`/people/${others[0]}`)).body).toMatchObject({ active: true, excluded: true });
    expect((await world.patch(path, { requiredGroup: null })).body).toMatchObject({ requiredGroup: null, departed: 0 });
    expect((await world.get(`/people/${others[0]}`)).body).toMatchObject({ active: true, excluded: false });
  });

  it('of another directory is none', async () => {
    const [one, two] = [await create(), await create()];
    const group = await groupOf(two.id, []);
    expect((await world.patch(`/directories/${one.id}`, { requiredGroup: group, confirm: true })).body).toMatchObject({
      status: 400,
      detail: 'requiredGroup: this directory has no such group',
    });
  });
});

describe('a mass departure', () => {
  async function depart(): Promise<{ directory: string; path: string; left: string[]; receipts: Json[] }> {
    const made = await create({ massDeparturePercent: 50 });
    const directory = String(made.id);
    const left = (await people(directory, 8)).slice(0, 7);
    const act = {
      node: world.deps.node,
      by: { type: 'directory', id: directory },
      requestId: 'r',
      from: null,
    } as const;
    for (const id of left) {
      const request = { method: 'DELETE', requestedAt: new Date() };
      await deletePerson(world.deps.db, act, { directoryId: directory, id }, request);
    }
    const found = await world.get(`/offboardings?confirmation=needed&directory=${made.name}`);
    return { directory, path: `/directories/${directory}`, left, receipts: found.body.items as Json[] };
  }
  const reason = 'Ticket 4711';

  it('waits to be confirmed, one by one or all', async () => {
    const { path, receipts } = await depart();
    expect(receipts).toHaveLength(3);
    const [receipt] = receipts;
    expect((await world.post(`/offboardings/${receipt?.id}/confirm`, {})).status).toBe(400);
    expect((await world.post(`/offboardings/${receipt?.id}/confirm`, { reason })).body).toMatchObject({
      id: receipt?.id,
      confirmation: 'confirmed',
    });
    expect((await world.post(`${path}/confirm-departures`, { reason })).body).toEqual({ confirmed: 2 });
    expect((await world.get('/offboardings?confirmation=needed')).body.items).toEqual([]);
    const recorded = (await world.get('/audit?kind=offboarding.confirmed')).body.items;
    expect(recorded).toMatchObject([{ reason }, { reason }, { reason }]);
    expect((await world.post(`/offboardings/${receipt?.id}/undo`, { reason })).status).toBe(409);
  });

  it('is undone for whoever is back', async () => {
    const { path, left, receipts } = await depart();
    const [receipt] = receipts;
    expect((await world.post(`/offboardings/${receipt?.id}/undo`, { reason })).body).toMatchObject({
      status: 409,
      detail: expect.stringContaining('not brought this person back'),
    });
    await world.sql`update people set deleted_at = null, active = true where id = any (${left.slice(0, 6)})`;
    expect((await world.post(`${path}/undo-departures`, { reason })).body).toEqual({ undone: 6, notYetBack: 1 });
    expect((await world.get('/offboardings?confirmation=undone')).body.items).toHaveLength(6);
  });

  it('of nobody, or of a directory that is not there', async () => {
    for (const verb of ['confirm', 'undo']) {
      expect((await world.post(`/offboardings/${nobody}/${verb}`, { reason })).status).toBe(404);
      expect((await world.post(`/directories/${nobody}/${verb}-departures`, { reason })).status).toBe(404);
    }
    expect((await world.get('/offboardings?confirmation=maybe')).status).toBe(400);
  });
});
