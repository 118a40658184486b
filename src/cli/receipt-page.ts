/** An offboarding's receipt as a page for a person. Pure; the shape is the administration API's. */
import { isRow, type Row } from './json.ts';
import { type Paint, renderPairs, renderTable, textOf } from './print.ts';
import { describeSpan } from './time.ts';

const rowsOf = (value: unknown): Row[] => (Array.isArray(value) ? value.filter(isRow) : []);

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
      ['Agents', agents.length === 0 ? 'none' : `${agents.length} stopped`],
    ],
    paint,
  );
  const stopped = agents.map((agent) => `  ${textOf(agent.id)}  ${textOf(agent.name)}`);
  return [head, ...stopped, '', renderAcknowledgements(receipt, paint)].join('\n');
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
  if (acknowledgements.length === 0) return 'No verifier has acknowledged it yet.';
  return renderTable(
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
}
