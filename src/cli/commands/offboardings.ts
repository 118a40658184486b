import type { Command } from 'commander';
import { withExamples } from '../examples.ts';
import { notFound, usage } from '../failure.ts';
import { isRow, type Row } from '../json.ts';
import { isUuid, same } from '../lookup.ts';
import { instantOf, textOf } from '../print.ts';
import { renderReceipt } from '../receipt-page.ts';
import { openSession, type Session, showList } from '../session.ts';

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
        const query = options.person === undefined ? {} : { person: await personOf(session, options.person) };
        await showList(session, {
          path: '/offboardings',
          query,
          noun: 'offboardings',
          columns: [
            { title: 'ID', value: (row) => textOf(row.id), isKept: true },
            { title: 'PERSON', value: (row) => textOf(row.person) },
            { title: 'AGENTS', value: (row) => (Array.isArray(row.agents) ? String(row.agents.length) : '-') },
            { title: 'COMMITTED', value: (row) => instantOf(row.committedAt), isKept: true },
          ],
        });
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

/** A leaver may be gone from the list of people; the receipts still name them. */
async function personOf(session: Session, reference: string): Promise<string> {
  if (isUuid(reference)) return reference;
  const { items } = await session.client().list('/offboardings');
  const people = items.map((item) => item.person).filter(isRow);
  const ids = new Set(people.filter((person) => same(person.userName, reference)).map((person) => String(person.id)));
  const [id, ...others] = ids;
  if (id === undefined) throw notFound(`No offboarding of "${reference}" is known.`);
  if (others.length > 0)
    throw usage(`"${reference}" names several people; say which by the id:\n  ${[...ids].join('\n  ')}`);
  return id;
}

async function newestOf(session: Session, reference: string): Promise<string> {
  const person = await personOf(session, reference);
  const { items } = await session.client().list('/offboardings', { person });
  const at = (row: Row) => Date.parse(String(row.committedAt));
  const newest = items.toSorted((a, b) => at(b) - at(a))[0];
  if (newest === undefined) throw notFound(`No offboarding of "${reference}" is known.`);
  if (items.length > 1) session.note(`The newest of ${items.length}; \`writ offboardings list --person\` shows all.`);
  return String(newest.id);
}
