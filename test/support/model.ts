/**
 * Writ as a model of one page: what each command has to answer and what it ends. No locks, epochs, caches or feeds; a
 * token knows the ids it depends on, and ends when one of them is ended. A command is applied to a state together with
 * the answer that the system gave, and says whether the state allows that answer.
 */
interface Person {
  userName: string;
  active: boolean;
  deleted: boolean;
}

interface Agent {
  owner: string;
  /** From the root of its tree to itself. */
  path: string[];
  status: 'active' | 'suspended' | 'decommissioned';
  ownerLost: boolean;
}

interface Token {
  /** Whom it was issued to. */
  agent: string;
  audience: string;
  dependsOn: string[];
  /** Who acted, oldest first; empty without an exchange. */
  actors: string[];
  ended: boolean;
}

export interface State {
  people: Record<string, Person>;
  agents: Record<string, Agent>;
  /** By their `jti`. */
  tokens: Record<string, Token>;
  /** The agent that answers at the desk, and may exchange what was issued for it. */
  answering: string | null;
}

export type Command =
  | { do: 'hire'; userName: string }
  | { do: 'leave'; person: string; how: number }
  | { do: 'return'; person: string }
  | { do: 'create'; owner: string }
  | { do: 'create below'; parent: string }
  | { do: 'transfer'; agent: string; owner: string }
  | { do: 'suspend' | 'activate' | 'decommission' | 'answer'; agent: string }
  | { do: 'issue'; agent: string; audience: string }
  | { do: 'exchange'; agent: string; token: string; audience: string }
  | { do: 'revoke'; token: string };

/** `said`: `done`, or the refusal's reason or status. `id`: of what the command made or brought back. */
export interface Outcome {
  said: string;
  id?: string;
}

export const crm = 'https://crm.example.com';
export const desk = 'https://desk.example.com';
/** The way of leaving that is a deletion. */
export const deletion = 0;
const maxActors = 4;

export const emptyState = (): State => ({ people: {}, agents: {}, tokens: {}, answering: null });

const personOf = (state: State, id: string): Person => must(state.people[id]);
const agentOf = (state: State, id: string): Agent => must(state.agents[id]);
const tokenOf = (state: State, id: string): Token => must(state.tokens[id]);

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a command about something that was never made');
  return value;
}

const below = (state: State, id: string): Agent[] =>
  Object.values(state.agents).filter(({ path }) => path.includes(id));

/** Why nobody acts for this agent, as the token endpoint says it. */
function whyDead(state: State, id: string): string | null {
  const agent = agentOf(state, id);
  const line = agent.path.map((one) => agentOf(state, one));
  if (!personOf(state, agent.owner).active || line.some(({ ownerLost }) => ownerLost)) return 'owner_inactive';
  return line.every(({ status }) => status === 'active') ? null : 'agent_inactive';
}

/** Ends every token that depends on this person, agent or token. */
function end(state: State, id: string): void {
  for (const token of Object.values(state.tokens)) if (token.dependsOn.includes(id)) token.ended = true;
}

function addToken(
  state: State,
  id: string,
  agent: string,
  audience: string,
  from?: { id: string; token: Token },
): void {
  const { owner, path } = agentOf(state, agent);
  const actors = from === undefined ? [] : extend(from.token.actors, agent);
  const dependsOn = [id, owner, ...path, ...(from === undefined ? [] : [from.id, ...from.token.dependsOn])];
  state.tokens[id] = { agent, audience, dependsOn, actors, ended: false };
}

const extend = (actors: string[], agent: string): string[] => (actors.at(-1) === agent ? actors : [...actors, agent]);

function refuseExchange(state: State, command: Command & { do: 'exchange' }): string | null {
  const token = tokenOf(state, command.token);
  const isMeant = token.agent === command.agent || (token.audience === desk && state.answering === command.agent);
  const dead = whyDead(state, command.agent);
  if (dead !== null) return dead;
  if (!isMeant) return 'subject_token_foreign';
  if (extend(token.actors, command.agent).length > maxActors) return 'chain_too_long';
  return token.ended ? 'subject_token_invalid' : null;
}

/** What has to be answered instead of doing it; `null`: it is done. */
function refuse(state: State, command: Command): string | null {
  switch (command.do) {
    case 'hire':
      return Object.values(state.people).some(({ userName, active }) => userName === command.userName && active)
        ? '409'
        : null;
    case 'leave':
    case 'return':
      return personOf(state, command.person).deleted ? '404' : null;
    case 'create':
      return personOf(state, command.owner).active ? null : '409';
    case 'create below':
      return whyDead(state, command.parent) === null ? null : '409';
    case 'transfer': {
      const { status, path } = agentOf(state, command.agent);
      const isRefused = status === 'decommissioned' || path.length > 1 || !personOf(state, command.owner).active;
      return isRefused ? '409' : null;
    }
    case 'suspend':
      return agentOf(state, command.agent).status === 'decommissioned' ? '409' : null;
    case 'activate': {
      const { status, owner } = agentOf(state, command.agent);
      return status === 'decommissioned' || !personOf(state, owner).active ? '409' : null;
    }
    case 'issue':
      return whyDead(state, command.agent);
    case 'exchange':
      return refuseExchange(state, command);
    case 'decommission':
    case 'answer':
    case 'revoke':
      return null;
  }
}

/** Whoever of that name is there comes back with the id they had; otherwise somebody new has come. */
function hire(state: State, userName: string, id: string): boolean {
  const there = Object.entries(state.people).find(([, one]) => one.userName === userName && !one.deleted);
  const isRight = there === undefined ? !(id in state.people) : there[0] === id;
  state.people[id] = { userName, active: true, deleted: false };
  return isRight;
}

function leave(state: State, person: Person, id: string, how: number): void {
  const wasActive = person.active;
  Object.assign(person, { active: false, deleted: how === deletion });
  if (!wasActive) return;
  for (const agent of Object.values(state.agents)) {
    if (agent.owner === id && agent.status !== 'decommissioned') agent.ownerLost = true;
  }
  end(state, id);
}

function transfer(state: State, id: string, owner: string): void {
  const tree = below(state, id);
  const isNothing = agentOf(state, id).owner === owner && tree.every(({ ownerLost }) => !ownerLost);
  for (const agent of tree) Object.assign(agent, { owner, ownerLost: false });
  if (!isNothing) end(state, id);
}

function perform(state: State, command: Command, id: string): boolean {
  switch (command.do) {
    case 'hire':
      return hire(state, command.userName, id);
    case 'leave':
      leave(state, personOf(state, command.person), command.person, command.how);
      return true;
    case 'return':
      personOf(state, command.person).active = true;
      return true;
    case 'create':
      state.agents[id] = { owner: command.owner, path: [id], status: 'active', ownerLost: false };
      return true;
    case 'create below': {
      const { owner, path } = agentOf(state, command.parent);
      state.agents[id] = { owner, path: [...path, id], status: 'active', ownerLost: false };
      return true;
    }
    case 'transfer':
      transfer(state, command.agent, command.owner);
      return true;
    case 'suspend': {
      const agent = agentOf(state, command.agent);
      if (agent.status === 'active') end(state, command.agent);
      agent.status = 'suspended';
      return true;
    }
    case 'activate':
      Object.assign(agentOf(state, command.agent), { status: 'active', ownerLost: false });
      return true;
    case 'decommission':
      for (const agent of below(state, command.agent)) agent.status = 'decommissioned';
      end(state, command.agent);
      return true;
    case 'answer':
      state.answering = command.agent;
      return true;
    case 'issue':
      addToken(state, id, command.agent, command.audience);
      return true;
    case 'exchange': {
      const from = { id: command.token, token: tokenOf(state, command.token) };
      addToken(state, id, command.agent, command.audience, from);
      return true;
    }
    case 'revoke':
      end(state, command.token);
      return true;
  }
}

/** Applies the command if this is how it may end in this state; false: the state does not allow that answer. */
export function apply(state: State, command: Command, { said, id }: Outcome): boolean {
  const refused = refuse(state, command);
  if (refused !== null) return said === refused;
  return said === 'done' && perform(state, command, id ?? '');
}

/** Whether each token that was ever issued is alive. */
export const livesOf = (state: State): Record<string, boolean> =>
  Object.fromEntries(Object.entries(state.tokens).map(([id, { ended }]) => [id, !ended]));
