/**
 * Sockets for postgres.js that notice when the other side is gone. The driver has no deadline for an answer, reconnects
 * for ever to a proxy that accepts and hangs up, and makes every queued query wait out its own connect timeout.
 */
import { type NetConnectOpts, Socket } from 'node:net';

interface Target {
  host: string | string[];
  port: number | number[];
  path?: string | false | undefined;
}

export interface SocketLimits {
  /** A server that owes an answer and sends nothing for this long is gone. */
  silenceMs: number;
  /** A socket with no traffic at all for this long is stuck: the pool closes idle ones earlier. Absent: never. */
  idleMs?: number;
}

const checkMs = 400;
/** After a connect that timed out, further ones fail at once for this long. */
const tripMs = 1_000;

class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
  readonly code = 'ECONNRESET';
}

/** A `socket` option for postgres.js; tries the hosts of a multi-host URL in turn. */
export function createSocketFactory(limits: SocketLimits): (target: Target) => Socket {
  let attempt = 0;
  let trippedUntil = 0;
  return (target) => {
    const socket = new Socket();
    if (performance.now() < trippedUntil) {
      // Later, so that the driver has attached its listeners.
      setImmediate(() => socket.destroy(new ConnectionLost('the database did not answer a moment ago')));
      return socket;
    }
    const startedAt = performance.now();
    socket.once('close', () => {
      if (socket.bytesRead === 0 && performance.now() - startedAt > 2_000) trippedUntil = performance.now() + tripMs;
    });
    socket.once('end', () => {
      if (socket.bytesRead === 0) socket.destroy(new ConnectionLost('the database closed the connection at once'));
    });
    const where = locate(target, attempt++);
    socket.connect(where);
    watchSilence(socket, limits);
    // The driver reads these two for its messages and for the name in the TLS handshake.
    return Object.assign(socket, 'host' in where ? { host: where.host, port: where.port } : {});
  };
}

function locate({ host, port, path }: Target, attempt: number): NetConnectOpts {
  if (typeof path === 'string') return { path };
  const hosts = [host].flat();
  const ports = [port].flat();
  const index = attempt % hosts.length;
  return { host: hosts[index] ?? 'localhost', port: ports[index % ports.length] ?? 5432 };
}

/** Counts bytes instead of listening: under TLS the driver removes listeners, and the raw socket emits no data. */
function watchSilence(socket: Socket, { silenceMs, idleMs }: SocketLimits): void {
  let read = 0;
  let written = 0;
  let owesAnswer = false;
  let changedAt = performance.now();
  const timer = setInterval(() => {
    if (socket.destroyed) return clearInterval(timer);
    const heard = socket.bytesRead !== read;
    const said = socket.bytesWritten !== written;
    read = socket.bytesRead;
    written = socket.bytesWritten;
    if (heard || said) changedAt = performance.now();
    if (heard) owesAnswer = false;
    else if (said) owesAnswer = true;
    const silentMs = performance.now() - changedAt;
    if ((owesAnswer && silentMs > silenceMs) || (idleMs !== undefined && silentMs > idleMs)) {
      clearInterval(timer);
      socket.destroy(new ConnectionLost(`the database sent nothing for ${Math.round(silentMs)} ms`));
    }
  }, checkMs);
  timer.unref();
}
