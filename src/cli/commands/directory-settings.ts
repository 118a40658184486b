import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseWhole, withExamples } from '../examples.ts';
import type { Row } from '../json.ts';
import { findListed, isUuid, pickOne } from '../lookup.ts';
import { openSession, type Session, showOne } from '../session.ts';

/** Somebody leaves in a transaction of their own: thousands take minutes. */
const patienceMs = 15 * 60_000;

export const kindsText = 'okta, entra, onelogin, jumpcloud, ping, google, rippling, authentik or generic';

const none = 'none';
const parseWholeOrNone = (text: string): number | string => (text === none ? none : parseWhole(1)(text));
function parseYes(text: string): boolean {
  if (text === 'yes' || text === 'no') return text === 'yes';
  throw new InvalidArgumentError('yes or no is expected.');
}

/** What the API takes: no word of a command line is `null`. */
export const bodyOf = ({ name, ...options }: Row): Row => ({
  ...(name === undefined ? {} : { name }),
  ...Object.fromEntries(Object.entries(options).map(([option, value]) => [option, value === none ? null : value])),
});

/** Settings that a directory may also be created with. */
export const addSettings = (command: Command): Command =>
  command
    .option(
      '--mass-departure-percent <n>',
      'leavers in an hour beyond which one must confirm; or none',
      parseWholeOrNone,
    )
    .option('--scim-agents <yes|no>', 'whether its IdP sees and makes agents', parseYes)
    .option('--scim-agents-environment <environment>', 'where agents live that it makes')
    .option('--silence-after-seconds <n>', 'when its silence is an alarm; or none', parseWholeOrNone)
    .option('--requests-per-minute <n>', "how often its IdP may call; none: the server's rate", parseWholeOrNone);

/** `writ directories set`, and what is said of a mass departure. */
export function addDirectorySettings(directories: Command): void {
  withExamples(
    addSettings(
      directories
        .command('set')
        .description('change a directory, named by id or name')
        .argument('<directory>')
        .option('--name <name>', 'what people call it')
        .option('--kind <kind>', kindsText)
        .addOption(new Option('--required-group <group>', 'id or name; who is not in it is not live; or none'))
        .option('--confirm', 'people may leave by it: those who are not in the required group'),
    ).action(async (reference: string, options: Row, command: Command) => {
      const session = openSession(command);
      const id = await findDirectoryId(session, reference);
      const body = bodyOf(options);
      const { requiredGroup } = body;
      if (typeof requiredGroup === 'string') body.requiredGroup = await findGroup(session, id, requiredGroup);
      const path = `/directories/${encodeURIComponent(id)}`;
      showOne(session, await session.client().patch(path, body, { timeoutMs: patienceMs }));
    }),
    [
      'writ directories set Okta --mass-departure-percent 10 --silence-after-seconds 86400',
      'writ directories set Okta --required-group "Agent owners" --confirm',
      'writ directories set Okta --required-group none',
    ],
  );
  addReview(
    directories,
    'confirm-departures',
    'confirm all departures of a directory that wait for it: they were meant',
  );
  addReview(
    directories,
    'undo-departures',
    'let act again what stopped in a mass departure, for everybody who is back',
  );
}

const findDirectoryId = async (session: Session, reference: string): Promise<string> =>
  String((await findListed(session, '/directories', reference, 'directory', ['name'])).id);

async function findGroup(session: Session, directory: string, reference: string): Promise<string> {
  if (isUuid(reference)) return reference;
  const { items } = await session.client().list('/groups', { q: reference, directory });
  const named = items.filter((group) => group.displayName === reference);
  return String(pickOne(named, reference, 'group', ['displayName', 'directory']).id);
}

function addReview(directories: Command, verb: 'confirm-departures' | 'undo-departures', description: string): void {
  withExamples(
    directories
      .command(verb)
      .description(description)
      .argument('<directory>')
      .requiredOption('--reason <text>', 'why, for the audit log')
      .action(async (reference: string, { reason }: { reason: string }, command: Command) => {
        const session = openSession(command);
        const id = await findDirectoryId(session, reference);
        const path = `/directories/${encodeURIComponent(id)}/${verb}`;
        showOne(session, await session.client().post(path, { reason }, { timeoutMs: patienceMs }));
      }),
    [`writ directories ${verb} Okta --reason "Ticket 4711"`],
  );
}
