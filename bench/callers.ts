/** What agents send: keys, client assertions and token requests, the same for every server. */
import { generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import type { Request } from './load.ts';

export const api = 'https://crm.example.com';
export const readIntent = 'incident_remediation.ticket_read';
export const searchIntent = 'incident_remediation.ticket_search';

/** Every agent of the bench has the same key: what is measured is verifying with it. */
export const agentKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });

export const publicJwk = { ...agentKey.publicKey.export({ format: 'jwk' }), kid: 'first' };

export const grants = {
  clientCredentials: 'client_credentials',
  exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
};
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

export function signJwt(privateKey: KeyObject, header: object, claims: object): string {
  const input = `${encode({ alg: 'ES256', ...header })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

function signAssertion(issuer: string, clientId: string): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: clientId, sub: clientId, aud: issuer, jti: randomUUID(), iat: now, exp: now + 120 };
  return signJwt(agentKey.privateKey, { typ: 'client-authentication+jwt', kid: publicJwk.kid }, claims);
}

export interface Caller {
  clientId: string;
  /** Absent: it signs assertions. */
  secret?: string;
}

/** A token request of `caller` with these parameters. */
export function askToken(issuer: string, { clientId, secret }: Caller, form: Record<string, string>): Request {
  const headers: Record<string, string> = { 'content-type': 'application/x-www-form-urlencoded' };
  const body = new URLSearchParams(form);
  if (secret === undefined) {
    body.set('client_assertion_type', assertionType);
    body.set('client_assertion', signAssertion(issuer, clientId));
  } else {
    headers.authorization = `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`;
  }
  return { path: '/oauth/token', headers, body: body.toString() };
}
