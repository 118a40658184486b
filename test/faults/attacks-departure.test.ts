/** Departures that a hostile or broken sender wraps so that one reader of the body sees them and another does not. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDeparture } from '../../src/edges/scim/departure.ts';
import { openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

const urn = 'urn:ietf:params:scim:schemas:core:2.0:User';
const patch = (operation: object) => JSON.stringify({ Operations: [operation] });

let world: ScimWorld;
let directory: ScimDirectory;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
});
afterAll(() => world.close());

const send = async (method: 'PUT' | 'PATCH', body: string, headers: Record<string, string> = {}) => {
  const id = await directory.user();
  const agent = await world.agentOf(id);
  const answer = await directory.call(method, `/Users/${id}`, body, headers);
  const [row] = await world.sql`select why_dead(${agent}) as why from people where id = ${id}`;
  return { answer, why: row?.why };
};

describe('promise 2: no spelling is answered with 2xx while the leaver stays', () => {
  it.each([
    ['the URN with its colon as path', 'PATCH', patch({ op: 'replace', path: `${urn}:`, value: { active: false } })],
    ['the URN with a dot as path', 'PATCH', patch({ op: 'replace', path: `${urn}.`, value: { active: false } })],
    ['the URN with its colon as member', 'PATCH', patch({ op: 'replace', value: { [`${urn}:`]: { active: false } } })],
    ['path given twice, in two cases', 'PATCH', patch({ op: 'replace', path: 'title', Path: 'active', value: false })],
    ['value given twice, in two cases', 'PATCH', patch({ op: 'replace', path: 'active', value: true, Value: false })],
    ['a PUT with the URN and its colon', 'PUT', JSON.stringify({ userName: 'x', [`${urn}:`]: { active: false } })],
  ] as const)('%s', async (_name, method, body) => {
    const { answer, why } = await send(method, body);
    expect(answer).toMatchObject({ status: 200, body: { active: false } });
    expect(answer.headers.get('writ-offboarding')).not.toBeNull();
    expect(why).toBe('owner_inactive');
  });
});

describe('promise 8: a departure is honoured although the body is refused for anything else', () => {
  it.each([
    ['a member twice', '{"active":false,"userName":"a","x":1,"x":2}'],
    ['NUL', '{"active":false,"userName":"a","displayName":"a\\u0000b"}'],
    ['half a surrogate pair', '{"active":false,"userName":"a","displayName":"\\ud800"}'],
    ['__proto__', '{"active":false,"userName":"a","__proto__":{}}'],
    ['depth', `{"active":false,"userName":"a","x":${'['.repeat(200)}${']'.repeat(200)}}`],
    ['an infinite number', '{"active":false,"userName":"a","x":1e999}'],
    ['a byte order mark', '\ufeff{"active":false,"userName":"a"}'],
  ])('%s', async (_name, body) => {
    const { answer, why } = await send('PUT', body);
    expect(answer).toMatchObject({ status: 200, body: { active: false, userName: expect.stringContaining('@') } });
    expect(why).toBe('owner_inactive');
  });

  it('another content type', async () => {
    const body = patch({ op: 'replace', path: 'active', value: false });
    const { answer, why } = await send('PATCH', body, { 'Content-Type': 'text/plain' });
    expect(answer.status).toBe(200);
    expect(why).toBe('owner_inactive');
  });

  it('but nothing else of such a body is done', async () => {
    for (const body of [
      '{"active":true,"title":"x","title":"y"}',
      '{"title":"a\\u0000"}',
      '{"active":false',
      'false',
    ]) {
      const { answer, why } = await send('PUT', body);
      expect(answer.status).toBe(400);
      expect(why).toBeNull();
    }
  });
});

it('a word on active wrapped a hundred thousand times is unclear, and costs no stack', () => {
  const deep: unknown = JSON.parse(`${'['.repeat(100_000)}false${']'.repeat(100_000)}`);
  expect(readDeparture('PUT', { active: deep })).toBe('unclear');
  const nested: unknown = JSON.parse(`${`{"${urn}":`.repeat(20_000)}{}${'}'.repeat(20_000)}`);
  expect(readDeparture('PUT', nested)).toBe('unsaid');
});
