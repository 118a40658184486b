import { type Command, Option } from 'commander';
import { withExamples } from '../examples.ts';
import { notFound } from '../failure.ts';
import { findAgentId, isUuid } from '../lookup.ts';
import { type Column, instantOf, textOf } from '../print.ts';
import { openSession, type Session, showList, showOne } from '../session.ts';

const stateStyles: Record<string, 'green' | 'yellow' | 'dim'> = { offered: 'yellow', accepted: 'green' };

const columns: Column[] = [
  { title: 'ID', value: (row) => textOf(row.id), isKept: true },
  { title: 'AGENT', value: (row) => textOf(row.agent) },
  { title: 'FROM', value: (row) => textOf(row.from) },
  { title: 'TO', value: (row) => textOf(row.to) },
  { title: 'STATE', value: (row) => textOf(row.state), isKept: true, style: (text) => stateStyles[text] ?? 'dim' },
  { title: 'OFFERED', value: (row) => instantOf(row.offeredAt) },
  { title: 'EXPIRES', value: (row) => instantOf(row.expiresAt) },
];

/** `writ handovers …`: agents that were offered to a deputy or a manager when their owner left. */
export function addHandovers(program: Command): void {
  const handovers = program
    .command('handovers')
    .description('agents that were offered to a deputy or a manager when their owner left');
  interface Filters {
    state?: string;
    to?: string;
    agent?: string;
  }
  withExamples(
    handovers
      .command('list')
      .description('list handovers, oldest first')
      .addOption(
        new Option('--state <state>', 'only those').choices([
          'offered',
          'accepted',
          'declined',
          'withdrawn',
          'expired',
        ]),
      )
      .option('--to <person>', 'only those that are offered to this person (id or userName)')
      .option('--agent <agent>', 'only those of this agent (id or name)')
      .action(async ({ agent, ...filters }: Filters, command: Command) => {
        const session = openSession(command);
        const query = { ...filters, agent: agent === undefined ? undefined : await findAgentId(session, agent) };
        await showList(session, { path: '/handovers', query, noun: 'handovers', columns });
      }),
    ['writ handovers list --state offered --to joe@example.com'],
  );
  const answers: [name: string, what: string][] = [
    ['accept', 'take over, on the word of the person to whom it is offered: the agent and its descendants are theirs'],
    ['decline', 'do not take over, on the word of the person to whom it is offered: the agent stays stopped'],
  ];
  for (const [name, what] of answers) {
    withExamples(
      handovers
        .command(name)
        .description(what)
        .argument('<handover>', 'its id, or the name of the agent that is offered')
        .requiredOption('--reason <text>', 'why; goes to the audit log')
        .action(async (reference: string, options: { reason: string }, command: Command) => {
          const session = openSession(command);
          const path = `/handovers/${encodeURIComponent(await findOffer(session, reference))}/${name}`;
          showOne(session, await session.client().post(path, { reason: options.reason }));
        }),
      [`writ handovers ${name} crm-triage --reason "ticket OPS-1201"`],
    );
  }
}

/** An agent has at most one offer that is open. */
async function findOffer(session: Session, reference: string): Promise<string> {
  if (isUuid(reference)) return reference;
  const agent = await findAgentId(session, reference);
  const { items } = await session.client().list('/handovers', { agent, state: 'offered' });
  const [offer] = items;
  if (offer === undefined) throw notFound(`"${reference}" is offered to nobody. See \`writ handovers list\`.`);
  return String(offer.id);
}
