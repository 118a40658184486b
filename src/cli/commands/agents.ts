import { type Command, Option } from 'commander';
import { collect, withExamples } from '../examples.ts';
import { CliFailure, usage } from '../failure.ts';
import { isRow, type Row } from '../json.ts';
import { generateKeyFile, readPublicJwks } from '../key-file.ts';
import { findAgentId } from '../lookup.ts';
import { type Column, instantOf, textOf } from '../print.ts';
import { openSession, type Session, showList, showOne } from '../session.ts';
import { parseInstant } from '../time.ts';

const statusStyles: Record<string, 'green' | 'yellow' | 'dim'> = {
  active: 'green',
  pending: 'yellow',
  suspended: 'yellow',
  decommissioned: 'dim',
};

const columns: Column[] = [
  { title: 'ID', value: (row) => textOf(row.id), isKept: true },
  { title: 'NAME', value: (row) => textOf(row.name) },
  { title: 'STATUS', value: (row) => textOf(row.status), isKept: true, style: (text) => statusStyles[text] },
  {
    title: 'LIVE',
    value: liveOf,
    style: (text) => (text === 'yes' ? 'green' : text.startsWith('reads') ? 'yellow' : 'red'),
  },
  { title: 'OWNER', value: (row) => textOf(row.owner) },
  { title: 'ENVIRONMENT', value: (row) => textOf(row.environment) },
  { title: 'PARENT', value: (row) => textOf(row.parent) },
  { title: 'EXPIRES', value: (row) => instantOf(row.expiresAt) },
];

/** Whether it gets tokens, and if not, which latches hold it; in quarantine it does, for reading. */
function liveOf(row: Row): string {
  if (row.live === true && typeof row.quarantinedUntil === 'string') {
    return `reads until ${instantOf(row.quarantinedUntil)}`;
  }
  const latches = Array.isArray(row.latches) ? row.latches.filter(isRow) : [];
  const reasons = latches.map((latch) => textOf(latch.reason)).join(', ');
  return reasons === '' ? textOf(row.live) : `${textOf(row.live)} (${reasons})`;
}

const pathOf = (id: string): string => `/agents/${encodeURIComponent(id)}`;

/** `writ agents …`: an agent is named by its id, or by its name when only one has it. */
export function addAgents(program: Command): void {
  const agents = program
    .command('agents')
    .description('agents: non-human actors, each with an owner who answers for it');
  addList(agents);
  addGet(agents);
  addCreate(agents);
  addChange(agents);
  addStateChanges(agents);
  addTransfer(agents);
}

function addList(agents: Command): void {
  interface Filters {
    owner?: string;
    status?: string;
    environment?: string;
    intent?: string;
  }
  withExamples(
    agents
      .command('list')
      .description('list agents')
      .option('--owner <person>', 'only those of this person (id or userName)')
      .option('--status <status>', 'only pending, active, suspended or decommissioned ones')
      .option('--environment <name>', 'only those of this environment')
      .option('--intent <name>', 'only those that may use this intent')
      .action(async (options: Filters, command: Command) => {
        const session = openSession(command);
        await showList(session, { path: '/agents', query: { ...options }, noun: 'agents', columns });
      }),
    ['writ agents list --owner maria@example.com', 'writ agents list --status suspended --json'],
  );
}

function addGet(agents: Command): void {
  withExamples(
    agents
      .command('get')
      .description('show an agent')
      .argument('<agent>', 'id or name')
      .action(async (reference: string, _options: object, command: Command) => {
        const session = openSession(command);
        showOne(session, await session.client().get(pathOf(await findAgentId(session, reference))));
      }),
    ['writ agents get crm-triage'],
  );
  withExamples(
    agents
      .command('descendants')
      .description('list the agents that this agent made, and theirs')
      .argument('<agent>', 'id or name')
      .action(async (reference: string, _options: object, command: Command) => {
        const session = openSession(command);
        const path = `${pathOf(await findAgentId(session, reference))}/descendants`;
        await showList(session, { path, noun: 'descendants', columns });
      }),
    ['writ agents descendants crm-triage'],
  );
}

interface LeaverOptions {
  leaverPolicy?: string;
  deputy?: string | false;
  deputyDirectory?: string;
}

const policies = ['stop', 'quarantine', 'handover', 'default'];
const policyOption = (): Option =>
  new Option(
    '--leaver-policy <policy>',
    'what becomes of it and its descendants when the owner leaves; default: what its environment says',
  ).choices(policies);

/** What these options say of the body, and nothing of what they do not name. */
function leaverMembers({ leaverPolicy, deputy, deputyDirectory }: LeaverOptions): Row {
  return {
    ...(leaverPolicy === undefined ? {} : { leaverPolicy: leaverPolicy === 'default' ? null : leaverPolicy }),
    ...(deputy === undefined ? {} : { deputy: deputy === false ? null : ownerOf(deputy, deputyDirectory) }),
  };
}

interface CreateOptions extends LeaverOptions {
  name: string;
  description?: string;
  owner?: string;
  directory?: string;
  parent?: string;
  environment?: string;
  project?: string;
  expiresAt?: string;
  intent?: string[];
  jwks?: string;
  secret?: boolean;
  generateKey?: string;
}

function addCreate(agents: Command): void {
  withExamples(
    agents
      .command('create')
      .description('make an agent; it authenticates with one of --generate-key, --jwks, --secret')
      .requiredOption('--name <name>', 'what people call it')
      .option('--environment <name>', 'production, staging, …; a sub-agent has that of its parent')
      .option('--owner <person>', 'the person who answers for it (id or userName)')
      .option('--directory <directory>', "the owner's directory, when the userName stands in several")
      .option('--parent <agent>', 'make it a sub-agent, which inherits the owner (id or name); without --owner')
      .option('--intent <name>', 'an intent it may use; may be repeated', collect)
      .option('--description <text>', 'what it is for')
      .option('--project <name>', 'the project it belongs to')
      .option('--expires-at <when>', 'when it ends by itself: an instant, or a span such as 90d')
      .option('--generate-key <file>', 'make an ES256 key here; the private JWK goes to this new file and nowhere else')
      .option('--jwks <file>', 'its public keys, a JWK Set')
      .addOption(policyOption())
      .option('--deputy <person>', 'to whom it is offered by the policy handover (id or userName)')
      .option('--deputy-directory <directory>', "the deputy's directory, when the userName stands in several")
      .option('--secret', 'let Writ make a client secret, shown once')
      .action(async (options: CreateOptions, command: Command) => createAgent(openSession(command), options)),
    [
      'writ agents create --name crm-triage --owner maria@example.com --environment production \\\n      --intent crm.ticket_read --expires-at 90d --generate-key crm-triage.jwk',
      'writ agents create --name crm-summary --parent crm-triage --secret',
      'writ agents create --name crm-export --owner maria@example.com --environment production \\\n      --secret --leaver-policy handover --deputy joe@example.com',
    ],
  );
}

async function createAgent(session: Session, options: CreateOptions): Promise<void> {
  const credentials = [options.jwks, options.secret, options.generateKey].filter((each) => each !== undefined);
  if (credentials.length !== 1) throw usage('How will it authenticate? Give one of --generate-key, --jwks, --secret.');
  if ((options.owner === undefined) === (options.parent === undefined)) {
    throw usage('Who answers for it? Give --owner, or --parent for a sub-agent, which has the owner of its parent.');
  }
  if (options.parent === undefined && options.environment === undefined) {
    throw usage('Where will it work? Give --environment; an agent reaches only the APIs of its own.');
  }
  const body: Row = {
    name: options.name,
    intents: options.intent ?? [],
    ...(options.owner === undefined ? {} : { owner: ownerOf(options.owner, options.directory) }),
    ...(options.parent === undefined ? {} : { parent: await findAgentId(session, options.parent) }),
    ...(options.description === undefined ? {} : { description: options.description }),
    ...(options.environment === undefined ? {} : { environment: options.environment }),
    ...(options.project === undefined ? {} : { project: options.project }),
    ...(options.expiresAt === undefined ? {} : { expiresAt: parseInstant(options.expiresAt, new Date(), 'ahead') }),
    ...leaverMembers(options),
  };
  const post = (credential: Row) => session.client().post('/agents', { ...body, credential });
  if (options.generateKey === undefined) {
    const made = await post(options.jwks === undefined ? { secret: true } : { jwks: readPublicJwks(options.jwks) });
    return showOne(session, made, options.secret === true ? 'The client secret is not shown again.' : undefined);
  }
  session.client();
  const key = await generateKeyFile(options.generateKey);
  const made = await post({ jwks: key.jwks }).catch((error: unknown) => {
    // When the agent may exist after all, its only key has to survive.
    if (error instanceof CliFailure && error.outcomeUnknown) session.note(`The key stays in ${options.generateKey}.`);
    else key.discard();
    throw error;
  });
  showOne(
    session,
    made,
    `The private key is in ${options.generateKey}, for this user alone. Now: writ token --client-id ${textOf(made.id)} --key ${options.generateKey} --resource <API>`,
  );
}

/** The API takes a string, and `{directory, userName}` when the name stands in more than one directory. */
const ownerOf = (owner: string, directory: string | undefined): unknown =>
  directory === undefined ? owner : { directory, userName: owner };

function addChange(agents: Command): void {
  withExamples(
    agents
      .command('change')
      .description('say what becomes of an agent, with all its descendants, when its owner leaves')
      .argument('<agent>', 'id or name')
      .addOption(policyOption())
      .option('--deputy <person>', 'to whom it is offered by the policy handover (id or userName)')
      .option('--no-deputy', 'it has none: it is offered to the manager')
      .option('--deputy-directory <directory>', "the deputy's directory, when the userName stands in several")
      .action(async (reference: string, options: LeaverOptions, command: Command) => {
        const body = leaverMembers(options);
        if (Object.keys(body).length === 0) throw usage('Change what? Give --leaver-policy, --deputy or --no-deputy.');
        const session = openSession(command);
        showOne(session, await session.client().patch(pathOf(await findAgentId(session, reference)), body));
      }),
    [
      'writ agents change crm-triage --leaver-policy handover --deputy joe@example.com',
      'writ agents change crm-triage --leaver-policy default --no-deputy',
    ],
  );
}

function addStateChanges(agents: Command): void {
  const changes: [name: string, what: string][] = [
    ['suspend', 'stop an agent and its descendants until somebody activates it'],
    ['activate', 'let a suspended or pending agent work again; clears what holds it'],
    ['decommission', 'end an agent and its descendants for good'],
  ];
  for (const [name, what] of changes) {
    withExamples(
      agents
        .command(name)
        .description(what)
        .argument('<agent>', 'id or name')
        .requiredOption('--reason <text>', 'why; goes to the audit log')
        .action(async (reference: string, options: { reason: string }, command: Command) => {
          const session = openSession(command);
          const path = `${pathOf(await findAgentId(session, reference))}/${name}`;
          showOne(session, await session.client().post(path, { reason: options.reason }));
        }),
      [`writ agents ${name} crm-triage --reason "ticket OPS-1201"`],
    );
  }
}

function addTransfer(agents: Command): void {
  interface Options {
    to: string;
    directory?: string;
    reason: string;
  }
  withExamples(
    agents
      .command('transfer')
      .description('give an agent, with all its descendants, to another owner')
      .argument('<agent>', 'id or name')
      .requiredOption('--to <person>', 'the new owner (id or userName)')
      .option('--directory <directory>', "the new owner's directory, when the userName stands in several")
      .requiredOption('--reason <text>', 'why; goes to the audit log')
      .action(async (reference: string, options: Options, command: Command) => {
        const session = openSession(command);
        const body = { owner: ownerOf(options.to, options.directory), reason: options.reason };
        const path = `${pathOf(await findAgentId(session, reference))}/transfer`;
        showOne(session, await session.client().post(path, body));
      }),
    ['writ agents transfer crm-triage --to joe@example.com --reason "Maria changed teams"'],
  );
}
