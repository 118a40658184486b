import { type Command, Option } from 'commander';
import { collect, withExamples } from '../examples.ts';
import { usage } from '../failure.ts';
import { findGroupId } from '../lookup.ts';
import { textOf } from '../print.ts';
import { openSession, showList, showOne } from '../session.ts';

/** `writ groups …`: the directories' groups, and what they give their members. */
export function addGroups(program: Command): void {
  const groups = program.command('groups').description('groups of the directories, and what membership is worth');
  withExamples(
    groups
      .command('list')
      .description('list groups, deleted ones too as long as something is kept for them')
      .option('--search <text>', 'only those with this in their name')
      .option('--directory <directory>', 'only those of this directory (id or name)')
      .action(async (options: { search?: string; directory?: string }, command: Command) =>
        showList(openSession(command), {
          path: '/groups',
          query: { q: options.search, directory: options.directory },
          noun: 'groups',
          columns: [
            { title: 'ID', value: (row) => textOf(row.id), isKept: true },
            {
              title: 'NAME',
              value: (row) => (row.deleted === true ? '(deleted)' : textOf(row.displayName)),
              style: (text) => (text === '(deleted)' ? 'red' : undefined),
            },
            { title: 'MEMBERS', value: (row) => textOf(row.memberCount) },
            { title: 'ROLES', value: (row) => textOf(row.roles) },
            { title: 'INTENTS', value: (row) => textOf(row.intents) },
            { title: 'DIRECTORY', value: (row) => textOf(row.directory) },
          ],
        }),
      ),
    ['writ groups list --search security'],
  );
  withExamples(
    groups
      .command('get')
      .description('show a group, named by id or name')
      .argument('<group>')
      .action(async (reference: string, _options: object, command: Command) => {
        const session = openSession(command);
        const id = await findGroupId(session, reference);
        showOne(session, await session.client().get(`/groups/${encodeURIComponent(id)}`));
      }),
    ['writ groups get "Security Team"'],
  );
  addRights(groups);
}

function addRights(groups: Command): void {
  interface Options {
    role?: string[];
    intent?: string[];
    none?: boolean;
  }
  withExamples(
    groups
      .command('rights')
      .description('say what a group gives its members: all of it; what is not named is taken away')
      .argument('<group>', 'its id or name')
      .option('--role <role>', 'admin, security_reviewer or auditor; may be repeated', collect)
      .option('--intent <intent>', 'an intent to keep for members of its groups; may be repeated', collect)
      .addOption(new Option('--none', 'nothing at all').conflicts(['role', 'intent']))
      .action(async (reference: string, options: Options, command: Command) => {
        if (options.none !== true && options.role === undefined && options.intent === undefined) {
          throw usage('Say what the group gives, with --role and --intent; or --none.');
        }
        const session = openSession(command);
        const id = await findGroupId(session, reference);
        const body = { roles: options.role ?? [], intents: options.intent ?? [] };
        showOne(session, await session.client().put(`/groups/${encodeURIComponent(id)}/rights`, body));
      }),
    [
      'writ groups rights "Security Team" --role security_reviewer --intent crm.ticket_read',
      'writ groups rights "Security Team" --none',
    ],
  );
}
