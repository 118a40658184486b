import { type Command, Option } from 'commander';
import { withExamples } from '../examples.ts';
import { CliFailure, exitCodes, notFound, usage } from '../failure.ts';
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
  { title: 'CONFIRMATION', value: (row) => textOf(row.confirmation) },
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
      .option('--directory <directory>', 'only those of this directory (id or name)')
      .addOption(
        new Option('--confirmation <state>', 'only those that wait for a confirmation, or were settled').choices([
          'needed',
          'confirmed',
          'undone',
        ]),
      )
      .action(async (options: { person?: string; directory?: string; confirmation?: string }, command: Command) => {
        const session = openSession(command);
        const { person, ...query } = options;
        if (person === undefined) await showList(session, { path: '/offboardings', query, noun, columns });
        else if (Object.keys(query).length > 0) throw usage('--person stands alone: it lists all of one person.');
        else showRows(session, await receiptsOf(session, person), noun, columns);
      }),
    ['writ offboardings list', 'writ offboardings list --confirmation needed --directory Okta'],
  );
  addReview(offboardings, 'confirm', 'confirm that somebody who left among very many was meant to');
  addReview(offboardings, 'undo', 'let act again what stopped with somebody who is back, when it was a mistake');
  withExamples(
    offboardings
      .command('show')
      .alias('get')
      .description('show a receipt: who left, what stopped, which verifiers acknowledged it')
      .argument('[offboarding]', 'its id, or the person (id or userName) whose newest one is meant')
      .option('--person <person>', 'the newest one of this person (id or userName)')
      .action(async (id: string | undefined, options: { person?: string }, command: Command) => {
        const session = openSession(command);
        if ((id === undefined) === (options.person === undefined)) {
          throw usage('Which offboarding? Give its id or the person, once.');
        }
        const receipt =
          id === undefined ? await newestOf(session, options.person ?? '') : await findReceipt(session, id);
        session.print(session.isJson ? JSON.stringify(receipt, null, 2) : renderReceipt(receipt, session.paint));
      }),
    [
      'writ offboardings show maria@example.com',
      'writ offboardings show maria@example.com --json > receipt.json && writ receipt verify receipt.json',
    ],
  );
}

function addReview(offboardings: Command, verb: 'confirm' | 'undo', description: string): void {
  withExamples(
    offboardings
      .command(verb)
      .description(description)
      .argument('<offboarding>', 'its id')
      .requiredOption('--reason <text>', 'why, for the audit log')
      .action(async (id: string, { reason }: { reason: string }, command: Command) => {
        const session = openSession(command);
        const receipt = await session.client().post(`/offboardings/${encodeURIComponent(id)}/${verb}`, { reason });
        session.print(session.isJson ? JSON.stringify(receipt, null, 2) : renderReceipt(receipt, session.paint));
      }),
    [`writ offboardings ${verb} 0a6e4c2b-5d7f-4b1e-93c8-8a9b0c1d2e07 --reason "Ticket 4711"`],
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

const readReceipt = (session: Session, id: string): Promise<Row> =>
  session.client().get(`/offboardings/${encodeURIComponent(id)}`);

/** A UUID is a receipt's, or else a person's. */
async function findReceipt(session: Session, reference: string): Promise<Row> {
  if (!isUuid(reference)) return newestOf(session, reference);
  try {
    return await readReceipt(session, reference);
  } catch (error) {
    if (!(error instanceof CliFailure) || error.exitCode !== exitCodes.notFound) throw error;
    return newestOf(session, reference);
  }
}

async function newestOf(session: Session, reference: string): Promise<Row> {
  const [newest, ...older] = await receiptsOf(session, reference);
  if (newest === undefined) throw notFound(`No offboarding of "${reference}" is known.`);
  if (older.length > 0)
    session.note(`The newest of ${older.length + 1}: \`writ offboardings list --person\` shows all.`);
  return readReceipt(session, String(newest.id));
}
