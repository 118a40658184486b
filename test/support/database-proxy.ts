import { createServer, connect as dial, type Server, type Socket } from 'node:net';

/**
 * How the network behaves: `pass`; `refuse` (nobody listens); `hangUp` (accepts and closes at once, as the proxies of
 * container platforms do); `swallow` (accepts, answers nothing; what is open goes silent too).
 */
export type Weather = 'pass' | 'refuse' | 'hangUp' | 'swallow';

export interface DatabaseProxy extends AsyncDisposable {
  /** The address behind the proxy, seen through it. */
  url: string;
  turn(weather: Weather): Promise<void>;
  /** Breaks all open connections: with a reset, or an orderly end. */
  cut(how: 'reset' | 'end'): void;
}

/** A TCP proxy in front of the database that `target` names. */
export async function startProxy(target: string): Promise<DatabaseProxy> {
  const behind = new URL(target);
  const clients = new Set<Socket>();
  const pairs = new Set<[Socket, Socket]>();
  let weather: Weather = 'pass';
  const handle = (client: Socket): void => {
    clients.add(client);
    client.on('error', () => {}).on('close', () => clients.delete(client));
    if (weather === 'hangUp') return void client.resume().end();
    if (weather === 'swallow') return void client.resume();
    const server = dial(Number(behind.port || 5432), behind.hostname);
    server.on('error', () => client.destroy());
    const pair: [Socket, Socket] = [client, server];
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    client.on('close', end).on('data', (chunk) => weather !== 'swallow' && server.write(chunk));
    server.on('close', end).on('data', (chunk) => weather !== 'swallow' && client.write(chunk));
  };
  const cut = (how: 'reset' | 'end'): void => {
    for (const client of clients) {
      if (how === 'reset') client.resetAndDestroy();
      else client.end();
    }
    for (const [, server] of pairs) server.destroy();
  };
  const listen = async (port: number): Promise<Server> =>
    await new Promise((resolve, reject) => {
      const server = createServer({ noDelay: true }, handle).once('error', reject);
      server.listen(port, '127.0.0.1', () => resolve(server));
    });
  let server: Server | undefined = await listen(0);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const stop = async (): Promise<void> => {
    const closing = server;
    server = undefined;
    for (const client of clients) client.destroy();
    if (closing !== undefined) await new Promise((resolve) => closing.close(resolve));
  };
  const url = new URL(target);
  url.hostname = '127.0.0.1';
  url.port = String(port);
  return {
    url: url.href,
    turn: async (next) => {
      weather = next;
      if (next === 'refuse') return await stop();
      if (next === 'hangUp') cut('end');
      server ??= await listen(port);
    },
    cut,
    [Symbol.asyncDispose]: stop,
  };
}
