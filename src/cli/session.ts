/**
 * What every command shares: where the server is, the administration token, and how to print. Built from the global
 * options and the environment once a command runs; the token is looked for only when a call needs it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Client, createClient, type Query } from './client.ts';
import { CliFailure, exitCodes, usage } from './failure.ts';
import type { Row } from './json.ts';
import { type Column, createPaint, type Paint, renderRecord, renderTable } from './print.ts';

export interface Session {
  url: string;
  isJson: boolean;
  env: NodeJS.ProcessEnv;
  paint: Paint;
  client(): Client;
  /** The result, to stdout. */
  print(text: string): void;
  /** Remarks for a person, to stderr. */
  note(text: string): void;
  /** Only with `--verbose`, to stderr. */
  trace(text: string): void;
}

export interface GlobalOptions {
  url: string;
  json?: boolean;
  verbose?: boolean;
}

export function openSession(command: Command): Session {
  const options = command.optsWithGlobals<GlobalOptions>();
  const url = parseServerUrl(options.url);
  const { env } = process;
  const note = (text: string) => void process.stderr.write(`${text}\n`);
  const trace = options.verbose === true ? note : () => {};
  let client: Client | undefined;
  return {
    url,
    isJson: options.json === true,
    env,
    paint: createPaint(process.stdout, env),
    client: () => {
      client ??= createClient({ url, ...findToken(env, trace), fetch, trace });
      return client;
    },
    print: (text) => void process.stdout.write(`${text}\n`),
    note,
    trace,
  };
}

function parseServerUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol) || url.username || url.search || url.hash) {
    throw usage(`"${text}" is no server address: write one such as https://writ.example.com in --url or WRIT_URL.`);
  }
  return url.href.replace(/\/+$/, '');
}

function findToken(env: NodeJS.ProcessEnv, trace: (line: string) => void): { token: string; tokenSource: string } {
  const given = env.WRIT_ADMIN_TOKEN?.trim();
  if (given) return { token: checkToken(given, 'WRIT_ADMIN_TOKEN'), tokenSource: 'WRIT_ADMIN_TOKEN' };
  const path = join(env.WRIT_DATA_DIR || '.writ', 'admin-token');
  let content: string;
  try {
    content = readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new CliFailure(
      exitCodes.forbidden,
      `No administration token: set WRIT_ADMIN_TOKEN, or run this where the server's data folder is (${path} is not readable here; the server prints the path at start).`,
      { cause: error },
    );
  }
  trace(`administration token read from ${path}`);
  return { token: checkToken(content, path), tokenSource: path };
}

/** RFC 6750 §2.1; anything else would make an invalid header, whose error would show the token. */
function checkToken(token: string, source: string): string {
  if (/^[A-Za-z0-9\-._~+/]+=*$/.test(token)) return token;
  throw usage(`${source} does not hold a bearer token: one line of letters, digits and -._~+/= is expected.`);
}

/** A list: JSON array for programs, table for people; pages arrive with a count on a terminal. */
export async function showList(
  session: Session,
  request: { path: string; query?: Query; limit?: number | undefined; noun: string; columns: Column[] },
): Promise<void> {
  const progress = showProgress();
  const { items, isCut } = await session
    .client()
    .list(request.path, request.query, {
      limit: request.limit,
      onPage: (count) => progress.update(`${count} ${request.noun} …`),
    })
    .finally(progress.stop);
  showRows(session, items, request.noun, request.columns);
  if (isCut) session.note(`The first ${items.length} ${request.noun}; there are more: --limit, or filter.`);
}

export function showRows(session: Session, rows: Row[], noun: string, columns: Column[]): void {
  if (session.isJson) session.print(JSON.stringify(rows, null, 2));
  else if (rows.length === 0) session.note(`No ${noun}.`);
  else
    session.print(renderTable(rows, columns, process.stdout.isTTY ? process.stdout.columns : undefined, session.paint));
}

/** One resource, as the API answered it. `remark` is for people only. */
export function showOne(session: Session, row: Row, remark?: string): void {
  session.print(session.isJson ? JSON.stringify(row, null, 2) : renderRecord(row, session.paint));
  if (remark !== undefined && !session.isJson) session.note(remark);
}

/** One line on a terminal's stderr that is rewritten and, at the end, gone. Silent elsewhere. */
export function showProgress(): { update(text: string): void; stop(): void } {
  const { stderr } = process;
  if (!stderr.isTTY) return { update: () => {}, stop: () => {} };
  return {
    update: (text) => void stderr.write(`\r\u001b[K${text}`),
    stop: () => void stderr.write('\r\u001b[K'),
  };
}
