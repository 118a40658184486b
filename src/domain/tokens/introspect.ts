/** RFC 7662 and RFC 7009 for Writ's own tokens, which the protocol engine does not keep. */
import { type Db, type Tx, transaction } from '../../platform/db/client.ts';
import { takeTurns } from '../../platform/db/turns.ts';
import type { Keyring } from '../../platform/keys/keyring.ts';
import type { AccessTokenClaims } from '../../protocol.ts';
import { type Act, append } from '../audit/append.ts';
import { revoke } from '../revocation/revoke.ts';
import { type Live, type Question, readLiveness } from './live.ts';
import { readToken } from './subject.ts';

/** Who may look into a token: the API that is its audience, and the agent it was issued to. */
export type Caller = { type: 'agent'; id: string } | { type: 'api'; id: string; identifier: string };

export interface TokenReader {
  db: Db;
  keyring: Keyring;
  issuer: string;
  now(): Date;
}

const mayRead = (caller: Caller, claims: AccessTokenClaims): boolean =>
  caller.type === 'agent' ? caller.id === claims.client_id : caller.identifier === claims.aud;

/** What introspection says of a token whose liveness was proven. */
function toActive(_proof: Live, claims: AccessTokenClaims): Record<string, unknown> {
  return { active: true, token_type: 'Bearer', ...claims };
}

/** The members of an introspection answer; `{ active: false }` for all that is not alive or not the caller's business. */
export async function introspect(reader: TokenReader, caller: Caller, token: string): Promise<Record<string, unknown>> {
  const claims = readToken(reader.keyring, reader.issuer, token, reader.now());
  if (claims === undefined || !mayRead(caller, claims)) return { active: false };
  const question: Question = {
    agentId: claims.client_id,
    ownerId: claims.human_owner_id,
    agentVersion: null,
    catalogueVersion: null,
    carried: { ...claims.epochs, [claims.jti]: 0 },
  };
  const read = (wait: boolean) =>
    reader.db.$client.begin(async (tx) => (await readLiveness(tx, [question], { wait })).found[0]);
  let found = await read(false);
  // Who has to wait for an owner's lock does so in turn, so that they do not all hold a connection.
  if (found?.state === 'busy') found = await takeTurns(reader.db, [question.ownerId], () => read(true));
  return found?.state === 'live' ? toActive(found, claims) : { active: false };
}

/**
 * Ends one token of the agent's own, everywhere. Unknown and dead tokens are answered like a success (RFC 7009 §2.2).
 *
 * @param first what has to happen in the same transaction (the use of the client's assertion); `false` stops it
 * @returns `foreign` for another agent's token, `stopped` when `first` said so
 */
export async function revokeToken(
  reader: TokenReader,
  act: Act,
  agent: { id: string; ownerId: string },
  token: string,
  first: (tx: Tx) => Promise<boolean>,
): Promise<'revoked' | 'unknown' | 'foreign' | 'stopped'> {
  const claims = readToken(reader.keyring, reader.issuer, token, reader.now());
  return transaction(reader.db, async (tx) => {
    if (!(await first(tx))) return 'stopped';
    if (claims === undefined) return 'unknown';
    if (claims.client_id !== agent.id) return 'foreign';
    await append(tx, act, [
      { kind: 'token.revoked', outcome: 'done', agent: agent.id, person: agent.ownerId, jti: claims.jti },
    ]);
    await revoke(tx, [{ id: claims.jti, expiresAt: new Date(claims.exp * 1000) }]);
    return 'revoked';
  });
}
