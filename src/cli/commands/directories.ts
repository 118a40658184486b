import type { Command } from 'commander';
import { parseWhole, withExamples } from '../examples.ts';
import type { Row } from '../json.ts';
import { findListed } from '../lookup.ts';
import { instantOf, textOf } from '../print.ts';
import { openSession, showList, showOne } from '../session.ts';
import { addDoctor } from './directory-doctor.ts';
import { addRequests } from './directory-requests.ts';
import { addDirectorySettings, addSettings, bodyOf, kindsText } from './directory-settings.ts';

/** `writ directories …`: the connected IdPs and their SCIM credentials. */
export function addDirectories(program: Command): void {
  const directories = program.command('directories').description('connected identity providers (SCIM)');
  withExamples(
    directories
      .command('list')
      .description('list directories')
      .action(async (_options: object, command: Command) =>
        showList(openSession(command), {
          path: '/directories',
          noun: 'directories',
          columns: [
            { title: 'ID', value: (row) => textOf(row.id), isKept: true },
            { title: 'NAME', value: (row) => textOf(row.name) },
            { title: 'KIND', value: (row) => textOf(row.kind) },
            { title: 'SCIM URL', value: (row) => textOf(row.scimUrl), isKept: true },
            { title: 'CREATED', value: (row) => instantOf(row.createdAt) },
          ],
        }),
      ),
    ['writ directories list'],
  );
  withExamples(
    addSettings(
      directories
        .command('create')
        .description('connect an IdP; its SCIM token is shown once')
        .requiredOption('--name <name>', 'what people call it')
        .option('--kind <kind>', kindsText, 'generic')
        .option('--token-ttl-seconds <n>', 'after how long the token ends; without it, never', parseWhole(60)),
    ).action(async (options: Row, command: Command) => {
      const session = openSession(command);
      const made = await session.client().post('/directories', bodyOf(options));
      showOne(session, made, 'Enter the SCIM URL and token at the IdP now: the token is not shown again.');
    }),
    ['writ directories create --name "Okta (prod)" --kind okta'],
  );
  withExamples(
    directories
      .command('rotate-token')
      .description('make a new SCIM token for a directory, named by id or name')
      .argument('<directory>')
      .option('--grace-seconds <n>', 'how long the old token still works; 0: it is dead now', parseWhole(0))
      .option('--token-ttl-seconds <n>', 'after how long the new token ends; without it, never', parseWhole(60))
      .action(async (reference: string, options: Row, command: Command) => {
        const session = openSession(command);
        const { id } = await findListed(session, '/directories', reference, 'directory', ['name']);
        const made = await session
          .client()
          .post(`/directories/${encodeURIComponent(String(id))}/rotate-token`, { ...options });
        showOne(session, made, 'The token is not shown again.');
      }),
    ['writ directories rotate-token "Okta (prod)" --grace-seconds 3600'],
  );
  addDirectorySettings(directories);
  addRequests(directories);
  addDoctor(directories);
}
