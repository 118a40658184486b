/** A rehearsed departure as a page for a person. Pure; the shape is the administration API's. */
import { isRow, type Row } from './json.ts';
import { instantOf, type Paint, renderPairs, renderTable, textOf } from './print.ts';
import { describeOutcomes, styleOfOutcome } from './receipt-page.ts';

const rowsOf = (value: unknown): Row[] => (Array.isArray(value) ? value.filter(isRow) : []);
/** More is read by programs (`--json`). */
const agentsShown = 200;

export function renderImpact(impact: Row, paint: Paint): string {
  const person = isRow(impact.person) ? impact.person : {};
  const totals = isRow(impact.totals) ? impact.totals : {};
  const agents = rowsOf(impact.agents);
  const isActive = person.active === true;
  const title = isActive
    ? `If ${textOf(person.userName)} left now`
    : `${textOf(person.userName)} has left; what stands of theirs`;
  const head = renderPairs(
    [
      ['Person', `${textOf(person.userName)} (${textOf(person.id)})`],
      ['Agents', `${textOf(totals.agents)}, of which ${textOf(totals.live)} are live`],
      ['Tokens', `${textOf(totals.tokensUnexpired)} unexpired`],
      ['Outcome', `${describeOutcomes(agents)}${impact.truncated === true ? `, of the first ${agents.length}` : ''}`],
    ],
    paint,
  );
  return [
    paint('bold', title),
    '',
    head,
    ...section('Agents', renderTree(agents, paint), paint),
    ...section(`APIs, since ${instantOf(impact.since)}`, renderApis(impact, paint), paint),
    ...section('Intents', renderIntents(impact, paint), paint),
    ...section('What depends on them', renderDependents(impact), paint),
    ...section('Who could take over', renderSuccessors(impact), paint),
  ].join('\n');
}

const section = (title: string, lines: string[], paint: Paint): string[] => [
  '',
  paint('bold', title),
  ...(lines.length === 0 ? ['  none'] : lines.map((line) => `  ${line}`)),
];

/** Each agent below its parent. Whose parent is not listed stands by itself. */
export function renderTree(agents: Row[], paint: Paint): string[] {
  const listed = new Set(agents.map(({ id }) => id));
  const childrenOf = Map.groupBy(agents, ({ parent }) => (listed.has(parent) ? parent : null));
  const lines: string[] = [];
  const add = (agent: Row, lead: string, branch: string): void => {
    if (lines.length < agentsShown) lines.push(`${lead}${branch}${describeAgent(agent, paint)}`);
    const below = childrenOf.get(agent.id) ?? [];
    const inner = branch === '' ? lead : `${lead}${branch === '└─ ' ? '   ' : '│  '}`;
    for (const [at, child] of below.entries()) add(child, inner, at === below.length - 1 ? '└─ ' : '├─ ');
  };
  for (const root of childrenOf.get(null) ?? []) add(root, '', '');
  const more = agents.length - lines.length;
  return more > 0 ? [...lines, `… and ${more} more: --json lists them.`] : lines;
}

function describeAgent(agent: Row, paint: Paint): string {
  const outcome = textOf(agent.outcome);
  const tokens = Number(agent.tokensUnexpired);
  return [
    textOf(agent.name),
    paint(styleOfOutcome(outcome), outcome),
    ...(agent.live === true ? [] : [paint('dim', 'not live')]),
    textOf(agent.environment),
    ...(tokens > 0 ? [`${tokens} ${tokens === 1 ? 'token' : 'tokens'}`] : []),
    agent.lastUsedAt === null ? paint('dim', 'not used lately') : `last used ${instantOf(agent.lastUsedAt)}`,
    paint('dim', textOf(agent.id)),
  ].join('  ');
}

const tableOf = (rows: Row[], columns: [title: string, member: string][], paint: Paint): string[] =>
  rows.length === 0
    ? []
    : renderTable(
        rows,
        columns.map(([title, member]) => ({ title, value: (row) => textOf(row[member]), isKept: true })),
        undefined,
        paint,
      ).split('\n');

const renderApis = (impact: Row, paint: Paint): string[] =>
  tableOf(
    rowsOf(impact.apis),
    [
      ['API', 'identifier'],
      ['AGENTS', 'agents'],
      ['TOKENS UNEXPIRED', 'tokensUnexpired'],
    ],
    paint,
  );

const renderIntents = (impact: Row, paint: Paint): string[] =>
  tableOf(
    rowsOf(impact.intents),
    [
      ['INTENT', 'taskIntent'],
      ['RISK', 'risk'],
      ['AGENTS', 'agents'],
    ],
    paint,
  );

const renderDependents = (impact: Row): string[] =>
  rowsOf(impact.dependents).map((one) =>
    one.type === 'api'
      ? `API ${textOf(one.identifier)} is answered by ${textOf(one.answeredBy)}`
      : `${textOf(one.name)} of ${textOf(one.owner)} has ${textOf(one.tokensUnexpired)} unexpired tokens by exchange`,
  );

const reasons: Record<string, string> = {
  deputy: 'deputy',
  manager: 'their manager',
  same_manager: 'has the same manager',
  same_group: 'is in the same group',
};

const renderSuccessors = (impact: Row): string[] =>
  rowsOf(impact.couldTakeOver).map(
    ({ userName, displayName, why }) =>
      `${textOf(userName)}${displayName ? ` (${textOf(displayName)})` : ''}: ${reasons[String(why)] ?? textOf(why)}`,
  );
