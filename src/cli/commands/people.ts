import { type Command, Option } from 'commander';
import { withExamples } from '../examples.ts';
import { renderImpact } from '../impact-page.ts';
import { findPersonId } from '../lookup.ts';
import { instantOf, textOf } from '../print.ts';
import { openSession, showList, showOne } from '../session.ts';

interface Filters {
  search?: string;
  directory?: string;
  active?: 'yes' | 'no';
}

/** `writ people …`: humans known from the directories; they are changed by SCIM alone. */
export function addPeople(program: Command): void {
  const people = program.command('people').description('people known from the directories');
  withExamples(
    people
      .command('list')
      .description('list people')
      .option('--search <text>', 'only those with this in their userName or name')
      .option('--directory <directory>', 'only those of this directory (id or name)')
      .addOption(new Option('--active <yes|no>', 'only those who are, or are not').choices(['yes', 'no']))
      .action(async (options: Filters, command: Command) =>
        showList(openSession(command), {
          path: '/people',
          query: {
            q: options.search,
            directory: options.directory,
            active: options.active === undefined ? undefined : String(options.active === 'yes'),
          },
          noun: 'people',
          columns: [
            { title: 'ID', value: (row) => textOf(row.id), isKept: true },
            { title: 'USER NAME', value: (row) => textOf(row.userName) },
            { title: 'NAME', value: (row) => textOf(row.displayName) },
            {
              title: 'ACTIVE',
              value: (row) => (row.deletedAt ? 'deleted' : textOf(row.active)),
              style: (text) => (text === 'yes' ? 'green' : 'red'),
            },
            { title: 'DIRECTORY', value: (row) => textOf(row.directory) },
            { title: 'CREATED', value: (row) => instantOf(row.createdAt) },
          ],
        }),
      ),
    ['writ people list', 'writ people list --directory Okta --active no --json'],
  );
  withExamples(
    people
      .command('get')
      .description('show a person, named by id or userName')
      .argument('<person>')
      .action(async (reference: string, _options: object, command: Command) => {
        const session = openSession(command);
        const id = await findPersonId(session, reference);
        showOne(session, await session.client().get(`/people/${encodeURIComponent(id)}`));
      }),
    ['writ people get maria@example.com'],
  );
  withExamples(
    people
      .command('impact')
      .description('rehearse a departure: what would stop if this person (id or userName) left now; nothing changes')
      .argument('<person>')
      .action(async (reference: string, _options: object, command: Command) => {
        const session = openSession(command);
        const id = await findPersonId(session, reference);
        const impact = await session.client().get(`/people/${encodeURIComponent(id)}/impact`);
        session.print(session.isJson ? JSON.stringify(impact, null, 2) : renderImpact(impact, session.paint));
      }),
    ['writ people impact maria@example.com', 'writ people impact maria@example.com --json'],
  );
}
