/** Every kind of token request at once, from many agents, with strangers and mistakes among them. */
import { randomUUID } from 'node:crypto';
import { platform } from 'node:os';
import { accessTokenType, api, askToken, type Caller, grants, readIntent, searchIntent } from './callers.ts';
import { type Answer, createClient, type Request } from './load.ts';

export interface MixedLoad {
  /** Asks until as many more tokens have been issued. */
  issue(count: number): Promise<void>;
  /** As many strangers call, each from an address of its own where there are enough. */
  bringStrangers(count: number): Promise<void>;
  /** How many answers there were of each kind. */
  tally: ReadonlyMap<string, number>;
  close(): void;
}

export interface MixedCallers {
  url: string;
  keyed: readonly Caller[];
  secret: readonly Caller[];
  connections: number;
}

interface Issued {
  caller: Caller;
  token: string;
}

const detail = (taskIntent: string) => ({ type: 'agent_intent', task_intent: taskIntent });
const askBoth = {
  grant_type: grants.clientCredentials,
  resource: api,
  authorization_details: JSON.stringify([detail(readIntent), detail(searchIntent)]),
};
const narrower = {
  grant_type: grants.exchange,
  subject_token_type: accessTokenType,
  authorization_details: JSON.stringify([detail(readIntent)]),
};
const unknownIntent = { ...askBoth, authorization_details: JSON.stringify([detail('nobody.knows_this')]) };

/** Of twenty requests, in turns. */
const mix = [...Array(9).fill('jwt'), ...Array(6).fill('secret'), ...Array(4).fill('exchange'), 'mistake'] as const;
/** Tokens that are still to be exchanged are at most so old: they live for minutes, and this many are issued in seconds. */
const recentAtMost = 1_000;

const pick = <T>(from: readonly T[]): T => from[Math.floor(Math.random() * from.length)] as T;

/** One of the loopback network's many addresses, where the system has them all. */
function addressOf(turn: number): string | undefined {
  if (platform() !== 'linux') return undefined;
  return `127.${1 + ((turn >> 16) & 127)}.${(turn >> 8) & 255}.${turn & 255}`;
}

interface Mistakes {
  /** Of one who has no good credential. */
  stranger(): Promise<Answer>;
  any(): Promise<Answer>;
}

/** Each is made on a connection and from an address of its own. */
function createMistakes({ url, keyed, secret }: MixedCallers): Mistakes {
  const strangers = [
    () => askToken(url, { clientId: pick(secret).clientId, secret: randomUUID() }, askBoth),
    () => askToken(url, { clientId: randomUUID() }, askBoth),
    () => askToken(url, { clientId: randomUUID(), secret: randomUUID() }, askBoth),
  ];
  const all = [
    ...strangers,
    () => askToken(url, pick(keyed), unknownIntent),
    () => askToken(url, pick(secret), { ...askBoth, resource: `https://${randomUUID()}.example.com` }),
    () => askToken(url, pick(keyed), { ...narrower, subject_token: randomUUID() }),
    () => askToken(url, pick(secret), { ...askBoth, grant_type: randomUUID() }),
  ];
  let made = 0;
  async function make(kinds: readonly (() => Request)[]): Promise<Answer> {
    const turn = made++;
    const client = createClient(url, 1, addressOf(turn));
    try {
      const answer = await client.send((kinds[turn % kinds.length] as () => Request)());
      if (![400, 401, 429, 503].includes(answer.status)) throw new Error(`a mistake was answered ${answer.status}`);
      return answer;
    } finally {
      client.close();
    }
  }
  return { stranger: () => make(strangers), any: () => make(all) };
}

export function createMixedLoad(callers: MixedCallers): MixedLoad {
  const client = createClient(callers.url, callers.connections);
  const mistakes = createMistakes(callers);
  const tally = new Map<string, number>();
  const count = (kind: string): void => void tally.set(kind, (tally.get(kind) ?? 0) + 1);
  const recent: Issued[] = [];
  let turn = 0;
  let stored = 0;

  /** Whether a token was issued: a machine that is busy with other things may leave a request unanswered in time. */
  async function ask(kind: string, caller: Caller, form: Record<string, string>): Promise<boolean> {
    const { status, body } = await client.send(askToken(callers.url, caller, form));
    if (status === 503) {
      count('refused with 503');
      return false;
    }
    if (status !== 200) throw new Error(`${kind} was answered ${status}: ${body.slice(0, 300)}`);
    count(kind);
    if (kind !== 'exchange') recent[stored++ % recentAtMost] = { caller, token: JSON.parse(body).access_token };
    return true;
  }

  /** Whether a token was issued. */
  async function askOnce(): Promise<boolean> {
    const kind = mix[turn++ % mix.length];
    if (kind === 'mistake') {
      count(`refused with ${(await mistakes.any()).status}`);
      return false;
    }
    const subject = kind === 'exchange' && recent.length > 0 ? pick(recent) : undefined;
    if (subject !== undefined) return ask('exchange', subject.caller, { ...narrower, subject_token: subject.token });
    if (kind === 'jwt') return ask('private_key_jwt', pick(callers.keyed), askBoth);
    return ask('client_secret', pick(callers.secret), askBoth);
  }

  async function issue(wanted: number): Promise<void> {
    // What is left to be asked for; a refusal gives its place back.
    let left = wanted;
    const work = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        if (!(await askOnce())) left += 1;
      }
    };
    await Promise.all(Array.from({ length: callers.connections }, work));
  }

  async function bringStrangers(wanted: number): Promise<void> {
    let left = wanted;
    const work = async (): Promise<void> => {
      while (left-- > 0) count(`refused with ${(await mistakes.stranger()).status}`);
    };
    await Promise.all(Array.from({ length: callers.connections }, work));
  }

  return { issue, bringStrangers, tally, close: client.close };
}
