/** An offboarding's receipt as a page for a person. Pure; the shape is the administration API's. */
import { isRow, type Row } from './json.ts';
import { type Column, type Paint, renderPairs, renderTable, textOf } from './print.ts';
import { describeSpan } from './time.ts';

const rowsOf = (value: unknown): Row[] => (Array.isArray(value) ? value.filter(isRow) : []);

/** A page of them is read; a list of 100,000 is for programs (`--json`). */
const agentsShown = 50;

export function renderReceipt(receipt: Row, paint: Paint): string {
  const person = isRow(receipt.person) ? receipt.person : {};
  const request = isRow(receipt.request) ? receipt.request : {};
  const agents = rowsOf(receipt.agents);
  const head = renderPairs(
    [
      ['Receipt', textOf(receipt.id)],
      ['Person', `${textOf(person.userName)} (${textOf(person.id)})`],
      [
        'Request',
        `${textOf(request.method)} by directory ${textOf(request.directory)}, request ${textOf(request.requestId)}`,
      ],
      ['', ''],
      ...instants(receipt),
      ['', ''],
      ...(receipt.tokensUnexpired === undefined
        ? []
        : [
            ['Tokens', `${textOf(receipt.tokensUnexpired)} still unexpired, dead since the commit`] as [string, string],
          ]),
      ['Agents', describeOutcomes(agents)],
    ],
    paint,
  );
  return [head, ...renderAgents(agents, paint), '', renderAcknowledgements(receipt, paint)].join('\n');
}

/** How many, and what became of them, where the receipt says so. */
export function describeOutcomes(agents: Row[]): string {
  if (agents.length === 0) return 'none';
  const counts = Map.groupBy(agents, ({ outcome }) => (typeof outcome === 'string' ? outcome : 'stopped'));
  return [...counts].map(([outcome, those]) => `${those.length} ${outcome}`).join(', ');
}

const stoppedColumns: Column[] = [
  { title: 'ID', value: (row) => textOf(row.id), isKept: true },
  { title: 'NAME', value: (row) => textOf(row.name), isKept: true },
  { title: 'OUTCOME', value: outcomeOf, isKept: true, style: styleOfOutcome },
  { title: 'WAS LIVE', value: (row) => textOf(row.wasLive), isKept: true },
  { title: 'TOKENS', value: (row) => textOf(row.tokensUnexpired), isKept: true },
  { title: 'CHILDREN', value: (row) => textOf(row.children), isKept: true },
  { title: 'INTENTS', value: (row) => textOf(row.intents), isKept: true },
];

export function outcomeOf({ outcome, until, to }: Row): string {
  if (until !== undefined) return `${textOf(outcome)} until ${textOf(until)}`;
  return to === undefined ? textOf(outcome) : `${textOf(outcome)} to ${textOf(to)}`;
}

export function styleOfOutcome(text: string): 'red' | 'yellow' {
  return text.startsWith('stopped') ? 'red' : 'yellow';
}

function renderAgents(agents: Row[], paint: Paint): string[] {
  if (agents.length === 0) return [];
  const shown = agents.slice(0, agentsShown);
  // Receipts of earlier releases name their agents and say no more of them.
  const isDetailed = shown.some(({ outcome, wasLive }) => outcome !== undefined || wasLive !== undefined);
  const lines = renderTable(shown, isDetailed ? stoppedColumns : stoppedColumns.slice(0, 2), undefined, paint)
    .split('\n')
    .map((line) => `  ${line}`);
  const more = agents.length - shown.length;
  return ['', ...lines, ...(more === 0 ? [] : [`  … and ${more} more: --json lists all.`])];
}

/** Request, commit and answer, each with the time since the one before. */
function instants(receipt: Row): [string, string][] {
  const steps: [label: string, member: string][] = [
    ['Requested', 'requestedAt'],
    ['Committed', 'committedAt'],
    ['Answered', 'answeredAt'],
  ];
  return steps.map(([label, member], at) => {
    const before = at === 0 ? undefined : receipt[steps[at - 1]?.[1] ?? ''];
    const value = receipt[member];
    if (value === undefined || value === null) return [label, 'not recorded'];
    return [label, `${textOf(value)}${since(before, value)}`];
  });
}

function since(before: unknown, after: unknown): string {
  const ms = Date.parse(String(after)) - Date.parse(String(before));
  return Number.isNaN(ms) ? '' : `  ${ms < 0 ? '-' : '+'} ${describeSpan(ms)}`;
}

function renderAcknowledgements(receipt: Row, paint: Paint): string {
  const acknowledgements = rowsOf(receipt.acknowledgements);
  const missing = rowsOf(receipt.unacknowledged).map(
    ({ verifier, api }) => `${textOf(verifier)} at ${textOf(api)} was connected and has not acknowledged it.`,
  );
  const unheard = missing.length === 0 ? '' : `\n${paint('yellow', missing.join('\n'))}`;
  if (acknowledgements.length === 0) return `No verifier has acknowledged it yet.${unheard}`;
  const table = renderTable(
    acknowledgements,
    [
      { title: 'ACKNOWLEDGED BY', value: (row) => textOf(row.verifier), isKept: true },
      { title: 'SEQ', value: (row) => textOf(row.seq), isKept: true },
      { title: 'AT', value: (row) => textOf(row.at), isKept: true },
      { title: 'AFTER THE COMMIT', value: (row) => since(receipt.committedAt, row.at).trim(), isKept: true },
      { title: 'AT THE API', value: (row) => textOf(row.api), isKept: true },
    ],
    undefined,
    paint,
  );
  return `${table}${unheard}`;
}
