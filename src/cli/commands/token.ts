import { type Command, Option } from 'commander';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import type { AccessTokenClaims } from '../../protocol.ts';
import type { AgentError, PrivateJwk, Token } from '../../sdk/agent/agent.ts';
import { collect, withExamples } from '../examples.ts';
import { CliFailure, type ExitCode, exitCodes, usage } from '../failure.ts';
import { discoverIssuer } from '../issuer.ts';
import { readPrivateJwk, readTextFile } from '../key-file.ts';
import { visible } from '../print.ts';
import { openSession, type Session } from '../session.ts';
import { tellToken } from '../story.ts';

interface Options {
  clientId: string;
  key?: string;
  secretFile?: string;
  resource: string;
  intent?: string;
  action?: string[];
  datatype?: string[];
  identifier?: string;
  issuer?: string;
  raw?: boolean;
}

/** `writ token`: gets a token as an agent would, with the agent's SDK, and tells what it says. */
export function addToken(program: Command): void {
  withExamples(
    program
      .command('token')
      .description('get an access token as an agent, and tell what it says')
      .requiredOption('--client-id <id>', "the agent's id")
      .addOption(new Option('--key <file>', 'its private key, a JWK').conflicts('secretFile'))
      .option('--secret-file <file>', 'a file with its client secret; - is standard input; else WRIT_CLIENT_SECRET')
      .requiredOption('--resource <url>', 'the API to call')
      .option('--intent <name>', 'the task')
      .option('--action <action>', 'only this of what the intent allows; may be repeated', collect)
      .option('--datatype <name>', 'only this kind of data; may be repeated', collect)
      .option('--identifier <text>', 'only this one thing, such as a ticket number')
      .option('--issuer <url>', 'the issuer; asked from --url when absent')
      .addOption(new Option('--raw', 'print the token and nothing else'))
      .action(async (options: Options, command: Command) => showToken(openSession(command), options)),
    [
      'writ token --client-id 6f1c… --key crm-triage.jwk --resource https://crm.example.com --intent crm.ticket_read',
      'curl -H "Authorization: Bearer $(writ token --raw --client-id 6f1c… --key crm-triage.jwk \\\n      --resource https://crm.example.com)" https://crm.example.com/tickets',
    ],
  );
}

async function showToken(session: Session, options: Options): Promise<void> {
  const clientSecret = options.key === undefined ? readSecret(session, options.secretFile) : undefined;
  const credential =
    options.key === undefined ? { clientSecret: clientSecret ?? '' } : { key: readPrivateJwk(options.key) };
  const issuer = options.issuer ?? (await discoverIssuer(session.url, fetch)).issuer;
  session.trace(`issuer ${issuer}`);
  const { accessToken } = await requestToken(options, issuer, credential);
  if (options.raw === true) return session.print(accessToken);
  const header = decodeProtectedHeader(accessToken);
  const payload = decodeJwt<AccessTokenClaims>(accessToken);
  session.print(session.isJson ? JSON.stringify({ header, payload }, null, 2) : tellToken(payload, new Date()));
}

type Credential = { key: PrivateJwk } | { clientSecret: string };

async function requestToken(options: Options, issuer: string, credential: Credential): Promise<Token> {
  const { AgentError, createAgent } = await import('../../sdk/agent/agent.ts');
  try {
    return await createAgent({ issuer, clientId: options.clientId, ...credential }).token({
      resource: options.resource,
      ...(options.intent === undefined ? {} : { intent: options.intent }),
      ...(options.action === undefined ? {} : { actions: options.action }),
      ...(options.datatype === undefined ? {} : { datatypes: options.datatype }),
      ...(options.identifier === undefined ? {} : { identifier: options.identifier }),
    });
  } catch (error) {
    if (error instanceof AgentError) throw explainRefusal(error);
    if (error instanceof TypeError) throw new CliFailure(exitCodes.usage, `${error.message}.`, { cause: error });
    throw error;
  }
}

/** A secret on the command line would stand in the process list, so there is no option for it. */
function readSecret(session: Session, path: string | undefined): string {
  const secret = path === undefined ? session.env.WRIT_CLIENT_SECRET : readTextFile(path).trim();
  if (secret) return secret;
  throw usage('How does the agent authenticate? Give --key FILE, --secret-file FILE, or WRIT_CLIENT_SECRET.');
}

/** What to do next, by the closed list of reasons of the token endpoint. */
const nextSteps: Record<string, string> = {
  approval_required: 'This release takes no approvals yet: ask for read actions only',
  owner_inactive: 'Its owner has left; `writ agents transfer` gives the agent to another owner',
  agent_inactive: '`writ agents get` shows what holds it',
  intent_unknown: '`writ intents list` shows the catalogue',
  intent_not_granted: '`writ agents get` shows the intents it has',
  intent_required: 'Name the task with --intent',
  environment_mismatch: 'The agent and the API have to be in the same environment',
  resource_unknown: '`writ apis list` shows the identifiers',
};

function explainRefusal(error: AgentError): CliFailure {
  const said = visible(error.description ?? error.message).replace(/[.\s]+$/, '');
  const reason = error.reason === undefined ? '' : ` (${visible(error.reason)})`;
  const fail = (exitCode: ExitCode, next?: string) =>
    new CliFailure(exitCode, `No token: ${said}${reason}.${next === undefined ? '' : ` ${next}.`}`, { cause: error });
  if (error.error === 'invalid_client') {
    return fail(exitCodes.forbidden, 'Check --client-id, and that the key or secret is that of this agent');
  }
  if (error.code === 'unavailable' || error.code === 'protocol') {
    return error.status === undefined
      ? fail(exitCodes.unavailable, 'Is Writ running, and is this its issuer? See --url and --issuer')
      : fail(exitCodes.unavailable, `It answered ${error.status}; the server's log says more. Try again in a moment`);
  }
  const next = error.reason === undefined ? undefined : nextSteps[error.reason];
  return fail(
    exitCodes.refused,
    next === undefined || error.errorUri === undefined ? next : `${next}; see ${visible(error.errorUri)}`,
  );
}
