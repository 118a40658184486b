/**
 * Promise 1 for a tree in quarantine: reading is what is left to it. Nothing gives writes yet, so who decides is played
 * here: by somebody who approves of everything, and by a subject token that holds a write.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCatalogueCache, findApi } from '../../src/domain/intents/catalogue.ts';
import { isRefusal, narrow } from '../../src/domain/intents/narrow.ts';
import { createCommitQueue } from '../../src/domain/tokens/commit.ts';
import { type Issuer, issueToken, type Requester, type TokenAnswer } from '../../src/domain/tokens/issue.ts';
import { signAccessToken } from '../../src/platform/keys/access-token.ts';
import { createKeyring, type Keyring } from '../../src/platform/keys/keyring.ts';
import type { Action, AgentIntent } from '../../src/protocol.ts';
import { type AgentWorld, openAgentWorld } from '../support/agents.ts';

const resource = 'https://production.example.com';
const issuerUrl = 'https://writ.example.com';
let world: AgentWorld;
let keyring: Keyring;
let issuer: Issuer;
let requester: Requester;

const detailOf = (actions: Action[]): AgentIntent => ({
  type: 'agent_intent',
  task_intent: 'tickets.update',
  actions,
  locations: [resource],
  datatypes: ['ticket'],
});

beforeAll(async () => {
  world = await openAgentWorld();
  keyring = await createKeyring({
    db: world.db,
    kek: randomBytes(32),
    now: () => new Date(),
    log: { warn: () => {}, error: () => {} },
  });
  issuer = {
    issuer: issuerUrl,
    queue: createCommitQueue(world.db, world.act.node),
    catalogue: createCatalogueCache(world.db),
    keyring,
    now: () => new Date(),
    newId: randomUUID,
    decide: (_agent, { scope }, catalogue) => {
      const detail = detailOf(scope === 'write' ? ['read', 'update'] : ['read']);
      const api = findApi(catalogue, resource);
      const grant = narrow([detail], [{ ...detail, by: 'details' }], resource, 'details_exceed_intent');
      if (api === undefined || isRefusal(grant)) throw new Error('nobody asked for more');
      return { api, grant, scope: '', taskIntent: 'tickets.update', policies: ['standing-read-grant'] };
    },
  };
  const agent = await world.agent({ intents: ['tickets.read', 'tickets.update'], leaverPolicy: 'quarantine' });
  const rest = { trust: 0, intentIds: new Set<string>(), ownerGroups: new Set<string>(), version: 1 };
  requester = { id: agent.id, name: agent.name, ownerId: agent.owner, environment: agent.environment, ...rest };
});
afterAll(async () => {
  await issuer?.queue.drain();
  await keyring?.close();
  await world?.close();
});

const ask = (scope: 'read' | 'write', subjectToken?: string): Promise<TokenAnswer> =>
  issueToken(issuer, world.act, {
    requester,
    reload: () => Promise.resolve(requester),
    parameters:
      subjectToken === undefined
        ? { resource: [resource], scope }
        : {
            resource: [resource],
            authorizationDetails: JSON.stringify([detailOf(scope === 'write' ? ['read', 'update'] : ['read'])]),
          },
    assertion: undefined,
    ...(subjectToken === undefined ? {} : { subjectToken }),
  });

/** A token of this very agent that holds a write, at the epochs of now. */
const holdWrite = async (): Promise<string> => {
  const epochs = {
    [requester.id]: await world.epoch(requester.id),
    [requester.ownerId]: await world.epoch(requester.ownerId),
  };
  const iat = Math.floor(Date.now() / 1000);
  const { id, ownerId, name, environment, trust } = requester;
  const claims = { iss: issuerUrl, aud: resource, sub: id, client_id: id, iat, exp: iat + 300, jti: randomUUID() };
  const agent = { name, environment, trust };
  const details = [detailOf(['read', 'update'])];
  return signAccessToken(keyring, 'ES256', {
    ...claims,
    authorization_details: details,
    human_owner_id: ownerId,
    epochs,
    agent,
  });
};

const refusal = { state: 'refused', refusal: { reason: 'owner_inactive', by: 'agent' } };

test('a write that was approved, and an exchange to one, are for agents whose owner is there', async () => {
  expect(await ask('write')).toMatchObject({ state: 'issued' });
  expect(await ask('write', await holdWrite())).toMatchObject({ state: 'issued' });

  await world.offboard(requester.ownerId);
  await world.sql`insert into quarantines (agent_id, person_id, offboarding_id, since, until)
    select agent_id, ${requester.ownerId}, ${randomUUID()}, since, since + interval '1 hour'
    from latches where agent_id = ${requester.id}`;

  expect(await ask('write')).toMatchObject(refusal);
  expect(await ask('write', await holdWrite())).toMatchObject(refusal);
  expect(await ask('read')).toMatchObject({ state: 'issued' });
  const read = await ask('read', await holdWrite());
  expect(read).toMatchObject({ state: 'issued', claims: { authorization_details: [{ actions: ['read'] }] } });
  const refused =
    await world.sql`select body::jsonb ->> 'reason' as reason from audit_entries where kind = 'token.refused'`;
  expect(refused.map(({ reason }) => reason)).toEqual(['owner_inactive', 'owner_inactive']);

  await world.sql`update quarantines set until = clock_timestamp() where agent_id = ${requester.id}`;
  expect(await ask('read')).toMatchObject(refusal);
});
