import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAdmin } from '../../src/edges/admin/admin.ts';
import { ensureAdminToken } from '../../src/edges/admin/authenticate.ts';
import { connect } from '../../src/platform/db/client.ts';
import { type AdminWorld, adminToken, openAdminWorld } from '../support/admin.ts';

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(async () => world.close());

const id = '0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f';
const pathOf = (path: string) => path.replace(/\{\w+\}/, id);

describe('RFC 6750: who may call', () => {
  it('every call, and every path that is none, wants a bearer before it looks at anything else', async () => {
    const paths = [...world.calls, { method: 'get', path: '/nothing' }, { method: 'put', path: '/agents' }];
    for (const { method, path } of paths) {
      const response = await world.send(pathOf(path), { method: method.toUpperCase() });
      expect(response.status, `${method} ${path}`).toBe(401);
      expect(response.headers.get('www-authenticate')).toBe('Bearer realm="Writ administration"');
      expect(response.headers.get('content-type')).toBe('application/problem+json');
      expect(await response.json()).toMatchObject({ status: 401, title: 'Unauthorized', code: 'unauthenticated' });
    }
  });

  it('§3.1: a token that is not ours is invalid_token at every call, and goes on record', async () => {
    for (const { method, path } of world.calls) {
      const response = await world.send(pathOf(path), {
        method: method.toUpperCase(),
        headers: { authorization: 'Bearer writ_admin_wrong', 'content-type': 'application/json' },
        ...(method === 'get' ? {} : { body: '{' }),
      });
      expect(response.status, `${method} ${path}`).toBe(401);
      expect(response.headers.get('www-authenticate')).toContain('error="invalid_token"');
    }
    const { body } = await world.get('/audit?kind=admin.refused&limit=500');
    expect(body.items).toHaveLength(world.calls.length);
    expect(JSON.stringify(body)).not.toContain('writ_admin_wrong');
  });

  it.each([
    '',
    'Bearer',
    `Basic ${adminToken}`,
    `Bearer ${adminToken} extra`,
    `Bearer ${adminToken}x`,
    `Bearer ${adminToken.slice(0, -1)}`,
    `Bearer ${adminToken}, Bearer ${adminToken}`,
    `Bearer ${'a'.repeat(600)}`,
    adminToken,
  ])('%j is refused', async (authorization) => {
    expect((await world.send('/agents', { headers: { authorization } })).status).toBe(401);
  });

  it('a token in the query is none', async () => {
    expect((await world.send(`/agents?access_token=${adminToken}`)).status).toBe(401);
  });

  it('the scheme is compared without regard to case', async () => {
    expect((await world.send('/agents', { headers: { authorization: `bEARER  ${adminToken}` } })).status).toBe(200);
  });
});

describe('the bootstrap token', () => {
  it('replaces the one before it, and nodes that start together agree', async () => {
    const other = await openAdminWorld();
    try {
      await Promise.all(Array.from({ length: 8 }, () => ensureAdminToken(other.deps.db, 'writ_admin_second')));
      const statusOf = async (token: string) =>
        (await other.send('/agents', { headers: { authorization: `Bearer ${token}` } })).status;
      expect(await statusOf('writ_admin_second')).toBe(200);
      expect(await statusOf(adminToken)).toBe(401);
      const [count] = await other.sql`select count(*)::int as rows from admin_tokens`;
      expect(count?.rows).toBe(1);
    } finally {
      await other.close();
    }
  });
});

describe('a token that a node made up for itself', () => {
  it('is good where there was none, and never ends another', async () => {
    const other = await openAdminWorld();
    try {
      expect(await ensureAdminToken(other.deps.db, 'writ_admin_own', { replaces: false })).toBe(false);
      expect(await ensureAdminToken(other.deps.db, adminToken, { replaces: false })).toBe(true);
      await other.sql`delete from admin_tokens`;
      expect(await ensureAdminToken(other.deps.db, 'writ_admin_own', { replaces: false })).toBe(true);
    } finally {
      await other.close();
    }
  });
});

describe('an outage', () => {
  it('is 503 with Retry-After for a good token and a bad one, never 401 or 404', async () => {
    const away = connect({ url: 'postgres://postgres@127.0.0.1:1/away' });
    const admin = createAdmin({ ...world.deps, db: away.db });
    try {
      for (const token of [adminToken, 'writ_admin_wrong']) {
        const response = await admin.request(`/agents/${id}`, { headers: { authorization: `Bearer ${token}` } });
        expect(response.status).toBe(503);
        expect(response.headers.get('retry-after')).toBe('1');
        expect(await response.json()).toMatchObject({ code: 'unavailable', title: 'Service Unavailable' });
      }
    } finally {
      await away.close();
    }
  });

  it('a fault is 500, with the request id in the log and nothing of it in the answer', async () => {
    const broken = await openAdminWorld();
    try {
      await broken.sql`alter table agents rename to agents_gone`;
      const { status, body } = await broken.get('/agents');
      expect(status).toBe(500);
      expect(body).toMatchObject({ code: 'internal', title: 'Internal Server Error' });
      expect(JSON.stringify(body)).not.toMatch(/relation|select|agents/);
      expect(broken.faults).toMatchObject([{ requestId: body.requestId }]);
    } finally {
      await broken.close();
    }
  });
});
