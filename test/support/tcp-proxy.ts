/** A TCP proxy that can be told to vanish, so that a test can take a server away without stopping it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface TcpProxy extends AsyncDisposable {
  port: number;
  /** Cuts all connections and refuses new ones. */
  vanish(): void;
  /** Keeps all connections and accepts new ones, but lets no byte through. */
  hang(): void;
  restore(): void;
}

export async function startTcpProxy(target: { host: string; port: number }): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let mode: 'open' | 'gone' | 'hanging' = 'open';

  const server = createServer((client) => {
    if (mode === 'gone') return client.destroy();
    const upstream = connect(target);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('data', (bytes) => {
        if (mode === 'open') to.write(bytes);
      });
      from.on('error', () => {});
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });

  function setMode(next: typeof mode): void {
    mode = next;
    // What was swallowed while hanging cannot be made up for.
    if (next !== 'hanging') for (const socket of sockets) socket.destroy();
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    vanish: () => setMode('gone'),
    hang: () => setMode('hanging'),
    restore: () => setMode('open'),
    async [Symbol.asyncDispose]() {
      setMode('gone');
      server.close();
    },
  };
}
