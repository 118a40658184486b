/**
 * A proxy in front of PostgreSQL that reads the frontend's side of the protocol, so that a test can make exactly the
 * n-th statement of a request fail. Background work of the process, known by its connection or by its text, is not
 * counted; where it cannot be told apart (a `begin` looks like any other) the round says that it was noisy.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * `cut`: the connection breaks in place of the statement. `error`: the statement fails, by the server's own word.
 * Only for commits: `lostAnswer`: the server commits, and the connection breaks before the answer; `withheld`: it
 * commits, and the answer never comes; `swallowed`: the commit never arrives, and nothing answers.
 */
export type Fault = 'cut' | 'error' | 'lostAnswer' | 'withheld' | 'swallowed';

export interface Round {
  /** Texts of the statements that were counted, in order. */
  statements: string[];
  /** The one that failed; `undefined`: there were fewer. */
  failed: string | undefined;
  /** Background work came in between, so that the count is not that of the request alone. */
  isNoisy: boolean;
}

export interface PgProxy {
  /** The database behind the proxy, through it. */
  url: string;
  /** From now on counts statements, and lets the `n`-th fail; with `lostAnswer`, the `n`-th commit. */
  arm(n: number, fault: Fault, countAlso?: RegExp): void;
  disarm(): Round;
  /** Resolves when the fault that is armed has struck. */
  struck(): Promise<void>;
  close(): Promise<void>;
}

/** Single statements that a process sends by itself, and what is done about an answer that was already given. */
const ownWork = [
  /from "signing_keys" order by/,
  /from feed f left join lateral/,
  /from "checkpoints"/,
  /as unsealed,/,
  /from agents a where a\.expires_at <= clock_timestamp\(\)/,
  /for update skip locked/,
  /with boundary as/,
  /pg_terminate_backend/,
  /update "offboardings" set "answered_at"/,
  /insert into followers/,
  /as unconfirmed,/,
];
/** In transactions that a process makes by itself: the sealer's, and those about what IdPs sent lately. */
const ownTransaction =
  /writ:audit-sealer|signing_keys where kid|insert into scim_requests|set silent_since|set warned_at/;

interface Arming {
  n: number;
  fault: Fault;
  countAlso: RegExp | undefined;
  counted: number;
  round: Round;
  struck: PromiseWithResolvers<void>;
}

interface Session {
  client: Socket;
  server: Socket;
  application: string;
  texts: Map<string, string>;
  portals: Map<string, string>;
  /** In a transaction of the process's own. */
  isOwn: boolean;
  /** What becomes of the server's word that it has committed. */
  onCommit: 'pass' | 'break' | 'withhold';
  /** Nothing of what the server says arrives any more. */
  isMute: boolean;
}

const commitFaults = new Set<Fault>(['lostAnswer', 'withheld', 'swallowed']);
const isCommit = (text: string): boolean => /^commit\b/i.test(text);
const isEnd = (text: string): boolean => /^(commit|rollback)\b/i.test(text);

/** `deaf`: no notification of the server passes. */
export async function startPgProxy(target: string, { deaf = false } = {}): Promise<PgProxy> {
  const behind = new URL(target);
  const sessions = new Set<Session>();
  let arming: Arming | undefined;

  /** Whether an execution on this session belongs to the request. */
  function isCounted(session: Session, text: string, { countAlso, round }: Arming): boolean {
    if (session.application !== 'writ') return false;
    if (session.isOwn || ownTransaction.test(text)) {
      session.isOwn = !isEnd(text);
      // Its `begin` may have been counted.
      round.isNoisy = true;
      return false;
    }
    return countAlso?.test(text) === true || !ownWork.some((pattern) => pattern.test(text));
  }

  /** What is to be sent to the server in place of an execution of `query`; `null`: the connection is broken. */
  function pass(session: Session, query: string, message: Buffer): Buffer | null {
    const text = query.replace(/\s+/g, ' ').trim();
    if (arming === undefined) {
      session.isOwn = (session.isOwn || ownTransaction.test(text)) && !isEnd(text);
      return message;
    }
    if (!isCounted(session, text, arming)) return message;
    const { n, fault, round } = arming;
    if (round.failed !== undefined || (commitFaults.has(fault) && !isCommit(text))) return message;
    round.statements.push(text);
    arming.counted += 1;
    // A server that refuses a commit has ended the transaction; that cannot be played by another statement.
    if (arming.counted !== n || (fault === 'error' && isEnd(text))) return message;
    round.failed = text;
    if (fault === 'withheld' || fault === 'lostAnswer') {
      session.onCommit = fault === 'withheld' ? 'withhold' : 'break';
      return message;
    }
    arming.struck.resolve();
    if (fault === 'cut') return null;
    if (fault === 'swallowed') return Buffer.alloc(0);
    return failing(message);
  }

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ host: behind.hostname, port: Number(behind.port || 5432), noDelay: true });
    const session: Session = {
      client,
      server: upstream,
      application: '',
      texts: new Map(),
      portals: new Map(),
      isOwn: false,
      onCommit: 'pass',
      isMute: false,
    };
    sessions.add(session);
    const end = (): void => {
      sessions.delete(session);
      client.destroy();
      upstream.destroy();
    };
    const hear = deaf ? dropNotifications() : (chunk: Buffer): Buffer => chunk;
    const read = createReader(session, (text, message) => pass(session, text, message));
    client
      .on('error', () => {})
      .on('close', end)
      .on('data', (chunk) => {
        const out = read(chunk);
        if (out === null) return end();
        if (out.length > 0) upstream.write(out);
      });
    upstream
      .on('error', () => {})
      .on('close', end)
      .on('data', (chunk) => {
        if (session.onCommit !== 'pass' && chunk.includes('COMMIT')) {
          arming?.struck.resolve();
          if (session.onCommit === 'break') return end();
          session.isMute = true;
        }
        if (!session.isMute) client.write(hear(chunk));
      });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(target);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    arm: (n, fault, countAlso) => {
      const round: Round = { statements: [], failed: undefined, isNoisy: false };
      arming = { n, fault, countAlso, counted: 0, round, struck: Promise.withResolvers<void>() };
    },
    disarm: () => {
      if (arming === undefined) throw new Error('not armed');
      const { round } = arming;
      arming = undefined;
      return round;
    },
    struck: async () => await arming?.struck.promise,
    close: async () => {
      for (const { client, server: upstream } of sessions) {
        client.destroy();
        upstream.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Cuts the server's bytes into messages and leaves out NotificationResponse (`A`). */
function dropNotifications(): (chunk: Buffer) => Buffer {
  let pending: Buffer = Buffer.alloc(0);
  return (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    const out: Buffer[] = [];
    while (pending.length >= 5) {
      const size = pending.readInt32BE(1) + 1;
      if (pending.length < size) break;
      if (pending[0] !== 0x41) out.push(pending.subarray(0, size));
      pending = pending.subarray(size);
    }
    return Buffer.concat(out);
  };
}

/** The same kind of message, with something in it that the server refuses, which also fails the transaction around it. */
function failing(message: Buffer): Buffer {
  const isSimple = message[0] === 0x51;
  const body = isSimple ? Buffer.from('select no_such_function()\0') : Buffer.from('no such portal\0\0\0\0\0');
  const head = Buffer.alloc(5);
  head[0] = message[0] ?? 0;
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

/**
 * Cuts the frontend's bytes into messages, follows which text each portal stands for, and asks `pass` about each
 * execution. Answers with what goes to the server, or `null` when the connection is to be broken.
 */
function createReader(
  session: Session,
  pass: (text: string, message: Buffer) => Buffer | null,
): (chunk: Buffer) => Buffer | null {
  let pending: Buffer = Buffer.alloc(0);
  let isStarted = false;

  function take(): Buffer | undefined {
    const lengthAt = isStarted ? 1 : 0;
    if (pending.length < lengthAt + 4) return undefined;
    const size = pending.readInt32BE(lengthAt) + lengthAt;
    if (pending.length < size) return undefined;
    const message = pending.subarray(0, size);
    pending = pending.subarray(size);
    return message;
  }

  function start(message: Buffer): void {
    // Version 3; anything else asks for encryption first, or cancels.
    if (message.readInt16BE(4) !== 3) return;
    const words = message.subarray(8).toString().split('\0');
    session.application = words[words.indexOf('application_name') + 1] ?? '';
    isStarted = true;
  }

  function follow(message: Buffer): Buffer | null {
    const [first = '', second = ''] = message.subarray(5).toString().split('\0');
    switch (String.fromCharCode(message[0] ?? 0)) {
      case 'P':
        session.texts.set(first, second);
        return message;
      case 'B':
        session.portals.set(first, session.texts.get(second) ?? '');
        return message;
      case 'E':
        return pass(session.portals.get(first) ?? '', message);
      case 'Q':
        return pass(first, message);
      default:
        return message;
    }
  }

  return (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    const out: Buffer[] = [];
    for (let message = take(); message !== undefined; message = take()) {
      if (!isStarted) {
        start(message);
        out.push(message);
        continue;
      }
      const passed = follow(message);
      if (passed === null) return null;
      out.push(passed);
    }
    return Buffer.concat(out);
  };
}
