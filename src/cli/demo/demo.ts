/**
 * `npm run demo`: Writ's whole story on this machine, for real: its own PostgreSQL, an API in another process, and two
 * corporate IdPs whose requests are replayed. Every step checks what it tells; the first that is otherwise ends the
 * demo with exit code 1. Nothing outlives it: no process, no file.
 */
import { once } from 'node:events';
import { createPaint, type Paint, renderPairs } from '../print.ts';
import { describeSpan } from '../time.ts';
import { type Casting, type Crew, hire } from './cast.ts';
import { showReceipt, verifyAudit } from './evidence.ts';
import { entra, okta } from './idp.ts';
import { explainKept } from './keep.ts';
import { leave, type Times } from './leaving.ts';
import { createPage, describeTime, type Page, picture } from './page.ts';
import { createClosing, type Stage, setStage } from './stage.ts';
import { work } from './work.ts';

const person = (givenName: string, familyName: string, externalId: string) => ({
  userName: `${givenName.toLowerCase()}@example.com`,
  externalId,
  givenName,
  familyName,
});

const rounds: [Casting, Casting] = [
  {
    idp: okta,
    leaver: person('Alice', 'Archer', '00u1f8qm2vAlice0h7'),
    stayer: person('Bob', 'Baker', '00u1f8qm9xBob00k3p'),
    names: { lead: 'triage', sub: 'helper', other: 'billing' },
  },
  {
    idp: entra,
    leaver: person('Carol', 'Clarke', '6b0c8f6e-2d0b-4a57-9c34-0e7d3f1a52c1'),
    stayer: person('Dave', 'Dawson', 'c19a7d42-8e55-4f1b-b1a6-95f2d0c4e7aa'),
    names: { lead: 'renewals', sub: 'digest', other: 'ledger' },
  },
];

/** Answers the exit code: 0 only if every step happened as told; 128 and the signal's number after an interruption. */
export async function runDemo({ keep }: { keep: boolean }): Promise<number> {
  const interruption = watchSignals();
  const closing = createClosing();
  const paint = createPaint(process.stdout, process.env);
  const page = createPage(process.stdout, paint, interruption.signal);
  const started = performance.now();
  try {
    page.heading('Writ: a token for one task, and what happens when its owner leaves');
    page.print(picture);
    page.heading('Setting up');
    const stage = await setStage(page, closing, interruption.signal);
    const [first, second] = rounds;
    page.heading(`First round: ${first.idp.name}`);
    const alice = await playRound(stage, first, true, paint);
    page.heading(`Second round: ${second.idp.name}`);
    const carol = await playRound(stage, second, false, paint);
    page.heading('Afterwards');
    await verifyAudit(stage);
    conclude(page, paint, [alice.times, carol.times], performance.now() - started);
    if (!keep) return 0;
    await explainKept(stage, alice.crew, paint);
    if (!interruption.signal.aborted) await once(interruption.signal, 'abort');
    page.print('\n  Stopping, and removing what it made.');
    return 0;
  } catch (error) {
    if (interruption.signal.aborted) return interruption.exitCode();
    if (page.count() === 0) throw error;
    page.print(`\n  ${paint('red', 'The demo stops here')}: step ${page.count()} did not happen as told.`);
    return 1;
  } finally {
    await closing.close();
    interruption.release();
  }
}

type Measured = Times & { tokenMs: number };

async function playRound(
  stage: Stage,
  casting: Casting,
  isTold: boolean,
  paint: Paint,
): Promise<{ crew: Crew; times: Measured }> {
  const crew = await hire(stage, casting);
  const { tokens, tokenMs } = await work(stage, crew, isTold);
  const times = await leave(stage, crew, tokens);
  await showReceipt(stage, crew, isTold, paint);
  return { crew, times: { ...times, tokenMs } };
}

function conclude(page: Page, paint: Paint, all: Measured[], totalMs: number): void {
  const both = (read: (times: Measured) => number) => all.map((times) => describeTime(read(times))).join(', then ');
  const lines: [string, string][] = [
    ['a token, from the request to the answer', both((times) => times.tokenMs)],
    ["a leaver's SCIM request, until it is answered", both((times) => times.scimMs)],
    ['from that answer to the first 401 at the API', both((times) => times.refusedMs)],
  ];
  page.print(`\n${renderPairs(lines, (_style, text) => text).replace(/^/gm, '       ')}`);
  page.print(`\n  ${paint('green', `All ${page.count()} steps happened as told`)}, in ${describeSpan(totalMs)}.`);
}

const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
type Ending = keyof typeof signalNumbers;

/** The first signal ends the story; those that follow (npm and a terminal each send one) change nothing. */
function watchSignals(): { signal: AbortSignal; exitCode(): number; release(): void } {
  const controller = new AbortController();
  let received: Ending = 'SIGTERM';
  const names = Object.keys(signalNumbers) as Ending[];
  const end = (name: Ending): void => {
    if (controller.signal.aborted) return;
    received = name;
    controller.abort(new Error(`interrupted by ${name}`));
  };
  for (const name of names) process.on(name, end);
  return {
    signal: controller.signal,
    exitCode: () => 128 + signalNumbers[received],
    release: () => {
      for (const name of names) process.off(name, end);
    },
  };
}
