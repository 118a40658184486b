import { type Command, Option } from 'commander';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import type { AccessTokenClaims } from '../../protocol.ts';
import { collect, withExamples } from '../examples.ts';
import { CliFailure, exitCodes, usage } from '../failure.ts';
import { discoverIssuer } from '../issuer.ts';
import { isRow } from '../json.ts';
import { readPrivateJwk, readTextFile } from '../key-file.ts';
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
  const { createAgent } = await import('../../sdk/agent/agent.ts');
  const agent = await createAgent({ issuer, clientId: options.clientId, ...credential });
  const { accessToken } = await agent
    .token({
      resource: options.resource,
      ...(options.intent === undefined ? {} : { intent: options.intent }),
      ...(options.action === undefined ? {} : { actions: options.action }),
      ...(options.datatype === undefined ? {} : { datatypes: options.datatype }),
      ...(options.identifier === undefined ? {} : { identifier: options.identifier }),
    })
    .catch((error: unknown) => {
      throw explainRefusal(error);
    });
  if (options.raw === true) return session.print(accessToken);
  const header = decodeProtectedHeader(accessToken);
  const payload = decodeJwt<AccessTokenClaims>(accessToken);
  session.print(session.isJson ? JSON.stringify({ header, payload }, null, 2) : tellToken(payload, new Date()));
}

/** A secret on the command line would stand in the process list, so there is no option for it. */
function readSecret(session: Session, path: string | undefined): string {
  const secret = path === undefined ? session.env.WRIT_CLIENT_SECRET : readTextFile(path).trim();
  if (secret) return secret;
  throw usage('How does the agent authenticate? Give --key FILE, --secret-file FILE, or WRIT_CLIENT_SECRET.');
}

/** What to do next, by the closed list of reasons of the token endpoint. */
const nextSteps: Record<string, string> = {
  approval_required: 'A person has to approve this write first',
  owner_inactive: 'Its owner has left; transfer the agent to another owner, then activate it',
  agent_inactive: '`writ agents get` shows what holds it',
  intent_unknown: '`writ intents list` shows the catalogue',
  intent_not_granted: '`writ agents get` shows the intents it has',
  intent_required: 'Name the task with --intent',
  environment_mismatch: 'The agent and the API have to be in the same environment',
  resource_unknown: '`writ apis list` shows the identifiers',
};

function explainRefusal(error: unknown): unknown {
  if (!isRow(error) || !(error instanceof Error)) return error;
  const members: Record<string, unknown> = { ...error };
  const code = String(members.error ?? members.code ?? '');
  if (code === '') return error;
  const reason = typeof members.reason === 'string' ? members.reason : undefined;
  const where = members.errorUri ?? members.error_uri;
  const status = Number(members.status);
  const next = reason === undefined ? undefined : nextSteps[reason];
  const sentence = [
    `No token: ${error.message.replace(/[.\s]+$/, '')}${reason === undefined || error.message.includes(reason) ? '' : ` (${reason})`}.`,
    ...(next === undefined ? [] : [`${next}${typeof where === 'string' ? `: ${where}` : ''}.`]),
  ].join(' ');
  if (code === 'invalid_client') {
    return new CliFailure(
      exitCodes.forbidden,
      `${sentence} Check --client-id, and that the key or secret is this agent's.`,
      { cause: error },
    );
  }
  const isOutage =
    status >= 500 || ['network', 'unavailable', 'server_error', 'temporarily_unavailable', 'timeout'].includes(code);
  return new CliFailure(isOutage ? exitCodes.unavailable : exitCodes.refused, sentence, { cause: error });
}
