/** What the server says of itself as an authorization server (RFC 8414). */
import { reach } from './client.ts';
import { CliFailure, exitCodes } from './failure.ts';
import { isRow, parseJson } from './json.ts';

const timeoutMs = 15_000;

/** @see https://www.rfc-editor.org/rfc/rfc8414#section-3.1 (the suffix goes before an issuer's path) */
export async function discoverIssuer(url: string, fetcher: typeof fetch): Promise<{ issuer: string; jwksUri: string }> {
  const { origin, pathname } = new URL(url);
  const target = `${origin}/.well-known/oauth-authorization-server${pathname.replace(/\/+$/, '')}`;
  const metadata = await getJson(target, fetcher);
  const { issuer, jwks_uri: jwksUri } = metadata;
  if (typeof issuer !== 'string' || typeof jwksUri !== 'string') {
    throw new CliFailure(
      exitCodes.unavailable,
      `What answered at ${target} is no authorization server's metadata: check --url or WRIT_URL.`,
    );
  }
  return { issuer, jwksUri };
}

export async function getJson(target: string, fetcher: typeof fetch): Promise<Record<string, unknown>> {
  const response = await reach(fetcher, target, {
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(timeoutMs),
  });
  const value = parseJson(await response.text());
  if (response.ok && isRow(value)) return value;
  throw new CliFailure(
    exitCodes.unavailable,
    `${target} answered ${response.status} and no JSON object: check --url or WRIT_URL.`,
  );
}
