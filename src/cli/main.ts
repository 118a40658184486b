/**
 * The CLI `writ`: reads arguments, runs one command, ends with a documented exit code. It knows the administration API
 * and the public endpoints, never the database; `serve`, `migrate` and `demo` load the server when they are asked for.
 * Results go to stdout; remarks, progress and errors to stderr.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { addAgents } from './commands/agents.ts';
import { addApis } from './commands/apis.ts';
import { addAudit } from './commands/audit.ts';
import { addDirectories } from './commands/directories.ts';
import { addEnvironments } from './commands/environments.ts';
import { addGroups } from './commands/groups.ts';
import { addHandovers } from './commands/handovers.ts';
import { addIntents } from './commands/intents.ts';
import { addKeys } from './commands/keys.ts';
import { addOffboardings } from './commands/offboardings.ts';
import { addPeople } from './commands/people.ts';
import { addReceipt } from './commands/receipt.ts';
import { addServer } from './commands/server.ts';
import { addToken } from './commands/token.ts';
import { CliFailure, type ExitCode, exitCodeMeanings, exitCodes } from './failure.ts';
import { isRow } from './json.ts';

function buildProgram(): Command {
  const program = new Command('writ')
    .description('Writ: short-lived, intent-scoped tokens for AI agents, dead the moment their owner leaves')
    .version(readVersion())
    .addOption(new Option('--url <url>', 'the server').env('WRIT_URL').default('http://localhost:8080'))
    .option('--json', "print the API's JSON; lists as one array of all pages")
    .option('--verbose', 'say on stderr what is called, and where the token was found')
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(add --help to see what it takes)')
    .exitOverride()
    .addHelpText('after', renderFootnotes());
  for (const add of [
    addServer,
    addDirectories,
    addPeople,
    addGroups,
    addAgents,
    addEnvironments,
    addHandovers,
    addIntents,
    addApis,
    addToken,
    addAudit,
    addKeys,
    addOffboardings,
    addReceipt,
  ]) {
    add(program);
  }
  return program;
}

function renderFootnotes(): string {
  const codes = Object.entries(exitCodeMeanings).map(([code, meaning]) => `  ${code}  ${meaning}`);
  return `
Environment:
  WRIT_URL          the server (as --url)
  WRIT_ADMIN_TOKEN  bearer token of the administration API; absent: the file admin-token in the data folder
  WRIT_DATA_DIR     the data folder (default .writ)
  NO_COLOR          no colours; there are none when the output is piped, either

Exit codes:
${codes.join('\n')}

Examples:
  $ writ demo
  $ writ agents list --owner maria@example.com
  $ writ agents create --help`;
}

/** The package stands two folders up from the sources and from what is built alike. */
function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return isRow(manifest) ? String(manifest.version) : 'unknown';
}

/** Says what went wrong, once, and answers the exit code. */
function report(error: unknown, isVerbose: boolean): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`writ: ${message}\n`);
  if (error instanceof CliFailure) {
    if (isVerbose && error.cause !== undefined) process.stderr.write(`${describeCause(error.cause)}\n`);
    return error.exitCode;
  }
  if (isVerbose && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return isRow(error) && error.code === 'unavailable' ? exitCodes.unavailable : exitCodes.refused;
}

function describeCause(cause: unknown): string {
  return cause instanceof Error ? String(cause.stack) : JSON.stringify(cause);
}

// `writ … | head` closes the pipe early: that is the reader's right, not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.refused);
});

const program = buildProgram();
try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error, program.opts<{ verbose?: boolean }>().verbose === true);
}
