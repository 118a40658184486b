import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAdmin } from '../../src/edges/admin/admin.ts';
import { createDocs } from '../../src/edges/admin/docs.ts';
import { type AdminWorld, type Json, openAdminWorld } from '../support/admin.ts';

let world: AdminWorld;
let document: { openapi: string; servers: Json[]; paths: Record<string, Record<string, Json>>; security?: Json[] };

beforeAll(async () => {
  world = await openAdminWorld();
  document = (await (await world.send('/openapi.json')).json()) as typeof document;
});
afterAll(async () => world.close());

/** Every value of a member named `name`, at any depth. */
function collect(value: unknown, name: string): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [...(key === name ? [inner] : []), ...collect(inner, name)]);
}

describe('OpenAPI 3.1', () => {
  it('the document is public and has exactly the calls that are mounted', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.servers).toEqual([{ url: 'https://writ.example.com/api/v1' }]);
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    expect(described.sort()).toEqual(world.calls.map(({ method, path }) => `${method} ${path}`).sort());
    const names = collect(document.paths, 'operationId');
    expect(new Set(names).size).toBe(names.length);
  });

  it('every reference leads somewhere', () => {
    const schemas = (document as unknown as { components: { schemas: Json } }).components.schemas;
    for (const reference of new Set(collect(document, '$ref'))) {
      expect(Object.keys(schemas)).toContain(String(reference).replace('#/components/schemas/', ''));
    }
  });

  it('every call with input says that unknown members are refused, and every call wants the bearer', () => {
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        expect(operation.security, `${method} ${path}`).toEqual([{ administrator: [] }]);
        const [schema] = collect(operation.requestBody, 'schema') as Json[];
        if (method !== 'get') expect(schema, `${method} ${path}`).toMatchObject({ additionalProperties: false });
      }
    }
  });

  it('every example is what its schema takes, and what it answers', () => {
    for (const call of world.calls) {
      expect(call.answer.safeParse(call.answerExample).error, call.operationId).toBeUndefined();
      expect(call.answer.parse(call.answerExample)).toEqual(call.answerExample);
      expect(call.body?.safeParse(call.example).error, call.operationId).toBeUndefined();
      expect(call.body === undefined, call.operationId).toBe(call.method === 'get');
    }
  });
});

describe('the documentation page', () => {
  const open = async (path = '') => {
    const docs = createDocs(createAdmin(world.deps), world.deps.issuer);
    const response = await docs.request(`https://writ.example.com/${path}`);
    return { response, text: await response.text() };
  };

  it('shows every call, with a request to paste and its answer', async () => {
    const { response, text } = await open();
    expect(response.headers.get('content-type')).toMatch(/^text\/html/);
    for (const { operationId, summary } of world.calls) {
      expect(text).toContain(`id="${operationId}"`);
      expect(text).toContain(summary);
    }
    expect(text.match(/<code>curl /g)).toHaveLength(world.calls.length);
    expect(text).not.toMatch(/\[object |undefined|NaN/);
  });

  it('asks nobody else for anything, and its policy would not let it', async () => {
    const { response, text } = await open();
    const sources = [...text.matchAll(/<(?:link|script|img|iframe)[^>]*(?:href|src)="([^"]+)"/g)].map(([, url]) => url);
    expect(sources).toEqual(['docs/style.css']);
    expect(text).not.toContain('<script');
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'; style-src 'self'");
    const style = await open('style.css');
    expect(style.response.headers.get('content-type')).toMatch(/^text\/css/);
    expect(style.text).not.toMatch(/url\(|@import/);
  });
});
