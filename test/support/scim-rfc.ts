/** What the rows of the RFC matrix are written with: one directory of one Writ, spoken to over HTTP. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idIn, issuer, openScimWorld, type ScimAnswer, type ScimDirectory, type ScimWorld } from './scim.ts';

export type Body = Record<string, unknown>;
export type Row = [requirement: string, check: () => Promise<void>];

export const base = `${issuer}/scim/v2`;
export const userUrn = 'urn:ietf:params:scim:schemas:core:2.0:User';
export const enterpriseUrn = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';
export const groupUrn = 'urn:ietf:params:scim:schemas:core:2.0:Group';
export const someName = () => `${randomUUID()}@example.com`;

export interface Matrix {
  world(): ScimWorld;
  call: ScimDirectory['call'];
  user: ScimDirectory['user'];
  get(path: string): Promise<Body>;
  post(body: Body, query?: string): Promise<ScimAnswer>;
  made(body?: Body): Promise<Body>;
  group(...members: string[]): Promise<string>;
  patch(path: string, ...Operations: Body[]): Promise<ScimAnswer>;
  /** The user after these operations. */
  patched(before: Body, ...operations: Body[]): Promise<Body>;
  /** That this is refused so, and that nothing was changed by it. */
  refused(before: Body, operation: Body, scimType: string): Promise<void>;
}

export function expectError({ status, body }: ScimAnswer, wanted: number, scimType?: string): void {
  expect(status).toBe(wanted);
  expect(body).toEqual({
    schemas: ['urn:ietf:params:scim:api:messages:2.0:Error'],
    status: String(wanted),
    ...(scimType === undefined ? {} : { scimType }),
    detail: expect.stringMatching(/./),
  });
}

export function openMatrix(): Matrix {
  const open: { world?: ScimWorld; directory?: ScimDirectory } = {};
  beforeAll(async () => {
    open.world = await openScimWorld();
    open.directory = await open.world.directory();
  });
  afterAll(() => open.world?.close());
  const world = () => open.world ?? expect.unreachable();
  const call: Matrix['call'] = (...request) => (open.directory ?? expect.unreachable()).call(...request);
  const get: Matrix['get'] = async (path) => Object((await call('GET', path)).body);
  const post: Matrix['post'] = (body, query = '') => call('POST', `/Users${query}`, { userName: someName(), ...body });
  const made: Matrix['made'] = async (body = {}) => Object((await post(body)).body);
  const patch: Matrix['patch'] = (path, ...Operations) =>
    call('PATCH', path, { schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations });
  return {
    world,
    call,
    get,
    post,
    made,
    patch,
    user: (...given) => (open.directory ?? expect.unreachable()).user(...given),
    group: async (...members) =>
      idIn(await call('POST', '/Groups', { displayName: 'G', members: members.map((value) => ({ value })) })),
    patched: async (before, ...operations) => {
      const path = `/Users/${(await made(before)).id}`;
      const answer = await patch(path, ...operations);
      expect(answer.status).toBe(200);
      expect(await get(path)).toEqual(answer.body);
      return Object(answer.body);
    },
    refused: async (before, operation, scimType) => {
      const user = await made(before);
      const fine = { op: 'add', path: 'nickName', value: 'not to be seen' };
      expectError(await patch(`/Users/${user.id}`, fine, operation), 400, scimType);
      expect(await get(`/Users/${user.id}`)).toEqual(user);
    },
  };
}

/** One test a row. */
export function checkRows(title: string, rows: Row[]): void {
  describe(title, () => {
    it.each(rows)('%s', (_requirement, check) => check());
  });
}
