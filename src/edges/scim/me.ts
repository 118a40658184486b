/**
 * `/Me` (RFC 7644 §3.11), the resource of whoever sends the request. A directory's token authenticates an identity
 * provider, and there is no resource that is the provider: to answer with somebody's would be a guess, and to create one
 * by POST would make a person of a machine. So every method has the 501 that the RFC asks for then, with what to do instead.
 */
import type { ScimFailure } from './errors.ts';

export const noMe: ScimFailure = {
  status: 501,
  detail:
    '/Me is not supported: the token is that of a directory, not of a person. Use /Users/{id}, or find the person by a filter at /Users.',
};
