import type { Command } from 'commander';
import { collect, withExamples } from '../examples.ts';
import { findListed } from '../lookup.ts';
import { textOf } from '../print.ts';
import { openSession, showList, showOne } from '../session.ts';

const riskStyles: Record<string, 'green' | 'yellow' | 'red'> = { read: 'green', write: 'yellow', destructive: 'red' };

/** `writ intents …`: the catalogue of named tasks. */
export function addIntents(program: Command): void {
  const intents = program.command('intents').description('intents: the named tasks that agents may be doing');
  withExamples(
    intents
      .command('list')
      .description('list intents')
      .action(async (_options: object, command: Command) =>
        showList(openSession(command), {
          path: '/intents',
          noun: 'intents',
          columns: [
            { title: 'INTENT', value: (row) => textOf(row.taskIntent), isKept: true },
            { title: 'RISK', value: (row) => textOf(row.risk), isKept: true, style: (text) => riskStyles[text] },
            { title: 'ACTIONS', value: (row) => textOf(row.actions) },
            { title: 'DATA TYPES', value: (row) => textOf(row.datatypes) },
            { title: 'KEPT FOR GROUPS', value: (row) => textOf(row.groups) },
            { title: 'APIS', value: (row) => textOf(row.apis) },
            { title: 'DESCRIPTION', value: (row) => textOf(row.description) },
          ],
        }),
      ),
    ['writ intents list'],
  );
  withExamples(
    intents
      .command('get')
      .description('show an intent')
      .argument('<intent>', 'its name, or id')
      .action(async (reference: string, _options: object, command: Command) => {
        const session = openSession(command);
        showOne(session, await findListed(session, '/intents', reference, 'intent', ['taskIntent']));
      }),
    ['writ intents get crm.ticket_read'],
  );
  addCreate(intents);
}

function addCreate(intents: Command): void {
  interface Options {
    name: string;
    description: string;
    api: string[];
    action: string[];
    datatype?: string[];
    risk: string;
  }
  withExamples(
    intents
      .command('create')
      .description('add an intent to the catalogue')
      .requiredOption('--name <name>', 'such as incident_remediation.ticket_update')
      .requiredOption('--description <text>', 'what it is for: approvers read this')
      .requiredOption('--api <identifier>', 'an API where it may be done; may be repeated', collect)
      .requiredOption(
        '--action <action>',
        'read, list, search, create, update, delete, execute; may be repeated',
        collect,
      )
      .option('--datatype <name>', 'a kind of data it touches; may be repeated', collect)
      .requiredOption('--risk <risk>', 'read, write or destructive')
      .action(async (options: Options, command: Command) => {
        const session = openSession(command);
        const body = {
          taskIntent: options.name,
          description: options.description,
          apis: options.api,
          actions: options.action,
          datatypes: options.datatype ?? [],
          risk: options.risk,
        };
        showOne(session, await session.client().post('/intents', body));
      }),
    [
      'writ intents create --name crm.ticket_read --description "Read tickets to sort them" \\\n      --api https://crm.example.com --action read,list --datatype ticket --risk read',
    ],
  );
}
