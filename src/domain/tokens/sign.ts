/**
 * The only way to an access token: a `Live`, which only `readLiveness` makes, and a `Grant`, which only `narrow` makes.
 * Nothing else imports the access-token signer.
 */

import { signAccessToken } from '../../platform/keys/access-token.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import { type AccessTokenClaims, type Actor, isWriteAction } from '../../protocol.ts';
import type { Api } from '../intents/catalogue.ts';
import type { Grant } from '../intents/narrow.ts';
import type { Live } from './live.ts';

/** What a token says beside what was read under the locks. */
export interface TokenContent {
  jti: string;
  api: Api;
  grant: Grant;
  scope: string;
  taskIntent: string | undefined;
  /** The agent, or the subject of the token that was exchanged. */
  sub: string;
  act?: Actor;
  agent: { name: string; environment: string; trust: number };
  /** No later than this (a subject token's `exp`), in seconds. */
  notAfter?: number;
}

/** Issue and expiry in whole seconds of the database's clock: no longer than the API, the agent and the subject allow. */
export function lifeOf(content: TokenContent, live: Live): { iat: number; exp: number } {
  const iat = Math.floor(live.at);
  const ends = [iat + content.api.tokenTtlSeconds, live.expiresAt, content.notAfter];
  return { iat, exp: Math.min(...ends.filter((end) => typeof end === 'number')) };
}

/** RFC 9068 claims, and Writ's own (design: "The token"). */
function claimsOf(issuer: string, live: Live, content: TokenContent): AccessTokenClaims {
  return {
    iss: issuer,
    aud: content.api.identifier,
    sub: content.sub,
    client_id: live.question.agentId,
    ...lifeOf(content, live),
    jti: content.jti,
    ...(content.scope === '' ? {} : { scope: content.scope }),
    authorization_details: [...content.grant.details],
    human_owner_id: live.question.ownerId,
    ...(content.taskIntent === undefined ? {} : { task_intent: content.taskIntent }),
    epochs: { ...live.epochs },
    ...(content.act === undefined ? {} : { act: content.act }),
    agent: content.agent,
  };
}

export const hasWrites = (grant: Grant): boolean => grant.details.some(({ actions }) => actions.some(isWriteAction));

export interface SignedToken {
  token: string;
  claims: AccessTokenClaims;
}

/** Signs. Its arguments are the proof; only that they fit each other is checked here. */
export function sign(keyring: Keyring, issuer: string, live: Live, content: TokenContent): SignedToken {
  if (live.readOnly && hasWrites(content.grant)) throw new Error('a write for an agent in quarantine');
  const claims = claimsOf(issuer, live, content);
  return { token: signAccessToken(keyring, content.api.signingAlgorithm, claims), claims };
}
