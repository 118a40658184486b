import type { Command } from 'commander';
import { withExamples } from '../examples.ts';
import { notFound, usage } from '../failure.ts';
import { isRow, type Row } from '../json.ts';
import { isUuid, same } from '../lookup.ts';
import { type Column, instantOf, textOf } from '../print.ts';
import { renderReceipt } from '../receipt-page.ts';
import { openSession, type Session, showList, showRows } from '../session.ts';

const noun = 'offboardings';
const columns: Column[] = [
  { title: 'ID', value: (row) => textOf(row.id), isKept: true },
  { title: 'PERSON', value: (row) => textOf(row.person) },
  { title: 'AGENTS', value: (row) => (Array.isArray(row.agents) ? String(row.agents.length) : '-') },
  {
    title: 'ACKNOWLEDGED',
    value: (row) => (Array.isArray(row.acknowledgements) ? String(row.acknowledgements.length) : '-'),
  },
  { title: 'COMMITTED', value: (row) => instantOf(row.committedAt), isKept: true },
];

/** `writ offboardings …`: the proof of what stopped when somebody left. */
export function addOffboardings(program: Command): void {
  const offboardings = program.command('offboardings').description('receipts of people who left');
  withExamples(
    offboardings
      .command('list')
      .description('list offboardings')
      .option('--person <person>', 'only those of this person (id or userName)')
      .action(async (options: { person?: string }, command: Command) => {
        const session = openSession(command);
        if (options.person === undefined) await showList(session, { path: '/offboardings', noun, columns });
        else showRows(session, await receiptsOf(session, options.person), noun, columns);
      }),
    ['writ offboardings list'],
  );
  withExamples(
    offboardings
      .command('show')
      .description('show a receipt, by its id or by the person')
      .argument('[offboarding]', 'its id')
      .option('--person <person>', 'the newest one of this person (id or userName)')
      .action(async (id: string | undefined, options: { person?: string }, command: Command) => {
        const session = openSession(command);
        if ((id === undefined) === (options.person === undefined)) {
          throw usage('Which offboarding? Give its id, or --person.');
        }
        const receiptId = id ?? (await newestOf(session, options.person ?? ''));
        const receipt = await session.client().get(`/offboardings/${encodeURIComponent(receiptId)}`);
        session.print(session.isJson ? JSON.stringify(receipt, null, 2) : renderReceipt(receipt, session.paint));
      }),
    [
      'writ offboardings show --person maria@example.com',
      'writ offboardings show --person maria@example.com --json > receipt.json && writ receipt verify receipt.json',
    ],
  );
}

/** Receipts of a person, newest first. A `userName` may have belonged to several people, one after the other. */
async function receiptsOf(session: Session, reference: string): Promise<Row[]> {
  const client = session.client();
  const ids = isUuid(reference)
    ? [reference]
    : (await client.list('/people', { userName: reference })).items
        .filter((person) => same(person.userName, reference))
        .map((person) => String(person.id));
  const pages = await Promise.all(ids.map((person) => client.list('/offboardings', { person })));
  const found = pages.map((page) => page.items).filter((items) => items.length > 0);
  if (found.length > 1) {
    const lines = found.flat().map((row) => `  ${textOf(row.id)}  ${instantOf(row.committedAt)}  ${personIdOf(row)}`);
    throw usage(`"${reference}" was the name of several people; say which by an id:\n${lines.join('\n')}`);
  }
  return found[0] ?? [];
}

const personIdOf = (receipt: Row): string => textOf(isRow(receipt.person) ? receipt.person.id : undefined);

async function newestOf(session: Session, reference: string): Promise<string> {
  const [newest, ...older] = await receiptsOf(session, reference);
  if (newest === undefined) throw notFound(`No offboarding of "${reference}" is known.`);
  if (older.length > 0)
    session.note(`The newest of ${older.length + 1}: \`writ offboardings list --person\` shows all.`);
  return String(newest.id);
}
