import { expect, test } from 'vitest';
import { tellToken } from '../../src/cli/story.ts';
import type { AccessTokenClaims } from '../../src/protocol.ts';

const owner = '11111111-1111-4111-8111-111111111111';
const agent = '22222222-2222-4222-8222-222222222222';
const other = '33333333-3333-4333-8333-333333333333';
const issuedAt = Date.parse('2026-11-25T12:00:00Z') / 1_000;

const claims: AccessTokenClaims = {
  iss: 'https://writ.example.com',
  aud: 'https://crm.example.com',
  sub: agent,
  client_id: agent,
  iat: issuedAt,
  exp: issuedAt + 300,
  jti: 'j-1',
  authorization_details: [
    {
      type: 'agent_intent',
      task_intent: 'crm.ticket_read',
      actions: ['read', 'list'],
      locations: ['https://crm.example.com'],
      datatypes: ['ticket'],
      identifier: 'INC-4711',
    },
  ],
  human_owner_id: owner,
  task_intent: 'crm.ticket_read',
  epochs: { [owner]: 2, [agent]: 0 },
  agent: { name: 'crm-triage', environment: 'production', trust: 2 },
};

test('an agent that acts by itself', () => {
  expect(tellToken(claims, new Date('2026-11-25T12:00:02Z'))).toBe(
    `Who        crm-triage, an agent in production (trust 2)
           ${agent}
On behalf  of nobody else: by itself
Answers    person ${owner}, its owner
Task       crm.ticket_read
May        read, list ticket, only INC-4711 (read-only)
Where      https://crm.example.com, and nowhere else
Until      2026-11-25 12:05:00 UTC, 4 min 58 s from now (issued 12:00:00, lives 5 min)
Ends       at once, when the owner ${owner} is revoked (epoch 2 now)
           or the agent ${agent} is revoked (epoch 0 now)
           or this token j-1 itself is revoked`,
  );
});

test('a chain names whose authority it is, who passed it on, and the token it came from', () => {
  const story = tellToken(
    {
      ...claims,
      sub: owner,
      act: { sub: agent, act: { sub: other } },
      epochs: { [owner]: 2, [agent]: 1, [other]: 4, 'j-0': 0 },
      authorization_details: [
        {
          type: 'agent_intent',
          task_intent: 'crm.ticket_update',
          actions: ['update'],
          locations: [claims.aud],
          datatypes: [],
        },
      ],
    },
    new Date('2026-11-25T12:06:00Z'),
  );
  expect(story).toContain(`On behalf  of person ${owner}, its owner`);
  expect(story).toContain(`Through    ${other}`);
  expect(story).toContain('May        update (it changes things)');
  expect(story).toContain('over since 1 min');
  expect(story).toContain(`the earlier actor ${other} is revoked (epoch 4 now)`);
  expect(story).toContain('the token it came from, j-0 is revoked');
});

test('a token that allows nothing says so, and names cannot move the cursor', () => {
  const story = tellToken(
    { ...claims, authorization_details: [], agent: { ...claims.agent, name: 'a\u001b[2J' } },
    new Date('2026-11-25T12:00:02Z'),
  );
  expect(story).toContain('none: this token allows nothing');
  expect(story).not.toContain('\u001b');
});
