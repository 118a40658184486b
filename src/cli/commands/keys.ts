import type { Command } from 'commander';
import { withExamples } from '../examples.ts';
import { isRow } from '../json.ts';
import { type Column, instantOf, textOf } from '../print.ts';
import { openSession, showList, showOne, showRows } from '../session.ts';

const statusStyles: Record<string, 'green' | 'yellow' | 'dim' | 'red'> = {
  signing: 'green',
  pending: 'yellow',
  retired: 'dim',
  revoked: 'red',
};

const columns: Column[] = [
  { title: 'KID', value: (row) => textOf(row.kid), isKept: true },
  { title: 'ALGORITHM', value: (row) => textOf(row.algorithm) },
  { title: 'STATUS', value: (row) => textOf(row.status), isKept: true, style: (text) => statusStyles[text] },
  { title: 'SIGNS FROM', value: (row) => instantOf(row.signsFrom) },
  { title: 'SIGNS UNTIL', value: (row) => instantOf(row.retiredAt) },
  { title: 'REVOKED', value: (row) => instantOf(row.revokedAt) },
];

/** `writ keys …`: the keys that sign tokens. */
export function addKeys(program: Command): void {
  const keys = program.command('keys').description("the issuer's signing keys");
  withExamples(
    keys
      .command('list')
      .description('list keys')
      .action(async (_options: object, command: Command) =>
        showList(openSession(command), { path: '/keys', noun: 'keys', columns }),
      ),
    ['writ keys list'],
  );
  withExamples(
    keys
      .command('rotate')
      .description('make new keys; each is published before it signs, and the old one stays valid for its tokens')
      .action(async (_options: object, command: Command) => {
        const session = openSession(command);
        const { items } = await session.client().post('/keys/rotate');
        showRows(session, Array.isArray(items) ? items.filter(isRow) : [], 'keys', columns);
      }),
    ['writ keys rotate'],
  );
  withExamples(
    keys
      .command('revoke')
      .description('declare a key dead for every verifier at once: all tokens it signed die')
      .argument('<kid>')
      .action(async (kid: string, _options: object, command: Command) => {
        const session = openSession(command);
        showOne(session, await session.client().post(`/keys/${encodeURIComponent(kid)}/revoke`));
      }),
    ['writ keys revoke 3kB9…'],
  );
}
