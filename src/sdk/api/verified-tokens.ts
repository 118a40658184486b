import type { KeyObject } from 'node:crypto';
import type { AccessTokenClaims } from '../../protocol.ts';

/** A token whose signature, issuer, audience and claims were found right. Whether it is alive is asked each time. */
export interface VerifiedToken {
  claims: AccessTokenClaims;
  nbf: number | undefined;
  kid: string;
  /** The key that verified it: when the issuer publishes another under the same id, the token is verified anew. */
  key: KeyObject;
  epochs: readonly (readonly [subject: string, epoch: number])[];
}

export interface VerifiedTokens {
  get(token: string): VerifiedToken | undefined;
  add(token: string, verified: VerifiedToken): void;
  remove(token: string): void;
}

/**
 * Remembers about the last `limit` tokens, by their exact text. Two generations instead of a list by recency: a hit in the
 * young one moves nothing, and the old one is dropped whole when the young one is full.
 */
export function createVerifiedTokens(limit: number): VerifiedTokens {
  const generationSize = Math.ceil(limit / 2);
  let young = new Map<string, VerifiedToken>();
  let old = new Map<string, VerifiedToken>();

  function add(token: string, verified: VerifiedToken): void {
    if (generationSize === 0) return;
    if (young.size >= generationSize) {
      old = young;
      young = new Map();
    }
    young.set(token, verified);
  }

  return {
    add,
    get(token) {
      const recent = young.get(token);
      if (recent) return recent;
      const older = old.get(token);
      if (older) add(token, older);
      return older;
    },
    remove(token) {
      young.delete(token);
      old.delete(token);
    },
  };
}
