/** The rules of client assertions that both ways of checking them share. */
import { hash } from 'node:crypto';
import type { Assertion } from '../../domain/tokens/commit.ts';

/** Longest life of a client assertion, and how far its clock may be off, in seconds. */
export const assertionLifeSeconds = 300;
export const clockToleranceSeconds = 10;

/** What stands in the way of using an assertion twice. `expiresAt` in seconds, tolerance included. */
export const toAssertion = (iss: string, jti: string, expiresAt: number): Assertion => ({
  id: hash('sha256', JSON.stringify([iss, jti]), 'hex'),
  expiresAt: new Date(expiresAt * 1000),
});
