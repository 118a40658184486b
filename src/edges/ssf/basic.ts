/** HTTP Basic as OAuth uses it: both parts are form-urlencoded before they are joined (RFC 6749 §2.3.1, RFC 7617). */

export interface BasicCredentials {
  clientId: string;
  secret: string;
}

/** The credentials of an `Authorization` header; null when there are none that could be anybody's. */
export function parseBasic(header: string | undefined): BasicCredentials | null {
  const encoded = /^basic +([A-Za-z0-9+/_-]{1,2048}={0,2})$/i.exec(header ?? '')?.[1];
  if (encoded === undefined) return null;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 1) return null;
  try {
    const [clientId, secret] = [text.slice(0, colon), text.slice(colon + 1)].map(decodeFormPart);
    // Control characters are in no credential of ours, and PostgreSQL refuses NUL with an error.
    if (!clientId || !secret || /\p{Cc}/u.test(clientId + secret)) return null;
    return { clientId, secret };
  } catch {
    return null;
  }
}

const decodeFormPart = (part: string): string => decodeURIComponent(part.replaceAll('+', ' '));
