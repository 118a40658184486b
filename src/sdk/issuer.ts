/** Which addresses both SDKs trust with secrets, keys and tokens. */

/** Parses an absolute URL that secrets or keys may travel to: https, or http on loopback. Throws `TypeError`. */
export function parseSecureUrl(value: unknown, name: string): URL {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  if (!url) throw new TypeError(`${name} is not an absolute URL`);
  const isLoopback = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback)) {
    throw new TypeError(`${name} is neither https nor on loopback`);
  }
  if (url.username || url.password) throw new TypeError(`${name} carries credentials`);
  return url;
}

/**
 * Where an issuer's metadata is: the well-known name stands between host and path. Throws `TypeError`.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8414#section-3.1 RFC 8414 §3.1}
 */
export function locateMetadata(issuer: string): string {
  const url = parseSecureUrl(issuer, 'issuer');
  if (url.search || url.hash) throw new TypeError('issuer has a query or a fragment');
  return `${url.origin}/.well-known/oauth-authorization-server${url.pathname.replace(/\/+$/, '')}`;
}
