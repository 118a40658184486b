import { type Command, Option } from 'commander';
import { parseWhole, withExamples } from '../examples.ts';
import { textOf } from '../print.ts';
import { openSession, showList, showOne } from '../session.ts';
import { describeSpan } from '../time.ts';

const spanOf = (seconds: unknown): string => (typeof seconds === 'number' ? describeSpan(seconds * 1_000) : '-');

/** `writ environments …`: what becomes of the agents of an environment when their owner leaves. */
export function addEnvironments(program: Command): void {
  const environments = program
    .command('environments')
    .description('environments: what becomes of their agents when the owner leaves, unless an agent says otherwise');
  withExamples(
    environments
      .command('list')
      .description('list the environments that have an API, or rules of their own')
      .action(async (_options: object, command: Command) =>
        showList(openSession(command), {
          path: '/environments',
          noun: 'environments',
          columns: [
            { title: 'NAME', value: (row) => textOf(row.name), isKept: true },
            { title: 'LEAVER POLICY', value: (row) => textOf(row.leaverPolicy), isKept: true },
            { title: 'QUARANTINE', value: (row) => spanOf(row.quarantineSeconds) },
            { title: 'TO ACCEPT WITHIN', value: (row) => spanOf(row.handoverSeconds) },
          ],
        }),
      ),
    ['writ environments list'],
  );
  interface Options {
    leaverPolicy: string;
    quarantineSeconds?: number;
    handoverSeconds?: number;
  }
  withExamples(
    environments
      .command('set')
      .description('set the rules of an environment, whole; departures that have been stay as they are')
      .argument('<environment>', 'its name')
      .addOption(
        new Option('--leaver-policy <policy>', 'what becomes of agents that have no policy of their own')
          .choices(['stop', 'quarantine', 'handover'])
          .makeOptionMandatory(),
      )
      .option('--quarantine-seconds <n>', 'how long they may read on in quarantine; absent: a day', parseWhole(60))
      .option(
        '--handover-seconds <n>',
        'within which time a handover has to be accepted; absent: a week',
        parseWhole(60),
      )
      .action(async (name: string, options: Options, command: Command) => {
        const session = openSession(command);
        showOne(session, await session.client().put(`/environments/${encodeURIComponent(name)}`, { ...options }));
      }),
    ['writ environments set production --leaver-policy quarantine --quarantine-seconds 14400'],
  );
}
