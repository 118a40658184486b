import { expect, test } from 'vitest';
import type { Catalogue } from '../../src/domain/intents/catalogue.ts';
import { isDenial } from '../../src/domain/intents/decide.ts';
import { createDecider } from '../../src/domain/intents/decider.ts';
import { readActions } from '../../src/protocol.ts';

const api = {
  id: 'api',
  identifier: 'https://crm.example.com',
  environment: 'staging',
  tokenTtlSeconds: 300,
  signingAlgorithm: 'ES256' as const,
  agentId: null,
};
const catalogue: Catalogue = {
  version: 1,
  apis: new Map([[api.identifier, api]]),
  intents: new Map([
    [
      'tickets.read',
      {
        id: 'intent',
        taskIntent: 'tickets.read',
        actions: [...readActions],
        datatypes: ['ticket'],
        risk: 'read',
        apis: [api.identifier],
        groups: new Set(['security']),
      },
    ],
  ]),
};

test('a decision that is remembered is of one owner: after a transfer the sum of both versions may be the same again', () => {
  const decide = createDecider();
  const agent = { id: 'agent', environment: 'staging', intentIds: new Set(['intent']), version: 7 };
  const parameters = { resource: [api.identifier], authorizationDetails: undefined, scope: 'tickets.read' };
  const member = { ...agent, ownerId: 'alice', ownerGroups: new Set(['security']) };
  const stranger = { ...agent, ownerId: 'bob', ownerGroups: new Set<string>() };
  expect(isDenial(decide(member, parameters, catalogue))).toBe(false);
  expect(decide(stranger, parameters, catalogue)).toMatchObject({ refusal: { reason: 'intent_not_granted' } });
  expect(decide(member, parameters, catalogue)).toBe(decide({ ...member }, parameters, catalogue));
});
