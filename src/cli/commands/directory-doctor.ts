import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { doctorKinds, type Habits, habits, oktaWizard } from '../doctor/habits.ts';
import { reportOf } from '../doctor/report.ts';
import { examine, type StepResult } from '../doctor/run.ts';
import { withExamples } from '../examples.ts';
import { CliFailure, exitCodes, usage } from '../failure.ts';
import type { Row } from '../json.ts';
import { findListed } from '../lookup.ts';
import { instantOf, renderPairs, renderTable, textOf } from '../print.ts';
import { openSession, type Session } from '../session.ts';

interface Options {
  selfTest?: boolean;
  kind?: string;
  putOnly?: boolean;
  scimUrl?: string;
  token?: string;
  temporaryToken?: boolean;
}

/** `writ directories doctor …`: how the connection of an IdP does, and a rehearsal of all that its connector sends. */
export function addDoctor(directories: Command): void {
  withExamples(
    directories
      .command('doctor')
      .description('say how the connection of a directory does; with --self-test, do all that its connector would')
      .argument('<directory>', 'id or name')
      .option('--self-test', 'create, change, deactivate, reactivate and delete a throwaway user and group over SCIM')
      .option('--kind <kind>', `whose connector to play: ${doctorKinds.join(', ')}; else the directory's own`)
      .option('--put-only', "play Okta's app wizard, which sends everything by PUT")
      .option('--scim-url <url>', 'the SCIM address to test; else /scim/v2 of the server')
      .option('--token <token>', 'the SCIM token; better in WRIT_SCIM_TOKEN, where other users do not see it')
      .option('--temporary-token', 'let Writ make a token for ten minutes; that of the IdP stays as it is')
      .action(async (reference: string, options: Options, command: Command) => {
        const session = openSession(command);
        const directory = await findListed(session, '/directories', reference, 'directory', ['name']);
        if (options.selfTest === true) await runSelfTest(session, directory, options);
        else await showReport(session, directory);
      }),
    [
      'writ directories doctor okta',
      'writ directories doctor okta --self-test --temporary-token',
      'writ directories doctor "Entra ID" --self-test --kind entra --scim-url https://writ.example.com/scim/v2',
    ],
  );
}

async function showReport(session: Session, directory: Row): Promise<void> {
  const path = `/directories/${encodeURIComponent(String(directory.id))}/requests`;
  const { items } = await session.client().list(path, {}, { limit: 200 });
  const report = reportOf(directory, items, new Date());
  if (session.isJson) return session.print(JSON.stringify(report, null, 2));
  session.print(renderPairs(report.state, session.paint));
  if (report.failures.length > 0) {
    const columns = [
      { title: 'TIME', value: (row: Row) => instantOf(row.at) },
      { title: 'METHOD', value: (row: Row) => textOf(row.method) },
      { title: 'PATH', value: (row: Row) => textOf(row.path) },
      { title: 'STATUS', value: (row: Row) => textOf(row.status) },
      { title: 'WHY', value: (row: Row) => textOf([row.scimType, row.detail].filter((part) => part !== null)) },
    ];
    session.print(`\n${renderTable(report.failures, columns, undefined, session.paint)}`);
  }
  for (const finding of report.findings) session.print(`${session.paint('yellow', '!')} ${finding}`);
  if (report.findings.length === 0) session.print(`${session.paint('green', '✓')} Nothing to be said against it.`);
}

function chooseHabits(directory: Row, { kind: given, putOnly }: Options): { kind: string; habits: Habits } {
  const kind = given ?? String(directory.kind);
  const known = doctorKinds.find((one) => one === kind);
  if (known === undefined) throw usage(`"${kind}" is no kind of directory: one of ${doctorKinds.join(', ')} is.`);
  if (putOnly === true && known !== 'okta') throw usage('--put-only is a habit of Okta alone: give --kind okta.');
  return { kind: known, habits: putOnly === true ? oktaWizard : habits[known] };
}

async function findToken(session: Session, directory: Row, options: Options): Promise<string> {
  const given = options.token ?? session.env.WRIT_SCIM_TOKEN?.trim();
  if (options.temporaryToken === true) {
    const path = `/directories/${encodeURIComponent(String(directory.id))}/tokens`;
    return String((await session.client().post(path)).scimToken);
  }
  if (given === undefined || given === '') {
    throw usage(
      'The self-test speaks SCIM, which needs a token: give that of the IdP in WRIT_SCIM_TOKEN, or --temporary-token.',
    );
  }
  // Anything else would make an invalid header, whose error would show the token.
  if (!/^[A-Za-z0-9\-._~+/]+=*$/.test(given)) throw usage('The SCIM token is no bearer token: one word is expected.');
  return given;
}

async function runSelfTest(session: Session, directory: Row, options: Options): Promise<void> {
  const chosen = chooseHabits(directory, options);
  const scimUrl = (options.scimUrl ?? `${session.url}/scim/v2`).replace(/\/+$/, '');
  if (!URL.canParse(scimUrl) || !/^https?:/.test(scimUrl)) throw usage(`"${scimUrl}" is no SCIM address.`);
  const token = await findToken(session, directory, options);
  const results = await examine({
    scimUrl,
    token,
    habits: chosen.habits,
    nonce: randomUUID(),
    fetch,
    onStep: (result) => {
      if (!session.isJson) session.print(renderStep(session, result));
    },
  });
  if (session.isJson) session.print(JSON.stringify(results, null, 2));
  const bad = results.filter(({ ok }) => !ok);
  if (bad.length > 0) {
    const [first] = bad;
    throw new CliFailure(exitCodes.refused, `${chosen.kind}: ${first?.step}: ${first?.why} (${first?.request}).`);
  }
  session.note(`${chosen.kind}: all ${results.length} steps passed at ${scimUrl}; nobody was left behind.`);
}

function renderStep({ paint }: Session, { ok, step, ms, request, status, why }: StepResult): string {
  const mark = ok ? paint('green', '✓') : paint('red', '✗');
  const time = paint('dim', `${String(ms).padStart(5)} ms`);
  if (ok) return `${mark} ${time}  ${step}`;
  return `${mark} ${time}  ${step}: ${why}\n${' '.repeat(12)}${paint('dim', `${request} → ${status ?? 'no answer'}`)}`;
}
