import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { parseWhole, withExamples } from '../examples.ts';
import type { Row } from '../json.ts';
import { findListed } from '../lookup.ts';
import { type Column, instantOf, textOf } from '../print.ts';
import { openSession, type Session, showRows } from '../session.ts';

const followMs = 1_000;
/** More than a busy IdP sends between two looks; what is beyond is in the list without `--follow`. */
const followRows = 200;

const columns: Column[] = [
  { title: 'TIME', value: (row) => instantOf(row.at), isKept: true },
  { title: 'METHOD', value: (row) => textOf(row.method), isKept: true },
  { title: 'PATH', value: (row) => textOf(row.path) },
  {
    title: 'STATUS',
    value: (row) => textOf(row.status),
    isKept: true,
    style: (text) => (text < '400' ? 'green' : text < '500' ? 'yellow' : 'red'),
  },
  { title: 'EFFECT', value: effectOf },
  { title: 'IGNORED', value: (row) => textOf(row.ignored), style: (text) => (text === '-' ? undefined : 'yellow') },
];

/** What it did; of a refusal why. */
function effectOf(row: Row): string {
  const why = [row.scimType, row.detail].filter((part) => part !== null && part !== undefined).map(textOf);
  return [textOf(row.effect), ...(why.length > 0 ? [`(${why.join(': ')})`] : [])].join(' ');
}

/** `writ directories requests …`: what an IdP has sent lately, newest first; followed, oldest first. */
export function addRequests(directories: Command): void {
  withExamples(
    directories
      .command('requests')
      .description('list the last SCIM requests of a directory and what they did, without values')
      .argument('<directory>', 'id or name')
      .option('--limit <n>', 'so many at most', parseWhole(1), 50)
      .option('--follow', 'go on with those that come, until interrupted')
      .action(async (reference: string, options: { limit: number; follow?: boolean }, command: Command) => {
        const session = openSession(command);
        const { id } = await findListed(session, '/directories', reference, 'directory', ['name']);
        const path = `/directories/${encodeURIComponent(String(id))}/requests`;
        const read = async (limit: number) => (await session.client().list(path, {}, { limit })).items;
        const rows = await read(options.limit);
        if (options.follow === true) await follow(session, rows.toReversed(), () => read(followRows));
        else showRows(session, rows, 'requests', columns);
      }),
    ['writ directories requests okta', 'writ directories requests okta --follow'],
  );
}

async function follow(session: Session, first: Row[], read: () => Promise<Row[]>): Promise<never> {
  let seen = 0;
  let rows = first;
  for (;;) {
    for (const row of rows.filter(({ id }) => Number(id) > seen)) {
      session.print(session.isJson ? JSON.stringify(row) : renderLine(session, row));
      seen = Number(row.id);
    }
    await sleep(followMs);
    rows = (await read()).toReversed();
  }
}

/** Columns of what is yet to come have no width of their own. */
const renderLine = ({ paint }: Session, row: Row): string =>
  columns
    .map(({ value, style }) => {
      const text = value(row);
      const colour = style?.(text);
      return colour === undefined ? text : paint(colour, text);
    })
    .join('  ');
