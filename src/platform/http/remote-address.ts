import type { HttpBindings } from '@hono/node-server';

/** The address of the caller, as `@hono/node-server` hands it over; `null`: there is no socket. */
export const remoteAddressOf = (c: { env: unknown }): string | null =>
  (c.env as Partial<HttpBindings> | undefined)?.incoming?.socket?.remoteAddress ?? null;
