import { expect, test } from 'vitest';
import { createCallers } from '../../src/edges/oauth/callers.ts';
import { hashSecret } from '../../src/platform/keys/secret.ts';

test('an agent that is kept keeps no memory but its own', async () => {
  const hash = hashSecret('a secret');
  const callers = createCallers(async (id) => ({
    type: 'agent',
    id,
    name: 'Ticket bot',
    environment: 'production',
    ownerId: 'person-1',
    version: 1,
    credentialKind: 'secret',
    // As the driver makes it: a slice of a slab that it shares with whatever was read at that time.
    secretHash: Buffer.from(hash.toString('hex'), 'hex'),
    intentIds: [],
    ownerGroups: [],
  }));
  for (const known of [
    await callers.find('agent-1'),
    await callers.find('agent-1'),
    await callers.refresh('agent-1'),
  ]) {
    expect(known?.caller.secretHash).toEqual(hash);
    expect(known?.caller.secretHash?.buffer.byteLength).toBe(hash.length);
  }
});
