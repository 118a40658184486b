/**
 * The only reader of the environment. Reports every problem at once, each with what to do about it, and refuses to
 * start in a way that would be insecure: plain http, a missing key-encryption key or a guessable token are allowed only
 * where the issuer's own host is the machine itself.
 */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface Config {
  /** 0: any free port. */
  port: number;
  host: string;
  /** As it stands in `iss`: no trailing slash. */
  issuer: string;
  /** True when the issuer's host is this machine, so that secrets may be made up and kept in the data directory. */
  isLocal: boolean;
  /** Absent: Writ runs its own PostgreSQL in `dataDir`. */
  databaseUrl?: string;
  dataDir: string;
  /** 32 bytes. Absent only when `isLocal`: then it is made once, in `dataDir`. */
  kek?: Buffer;
  /** The KEK before, while it is being exchanged: what is sealed under it is sealed anew at start. */
  previousKek?: Buffer;
  adminToken?: string;
  metricsToken?: string;
  logLevel: LogLevel;
  /** Database connections of one process, at most. */
  poolSize: number;
  /** Processes on one port. */
  workers: number;
  /** Requests per second; 0: no limit. */
  rates: { client: number; directory: number; failures: number };
  /** How long a node that was told to stop goes on answering while `/readyz` says no, so that balancers notice. */
  drainSeconds: number;
}

export type Environment = Record<string, string | undefined>;

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`Writ cannot start with this configuration:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

/** Reads and checks the whole environment. Throws `ConfigError` with all problems. Empty variables count as absent. */
export function readConfig(env: Environment): Config {
  const problems: string[] = [];
  const read = (name: string): string | undefined => env[name] || undefined;

  const port = readInteger(read, 'PORT', { fallback: 8080, least: 0, most: 65535 }, problems);
  const issuer = readIssuer(read('WRIT_ISSUER'), port, problems);
  // Without a given issuer it is localhost, whatever else is wrong.
  const isLocal = read('WRIT_ISSUER') === undefined || (issuer !== undefined && isLoopback(issuer.hostname));
  const kek = readKek(read('WRIT_KEK'), isLocal, problems);
  const previousKek = readKey('WRIT_KEK_PREVIOUS', read('WRIT_KEK_PREVIOUS'), problems);
  const adminToken = readToken(read, 'WRIT_ADMIN_TOKEN', isLocal ? 8 : 32, problems);
  const metricsToken = readToken(read, 'WRIT_METRICS_TOKEN', 16, problems);
  const databaseUrl = readDatabaseUrl(read('DATABASE_URL'), problems);
  const logLevel = logLevels.find((level) => level === (read('WRIT_LOG_LEVEL') ?? 'info'));
  if (logLevel === undefined) problems.push(`WRIT_LOG_LEVEL has to be one of ${logLevels.join(', ')}`);
  const poolSize = readInteger(read, 'WRIT_POOL_SIZE', { fallback: 10, least: 2, most: 1000 }, problems);
  // As a rule there is no balancer on this machine, and somebody who waits for Ctrl-C.
  const drainSeconds = readInteger(
    read,
    'WRIT_DRAIN_SECONDS',
    { fallback: isLocal ? 0 : 5, least: 0, most: 600 },
    problems,
  );

  const workers = readInteger(read, 'WRIT_WORKERS', { fallback: 1, least: 1, most: 64 }, problems);
  const rates = {
    // Off: an overload is answered 503 whoever causes it. What is too much for one of them, an operator knows.
    client: readRate(read, 'WRIT_RATE_CLIENT', 0, problems),
    directory: readRate(read, 'WRIT_RATE_DIRECTORY', 0, problems),
    failures: readRate(read, 'WRIT_RATE_FAILURES', 50, problems),
  };

  if (problems.length > 0 || issuer === undefined || logLevel === undefined) throw new ConfigError(problems);
  return {
    port,
    host: read('HOST') ?? '127.0.0.1',
    issuer: withoutSlash(issuer.href),
    isLocal,
    ...(databaseUrl !== undefined && { databaseUrl }),
    dataDir: read('WRIT_DATA_DIR') ?? '.writ',
    ...(kek !== undefined && { kek }),
    ...(previousKek !== undefined && { previousKek }),
    ...(adminToken !== undefined && { adminToken }),
    ...(metricsToken !== undefined && { metricsToken }),
    logLevel,
    poolSize,
    workers,
    rates,
    drainSeconds,
  };
}

type Read = (name: string) => string | undefined;

const withoutSlash = (text: string): string => text.replace(/\/$/, '');

/** RFC 6761 §6.3, RFC 1122 §3.2.1.3, RFC 4291 §2.5.3; as `URL` spells host names. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function readInteger(
  read: Read,
  name: string,
  { fallback, least, most }: { fallback: number; least: number; most: number },
  problems: string[],
): number {
  const text = read(name);
  if (text === undefined) return fallback;
  const value = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (value < least || value > most) problems.push(`${name} has to be a whole number from ${least} to ${most}`);
  return value;
}

const readRate = (read: Read, name: string, fallback: number, problems: string[]): number =>
  readInteger(read, name, { fallback, least: 0, most: 999_999 }, problems);

function readIssuer(text: string | undefined, port: number, problems: string[]): URL | undefined {
  if (text === undefined) {
    if (port === 0) problems.push('WRIT_ISSUER is needed with PORT=0: the issuer has to be known before the port is');
    // `null`: PORT is the problem, and has been told.
    return port === 0 ? undefined : (URL.parse(`http://localhost:${port}`) ?? undefined);
  }
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    problems.push('WRIT_ISSUER has to be an https URL, such as https://writ.example.com');
    return undefined;
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    problems.push('WRIT_ISSUER has to be https: tokens and secrets would cross the network in the clear');
  }
  if (url.username !== '' || url.password !== '') problems.push('WRIT_ISSUER must not contain user info');
  if (/[?#]/.test(text)) problems.push('WRIT_ISSUER must not have a query or a fragment (RFC 8414 §2)');
  else if (url.username === '' && url.password === '' && text !== withoutSlash(url.href)) {
    problems.push(`WRIT_ISSUER is compared byte by byte: write it as ${withoutSlash(url.href)}`);
  }
  return url;
}

const make = 'make one with: node -p "crypto.randomBytes(32).toString(\'base64\')"';

function readKek(text: string | undefined, isLocal: boolean, problems: string[]): Buffer | undefined {
  if (text === undefined && !isLocal) {
    problems.push(`WRIT_KEK is needed to encrypt the signing keys; ${make}, and give all nodes the same`);
  }
  return readKey('WRIT_KEK', text, problems);
}

function readKey(name: string, text: string | undefined, problems: string[]): Buffer | undefined {
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length === 32 && bytes.toString('base64') === text) return bytes;
  problems.push(`${name} has to be 32 bytes in base64 (44 characters); ${make}`);
  return undefined;
}

function readToken(read: Read, name: string, least: number, problems: string[]): string | undefined {
  const text = read(name);
  if (text === undefined) return undefined;
  if (text.length < least) {
    problems.push(`${name} is too short, it needs ${least} characters or more; make one with: openssl rand -hex 32`);
  } else if (!/^[A-Za-z0-9._~+/-]+=*$/.test(text)) {
    problems.push(
      `${name} has characters that a bearer token cannot have (RFC 6750 §2.1): use letters, digits, -._~+/`,
    );
  }
  return text;
}

function readDatabaseUrl(text: string | undefined, problems: string[]): string | undefined {
  // With several hosts only the first is looked at, as `URL` knows no list.
  const url = text === undefined ? null : URL.parse(text.replace(/,[^/?]*/, ''));
  const isPostgres = url !== null && /^postgres(ql)?:$/.test(url.protocol) && (url.host !== '' || url.pathname !== '');
  if (text === undefined || isPostgres) return text;
  problems.push('DATABASE_URL has to look like postgres://user:password@host:5432/database; leave it out to try Writ');
  return undefined;
}
