/**
 * What is said of client authentication before the engine sees the request, where its answer is not the standard's:
 * no credentials, an `Authorization` that cannot be read, and an assertion that cannot be one are failed authentication
 * (`invalid_client`: RFC 6749 §5.2, RFC 7521 §4.2.1, RFC 7662 §2.3), not a malformed request. Whether credentials that can
 * be read are right is for the engine alone.
 */
import { parseJson } from '../../platform/http/body.ts';
import { formValue, formValues, type RequestState } from './state.ts';

const tokenPart = /^[A-Za-z0-9_-]+$/;

/** The `sub` of a compact JWT, unverified; `undefined`: this is none. As strict and as bounded as any body: the engine is neither. */
export function readSub(jwt: string): unknown {
  const [header, claims, signature, ...rest] = jwt.split('.');
  if (header === undefined || claims === undefined || signature === undefined || rest.length > 0) return undefined;
  if (![header, claims].every((part) => tokenPart.test(part)) || !/^[A-Za-z0-9_-]*$/.test(signature)) return undefined;
  try {
    const [head, body]: unknown[] = [header, claims].map((part) => parseJson(Buffer.from(part, 'base64url')));
    if (typeof head !== 'object' || head === null) return undefined;
    return typeof body === 'object' && body !== null && 'sub' in body ? body.sub : undefined;
  } catch {
    return undefined;
  }
}

function isReadableBasic(authorization: string): boolean {
  const [, encoded] = /^basic ([A-Za-z0-9+/]+={0,2})$/i.exec(authorization) ?? [];
  if (encoded === undefined) return false;
  const pair = Buffer.from(encoded, 'base64').toString('utf8');
  const at = pair.indexOf(':');
  if (at < 1 || at === pair.length - 1) return false;
  try {
    return !/[^\x20-\x7E]/.test(decodeURIComponent(pair.replaceAll('+', ' ')));
  } catch {
    return false;
  }
}

/** Why the request cannot be authenticated at all, for the log; `undefined`: it is for the engine to decide. */
export function findCredentialProblem(state: RequestState, authorization: string | undefined): string | undefined {
  const assertions = formValues(state, 'client_assertion');
  const inBody = assertions.length + formValues(state, 'client_secret').length;
  if (authorization === undefined && inBody === 0) return 'no client authentication';
  // Two methods, and repeated parameters, are malformed requests; the engine says so.
  if (authorization !== undefined) {
    return inBody > 0 || isReadableBasic(authorization)
      ? undefined
      : 'Authorization is not the Basic scheme of RFC 6749';
  }
  const [assertion] = assertions;
  if (assertion === undefined || inBody > 1) return undefined;
  const sub = readSub(assertion);
  if (typeof sub !== 'string') return 'client_assertion is not a JWT with a subject';
  const clientId = formValue(state, 'client_id');
  return clientId === undefined || clientId === sub ? undefined : 'client_id is not the subject of client_assertion';
}
