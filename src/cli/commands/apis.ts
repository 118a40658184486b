import type { Command } from 'commander';
import { collect, parseWhole, withExamples } from '../examples.ts';
import { findAgentId, findListed } from '../lookup.ts';
import { textOf } from '../print.ts';
import { openSession, showList, showOne } from '../session.ts';

/** `writ apis …`: what agents call. */
export function addApis(program: Command): void {
  const apis = program.command('apis').description('APIs: what agents call, and where tokens are verified');
  withExamples(
    apis
      .command('list')
      .description('list APIs')
      .action(async (_options: object, command: Command) =>
        showList(openSession(command), {
          path: '/apis',
          noun: 'APIs',
          columns: [
            { title: 'ID', value: (row) => textOf(row.id), isKept: true },
            { title: 'IDENTIFIER', value: (row) => textOf(row.identifier), isKept: true },
            { title: 'NAME', value: (row) => textOf(row.name) },
            { title: 'ENVIRONMENT', value: (row) => textOf(row.environment) },
            { title: 'TOKEN TTL (S)', value: (row) => textOf(row.tokenTtlSeconds) },
          ],
        }),
      ),
    ['writ apis list'],
  );
  withExamples(
    apis
      .command('get')
      .description('show an API')
      .argument('<api>', 'its identifier, id or name')
      .action(async (reference: string, _options: object, command: Command) => {
        const session = openSession(command);
        showOne(session, await findListed(session, '/apis', reference, 'API', ['identifier', 'name']));
      }),
    ['writ apis get https://crm.example.com'],
  );
  addCreate(apis);
}

function addCreate(apis: Command): void {
  interface Options {
    identifier: string;
    name: string;
    environment: string;
    tokenTtlSeconds?: number;
    scope?: string[];
    signingAlgorithm?: string;
    agent?: string;
  }
  withExamples(
    apis
      .command('create')
      .description('register an API; its feed credentials are shown once')
      .requiredOption('--identifier <url>', 'what tokens name in `aud` and agents in `resource` (RFC 8707)')
      .requiredOption('--name <name>', 'what people call it')
      .requiredOption('--environment <name>', 'production, staging, …')
      .option('--token-ttl-seconds <n>', 'life of its tokens, 900 at most', parseWhole(1))
      .option('--scope <scope>', 'a plain scope it knows; may be repeated', collect)
      .option('--signing-algorithm <name>', 'ES256 (the default), Ed25519 or RS256')
      .option('--agent <agent>', 'the agent that answers there, if one does (id or name)')
      .action(async (options: Options, command: Command) => {
        const session = openSession(command);
        const { scope, agent, ...rest } = options;
        const made = await session.client().post('/apis', {
          ...rest,
          ...(scope === undefined ? {} : { scopes: scope }),
          ...(agent === undefined ? {} : { agent: await findAgentId(session, agent) }),
        });
        showOne(session, made, 'Give the feed credentials to the API now: the secret is not shown again.');
      }),
    ['writ apis create --identifier https://crm.example.com --name CRM --environment production'],
  );
}
