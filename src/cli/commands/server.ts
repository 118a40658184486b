import type { Command } from 'commander';
import { withExamples } from '../examples.ts';
import { usage } from '../failure.ts';
import { openSession } from '../session.ts';

/** `writ serve`, `migrate` and `demo`: the commands that run Writ instead of calling it, loaded only when asked for. */
export function addServer(program: Command): void {
  withExamples(
    program
      .command('serve')
      .description('run the server; it is configured by the environment alone')
      .action(async () => {
        const { serve } = await import('../../main.ts');
        await withSettings(() => serve(process.env));
      }),
    ['writ serve', 'DATABASE_URL=postgres://writ@db/writ WRIT_ISSUER=https://writ.example.com writ serve'],
  );
  withExamples(
    program
      .command('migrate')
      .description('bring the database up to date and stop')
      .action(async (_options: object, command: Command) => {
        const session = openSession(command);
        const { migrateDatabase } = await import('../../main.ts');
        const applied = await withSettings(() => migrateDatabase(process.env));
        if (session.isJson) session.print(JSON.stringify(applied, null, 2));
        else if (applied.length === 0) session.print('The database is up to date: nothing to apply.');
        else for (const name of applied) session.print(`applied ${name}`);
      }),
    ['DATABASE_URL=postgres://writ@db/writ writ migrate'],
  );
  withExamples(
    program
      .command('demo')
      .description('the whole story on this machine: token, API call, the owner leaves, refused everywhere')
      .option('--keep', 'leave everything running and print addresses and credentials to play with')
      .action(async (options: { keep?: boolean }) => {
        const { runDemo } = await import('../demo/demo.ts');
        process.exitCode = await runDemo({ keep: options.keep === true });
      }),
    ['writ demo', 'writ demo --keep'],
  );
}

/** Settings that do not fit are wrong usage; the message names every one of them. */
async function withSettings<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const { ConfigError } = await import('../../config.ts');
    throw error instanceof ConfigError ? usage(error.message) : error;
  }
}
