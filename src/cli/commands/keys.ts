import type { Command } from 'commander';
import { withExamples } from '../examples.ts';
import { instantOf, textOf } from '../print.ts';
import { openSession, showList, showOne } from '../session.ts';

/** `writ keys …`: the keys that sign tokens. */
export function addKeys(program: Command): void {
  const keys = program.command('keys').description("the issuer's signing keys");
  withExamples(
    keys
      .command('list')
      .description('list keys')
      .action(async (_options: object, command: Command) =>
        showList(openSession(command), {
          path: '/keys',
          noun: 'keys',
          columns: [
            { title: 'KID', value: (row) => textOf(row.kid), isKept: true },
            { title: 'ALGORITHM', value: (row) => textOf(row.algorithm ?? row.alg) },
            { title: 'CREATED', value: (row) => instantOf(row.createdAt) },
            { title: 'SIGNS FROM', value: (row) => instantOf(row.signsFrom) },
            { title: 'RETIRED', value: (row) => instantOf(row.retiredAt) },
            {
              title: 'REVOKED',
              value: (row) => instantOf(row.revokedAt),
              style: (text) => (text === '-' ? undefined : 'red'),
            },
          ],
        }),
      ),
    ['writ keys list'],
  );
  withExamples(
    keys
      .command('rotate')
      .description('make new keys; each is published before it signs, and the old one stays valid for its tokens')
      .option('--algorithm <name>', 'only ES256, Ed25519 or RS256')
      .action(async (options: { algorithm?: string }, command: Command) => {
        const session = openSession(command);
        showOne(session, await session.client().post('/keys/rotate', { ...options }));
      }),
    ['writ keys rotate'],
  );
  withExamples(
    keys
      .command('revoke')
      .description('declare a key dead for every verifier at once: all tokens it signed die')
      .argument('<kid>')
      .requiredOption('--reason <text>', 'why; goes to the audit log')
      .action(async (kid: string, options: { reason: string }, command: Command) => {
        const session = openSession(command);
        const path = `/keys/${encodeURIComponent(kid)}/revoke`;
        showOne(session, await session.client().post(path, { reason: options.reason }));
      }),
    ['writ keys revoke 3kB9… --reason "backup of the key was lost"'],
  );
}
