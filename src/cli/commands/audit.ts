import type { Command } from 'commander';
import { exportAudit } from '../audit-export.ts';
import { verifyOffline } from '../audit-offline.ts';
import { checkpointsPath, readCheckpoint, storeCheckpoint } from '../checkpoints.ts';
import type { Query } from '../client.ts';
import { parseWhole, withExamples } from '../examples.ts';
import { CliFailure, exitCodes, usage } from '../failure.ts';
import { discoverIssuer } from '../issuer.ts';
import { isRow, type Row } from '../json.ts';
import { findAgentId, findPersonId } from '../lookup.ts';
import { textOf } from '../print.ts';
import { openSession, type Session, showList, showProgress } from '../session.ts';
import { describeSpan, parseInstant } from '../time.ts';

const terminalLimit = 100;
const verifyTimeoutMs = 600_000;

interface VerifyOptions {
  offline?: string;
  jwks?: string;
  checkpoint?: string;
}

interface Filters {
  jti?: string;
  agent?: string;
  person?: string;
  intent?: string;
  kind?: string;
  since?: string;
  until?: string;
  limit?: number;
}

/** `writ audit …`: search the log, and prove that nobody edited it. */
export function addAudit(program: Command): void {
  const audit = program.command('audit').description('the audit log');
  withExamples(
    audit
      .command('list')
      .description('search the log')
      .option('--jti <id>', 'entries about this token')
      .option('--agent <agent>', 'by or about this agent (id or name)')
      .option('--person <person>', 'by or about this person (id or userName)')
      .option('--intent <name>', 'for this task')
      .option('--kind <kind>', 'of this kind')
      .option('--since <when>', 'an instant, or a span ago such as 24h')
      .option('--until <when>', 'an instant, or a span ago')
      .option('--limit <n>', `at most so many; on a terminal ${terminalLimit} unless given, else all`, parseWhole(1))
      .action(async (options: Filters, command: Command) => listEntries(openSession(command), options)),
    ['writ audit list --agent crm-triage --since 24h', 'writ audit list --jti 0197… --json'],
  );
  withExamples(
    audit
      .command('verify')
      .description('check the whole chain, also against the last checkpoint seen from here')
      .option('--offline <file>', 'an export instead of the server: what it is, without asking the server ("-": stdin)')
      .option('--jwks <file|url>', "with --offline: the issuer's public keys; fetched from --url when absent")
      .option('--checkpoint <file|number:hash>', 'with --offline: a checkpoint that was kept elsewhere, to find a cut')
      .action(async (options: VerifyOptions, command: Command) => {
        const { offline, ...kept } = options;
        if (offline !== undefined) return verifyOffline(openSession(command), offline, kept);
        if (kept.jwks !== undefined || kept.checkpoint !== undefined) {
          throw usage(
            '--jwks and --checkpoint go with --offline: the server has its keys, and this machine its checkpoints.',
          );
        }
        await verifyLog(openSession(command));
      })
      .addHelpText(
        'after',
        '\nThe newest checkpoint is kept in $XDG_STATE_HOME/writ/checkpoints.json (~/.local/state by default), so that a log\nthat was cut, or a database that was put back, is found the next time. Exit code 6: the log is not what it was.',
      ),
    [
      'writ audit verify',
      'writ audit verify --json || alert "the audit log was tampered with"',
      'writ audit verify --offline audit.ndjson --jwks jwks.json --checkpoint 117:n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg',
    ],
  );
  withExamples(
    audit
      .command('export')
      .description('write the sealed log to stdout, a line of JSON for each entry and each signed checkpoint')
      .option('--from <number>', 'the number of the first entry', parseWhole(1))
      .action(async (options: { from?: number }, command: Command) => exportAudit(openSession(command), options)),
    ['writ audit export > audit.ndjson', 'writ audit export --from 118 > audit-2.ndjson'],
  );
}

async function listEntries(session: Session, options: Filters): Promise<void> {
  const { limit, ...filters } = options;
  const now = new Date();
  const query: Query = { ...filters };
  if (filters.agent !== undefined) query.agent = await findAgentId(session, filters.agent);
  if (filters.person !== undefined) query.person = await findPersonId(session, filters.person);
  if (filters.since !== undefined) query.since = parseInstant(filters.since, now, 'ago');
  if (filters.until !== undefined) query.until = parseInstant(filters.until, now, 'ago');
  await showList(session, {
    path: '/audit',
    query,
    limit: limit ?? (process.stdout.isTTY && !session.isJson ? terminalLimit : undefined),
    noun: 'entries',
    columns: [
      { title: 'NUMBER', value: (row) => textOf(row.number), isKept: true },
      { title: 'AT', value: (row) => textOf(row.at), isKept: true },
      { title: 'KIND', value: (row) => textOf(row.kind), isKept: true },
      {
        title: 'OUTCOME',
        value: (row) => textOf(row.outcome),
        style: (text) => (text === 'refused' ? 'red' : undefined),
      },
      { title: 'BY', value: describeActor },
      { title: 'AGENT', value: (row) => textOf(row.agent) },
      { title: 'PERSON', value: (row) => textOf(row.person) },
      { title: 'INTENT', value: (row) => textOf(row.intent) },
      { title: 'REASON', value: describeReason },
    ],
  });
}

/** Who did it. Of an agent, the column AGENT says which. */
function describeActor({ by, agent }: Row): string {
  if (!isRow(by)) return textOf(by);
  return by.type === 'system' || by.id === agent ? textOf(by.type) : `${textOf(by.type)} ${textOf(by.id)}`;
}

/** A caller that did not prove itself is told no more than the reason; which check failed stands beside it here. */
function describeReason({ reason, details }: Row): string {
  const detail = isRow(details) ? details.detail : undefined;
  return typeof detail === 'string' ? `${textOf(reason)}: ${detail}` : textOf(reason);
}

async function verifyLog(session: Session): Promise<void> {
  const client = session.client();
  const path = checkpointsPath(session.env);
  const { issuer } = await discoverIssuer(session.url, fetch);
  const seen = readCheckpoint(path, issuer);
  const body = seen === undefined ? {} : { checkpoint: { number: seen.number, hash: seen.hash } };
  const answer = await whileCounting('verifying the audit log', () =>
    client.post('/audit/verify', body, { timeoutMs: verifyTimeoutMs }),
  );
  const checkpoint = isRow(answer.checkpoint) ? answer.checkpoint : undefined;
  const complaint = complaintOf(answer, checkpoint, seen);
  if (session.isJson) session.print(JSON.stringify(answer, null, 2));
  if (complaint !== undefined) throw new CliFailure(exitCodes.verificationFailed, complaint);
  if (typeof checkpoint?.number === 'number' && typeof checkpoint.hash === 'string') {
    const { number, hash } = checkpoint;
    storeCheckpoint(path, issuer, { number, hash, seenAt: new Date().toISOString() });
  }
  if (session.isJson) return;
  session.print(
    `The audit log of ${issuer} is whole: ${textOf(answer.entries)} entries${checkpoint === undefined ? '' : `, signed up to number ${textOf(checkpoint.number)}`}.`,
  );
  session.print(
    seen === undefined
      ? `First check from here: nothing to compare with. What was seen now is kept in ${path}.`
      : `It still holds checkpoint ${seen.number}, seen from here at ${seen.seenAt}.`,
  );
}

/** What is wrong, if anything. The server's "ok" does not stand against what was seen here before. */
function complaintOf(
  answer: Row,
  checkpoint: Row | undefined,
  seen: { number: number; hash: string; seenAt: string } | undefined,
): string | undefined {
  if (answer.ok !== true) {
    const bad = isRow(answer.firstBad) ? answer.firstBad : {};
    return `The audit log does not verify. first bad entry: ${textOf(bad.number)}: ${textOf(bad.why)}`;
  }
  if (seen === undefined) return undefined;
  const number = Number(checkpoint?.number);
  if (checkpoint === undefined || number < seen.number) {
    return `The audit log ends before checkpoint ${seen.number}, which was seen from here at ${seen.seenAt}: it was cut, or an older database was put back.`;
  }
  if (number === seen.number && checkpoint.hash !== seen.hash) {
    return `The audit log has another checkpoint ${seen.number} than the one seen from here at ${seen.seenAt}: it was rewritten.`;
  }
  return undefined;
}

async function whileCounting<T>(what: string, act: () => Promise<T>): Promise<T> {
  const progress = showProgress();
  const started = performance.now();
  const timer = setInterval(
    () => progress.update(`${what} … ${describeSpan(Math.round((performance.now() - started) / 1_000) * 1_000)}`),
    1_000,
  );
  try {
    return await act();
  } finally {
    clearInterval(timer);
    progress.stop();
  }
}
