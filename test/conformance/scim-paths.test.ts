/** RFC 7644 §3.2: paths as connectors spell them. An IdP takes a 404 for "already gone", so none of them gets one. */
import { afterAll, expect, it } from 'vitest';
import { openScimAgents } from '../support/scim-agents.ts';

const opened = await openScimAgents();
const { corporate, person } = opened;
afterAll(() => opened[Symbol.asyncDispose]());

it('a slash too many or an endpoint in lower case leads where the right path does, in a Bulk as well', async () => {
  const off = { Operations: [{ op: 'replace', path: 'active', value: false }] };
  const spellings: ((id: string) => string)[] = [
    (id) => `/Users/${id}/`,
    (id) => `/users/${id}`,
    (id) => `//Users/${id}`,
    (id) => `/Users//${id}`,
  ];
  for (const spell of spellings) {
    const id = await person();
    expect((await corporate.call('PATCH', spell(id), off)).body).toMatchObject({ active: false });
    expect((await corporate.call('DELETE', spell(id))).status).toBe(204);
  }
  expect((await corporate.call('GET', '/Users/?count=1')).status).toBe(200);
  const inBulk: ((id: string) => string)[] = [
    ...spellings.slice(0, 2),
    (id) => `/scim/v2/Users/${id}`,
    (id) => `https://writ.example.com/scim/v2/Users/${id}`,
  ];
  for (const spell of inBulk) {
    const id = await person();
    const Operations = [{ method: 'PATCH', path: spell(id), data: off }];
    const schemas = ['urn:ietf:params:scim:api:messages:2.0:BulkRequest'];
    expect((await corporate.call('POST', '/Bulk', { schemas, Operations })).status).toBe(200);
    expect((await corporate.call('GET', `/Users/${id}`)).body).toMatchObject({ active: false });
  }
});

it('whoever is not there is still a 404, and so is what is no path of SCIM', async () => {
  const id = await person();
  for (const path of [`/Users/${id}/active`, `/user/${id}`, `/Users/${id}/${id}`]) {
    expect((await corporate.call('DELETE', path)).status).toBe(404);
  }
  expect((await corporate.call('GET', `/Users/${id}`)).body).toMatchObject({ active: true });
});

it('a known IdP’s word that may mean active is refused, never dropped with a 200', async () => {
  const urn = 'urn:ietf:params:scim:schemas:core:1.0:User:active';
  for (const path of ['active.value', 'isActive', 'enabled', urn]) {
    const id = await person();
    const said = { Operations: [{ op: 'replace', path, value: 'False' }] };
    expect((await corporate.call('PATCH', `/Users/${id}`, said)).status).toBe(400);
  }
});
