/** Writ as a program of its own, started as an operator does, for what only processes can show. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { adminToken, freePort, readAnswer, type TestWrit } from './writ.ts';

export interface Program extends TestWrit {
  child: ChildProcess;
  /** What it has said so far: log and standard error. */
  output(): string;
  /** SIGTERM, and how it ended. */
  stop(): Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
/** Generous: a machine that runs other tests beside it is slow. */
const startMs = 90_000;

/** Resolves when it says that it is up. */
export async function startProgram(env: Record<string, string>, port?: number): Promise<Program> {
  const own = port ?? (await freePort());
  const url = `http://localhost:${own}`;
  const child = spawn(process.execPath, [main], {
    env: {
      PATH: process.env.PATH ?? '',
      PORT: String(own),
      WRIT_KEK: randomBytes(32).toString('base64'),
      WRIT_ADMIN_TOKEN: adminToken,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  const up = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.includes('API reference')) up.resolve();
    });
  }
  const timer = setTimeout(() => up.reject(new Error(`not up after ${startMs} ms: ${output}`)), startMs);
  void ended.then(() => up.reject(new Error(`ended before it was up: ${output}`)));
  const stop = async () => {
    child.kill('SIGTERM');
    return await ended;
  };
  const close = async () => {
    await stop();
  };
  try {
    await up.promise;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return {
    url,
    databaseUrl: env.DATABASE_URL ?? '',
    child,
    output: () => output,
    stop,
    admin: async (method, path, body) =>
      readAnswer(
        await fetch(`${url}/api/v1${path}`, {
          method,
          headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      ),
    // Known inside of it only.
    routes: [],
    close,
    [Symbol.asyncDispose]: close,
  };
}
