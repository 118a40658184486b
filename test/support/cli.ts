/**
 * Runs the CLI as its users do, in a process of its own, and a small server that answers what a test says: for the
 * CLI's own behaviour (tables, paging, exit codes, sentences). That it fits the real server is shown by the journeys.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

export interface CannedRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  body: unknown;
}
export interface CannedAnswer {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
}
/** From `GET /path` to its answer; anything else is a 404 problem. */
export type Routes = Record<string, (request: CannedRequest) => CannedAnswer>;

export interface CannedApi extends AsyncDisposable {
  url: string;
  requests: CannedRequest[];
  routes: Routes;
}

export async function startCannedApi(routes: Routes): Promise<CannedApi> {
  const requests: CannedRequest[] = [];
  const server = createServer(async (incoming, response) => {
    const url = new URL(incoming.url ?? '/', 'http://localhost');
    const content = await text(incoming);
    const request: CannedRequest = {
      method: incoming.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: incoming.headers['content-type'] === 'application/json' ? JSON.parse(content) : content || undefined,
    };
    requests.push(request);
    const answer =
      api.routes[`${request.method} ${request.path}`]?.(request) ?? problem(404, 'not_found', 'no such thing');
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers });
    response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body ?? {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const api: CannedApi = {
    url: `http://127.0.0.1:${port}`,
    requests,
    routes,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
  return api;
}

/** RFC 9457. */
export const problem = (status: number, code: string, detail: string): CannedAnswer => ({
  status,
  headers: { 'content-type': 'application/problem+json' },
  body: { type: 'about:blank', title: code, status, code, detail },
});

export const listOf = (items: unknown[], nextCursor: string | null = null): CannedAnswer => ({
  body: { items, nextCursor },
});

const launcher = fileURLToPath(new URL('../../src/cli/writ.js', import.meta.url));

export interface CliResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Nothing of the caller's environment but PATH reaches the CLI. */
export async function runCli(
  args: string[],
  { env = {}, cwd, input }: { env?: Record<string, string>; cwd?: string; input?: string } = {},
): Promise<CliResult> {
  const child = spawn(process.execPath, [launcher, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? '', WRIT_ADMIN_TOKEN: 'test-admin-token', ...env },
  });
  child.stdin.end(input ?? '');
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: code as number | null, stdout, stderr };
}

export function makeFolder(): Disposable & { path: string; file(name: string): string } {
  const path = mkdtempSync(join(tmpdir(), 'writ-cli-'));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}
