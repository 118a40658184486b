import { VerifyError } from './errors.ts';

/** A web `Request`, or what has its headers: a `Headers`, or Node's `IncomingMessage`. */
export type BearerSource =
  | Request
  | { headers: HeadersLike; url?: string | undefined; rawHeaders?: readonly string[] | undefined };
type HeadersLike =
  | { get(name: string): string | null }
  | { readonly [name: string]: string | readonly string[] | undefined };

/**
 * Finds the one bearer token of a request. Does **not** take it from the query or the body (OAuth 2.1 and MCP forbid the
 * first); one in the query beside one in the header is two credentials and refuses the request.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc6750#section-2.1 RFC 6750 §2, §2.1, §3.1}
 */
export function extractToken(source: BearerSource): string {
  const value = readAuthorization(source);
  const match = /^bearer(?: +(.*))?$/is.exec(value ?? '');
  if (!match) throw new VerifyError('token_missing');
  const token = match[1] ?? '';
  // Two headers arrive joined by a comma, which is not among a token's characters.
  if (!/^[\w\-.~+/]+=*$/.test(token)) throw new VerifyError('request_malformed');
  if (typeof source.url === 'string' && /[?&]access_token=/i.test(source.url)) {
    throw new VerifyError('request_malformed', { cause: 'access_token' });
  }
  return token;
}

function readAuthorization(source: BearerSource): string | undefined {
  const { headers } = source;
  if (isHeaders(headers)) return headers.get('authorization') ?? undefined;
  // Node keeps the first of several Authorization headers and drops the rest: only the raw list shows them.
  const raw = 'rawHeaders' in source ? (source.rawHeaders ?? []) : [];
  const count = raw.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'authorization').length;
  const values = Object.entries(headers)
    .filter(([name, value]) => name.toLowerCase() === 'authorization' && value !== undefined)
    .flatMap(([, value]) => value ?? []);
  if (count > 1 || values.length > 1) throw new VerifyError('request_malformed', { cause: 'authorization' });
  return values[0];
}

function isHeaders(headers: HeadersLike): headers is { get(name: string): string | null } {
  return typeof headers.get === 'function';
}
