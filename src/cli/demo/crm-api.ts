/**
 * A small CRM API protected by Writ, to read as an example. Elsewhere the imports are `writ/api` and `writ/api/hono`.
 * It knows its own name, where Writ is, and the credentials it got when it was registered; it never asks Writ about a
 * token: it verifies by itself and follows the feed of revocations.
 */
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { requireIntent } from '../../sdk/api/hono.ts';
import { createVerifier } from '../../sdk/api/verify.ts';

const { PORT, WRIT_ISSUER = '', API_IDENTIFIER = '', FEED_CLIENT_ID = '', FEED_CLIENT_SECRET = '' } = process.env;

const verifier = await createVerifier({
  issuer: WRIT_ISSUER,
  audience: API_IDENTIFIER,
  credentials: { clientId: FEED_CLIENT_ID, clientSecret: FEED_CLIENT_SECRET },
  verifierId: 'crm-api',
  onProblem: (problem) => console.error(problem.message),
});
await verifier.ready();

const tickets = new Map([
  ['INC-4711', { id: 'INC-4711', title: 'Customer cannot log in', state: 'open' }],
  ['INC-4712', { id: 'INC-4712', title: 'Invoice is wrong', state: 'open' }],
]);

const app = new Hono();
app.get(
  '/tickets/:id',
  requireIntent(verifier, (c) => ({
    intent: 'incident_remediation.ticket_read',
    action: 'read',
    datatype: 'ticket',
    identifier: c.req.param('id') ?? '',
  })),
  (c) => {
    const ticket = tickets.get(c.req.param('id'));
    return ticket === undefined ? c.json({ error: 'not_found' }, 404) : c.json(ticket);
  },
);

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(PORT) });
process.once('SIGTERM', async () => {
  server.close();
  await verifier.close();
});
