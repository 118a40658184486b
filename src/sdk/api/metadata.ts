import { locateMetadata, parseSecureUrl } from '../issuer.ts';
import { AnswerError, type Fetch, getObject, withDeadline } from './http.ts';

export interface ServerMetadata {
  jwksUri: string;
  /** Absent when the server has no feed. */
  feedUrl: string | undefined;
}

const maxBytes = 256 * 1024;
const maxAgeMs = 600_000;
const timeoutMs = 5_000;

/** Returns a function that reads the metadata, at most every ten minutes and once at a time. */
export function createMetadataReader(options: {
  issuer: string;
  fetch: Fetch;
  monotonic: () => number;
  closed: AbortSignal;
}): () => Promise<ServerMetadata> {
  const location = locateMetadata(options.issuer);
  let current: { value: ServerMetadata; readAt: number } | undefined;
  let inFlight: Promise<ServerMetadata> | undefined;

  async function read(): Promise<ServerMetadata> {
    const metadata = await withDeadline(options.closed, timeoutMs, (signal) =>
      getObject(options.fetch, location, { signal, maxBytes }),
    );
    // RFC 8414 §3.3: metadata of another issuer must not be used, else one server could speak for another.
    if (metadata.issuer !== options.issuer) {
      throw new AnswerError('The metadata is of another issuer', { cause: metadata.issuer });
    }
    const feed = metadata.writ_feed_endpoint;
    const value = {
      jwksUri: parseSecureUrl(metadata.jwks_uri, 'jwks_uri').href,
      feedUrl: feed === undefined ? undefined : parseSecureUrl(feed, 'writ_feed_endpoint').href,
    };
    current = { value, readAt: options.monotonic() };
    return value;
  }

  return async () => {
    if (current && options.monotonic() - current.readAt < maxAgeMs) return current.value;
    inFlight ??= read().finally(() => {
      inFlight = undefined;
    });
    return inFlight;
  };
}
