/**
 * The documentation at `/api/docs`: one page, rendered here from the OpenAPI document, without script and without a
 * request to anybody else. What a page could load or send is closed by its Content-Security-Policy.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { Hono } from 'hono';
import { type DocsDocument, renderPage } from './docs-page.ts';
import { stylesheet } from './docs-style.ts';
import { openApiDocument } from './openapi.ts';

const headers = {
  'content-security-policy':
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

/** The pages, to be mounted at `/api/docs`. Public, like the document itself. */
export function createDocs(admin: { getOpenAPI31Document: OpenAPIHono['getOpenAPI31Document'] }, issuer: string): Hono {
  // What the JSON says is what programs read; the page shows exactly that.
  const document: DocsDocument = JSON.parse(JSON.stringify(openApiDocument(admin, issuer)));
  const page = String(renderPage(document));
  const docs = new Hono();
  docs.get('/', (c) => c.html(page, 200, headers));
  docs.get('/style.css', (c) => c.body(stylesheet, 200, { ...headers, 'content-type': 'text/css; charset=utf-8' }));
  return docs;
}
