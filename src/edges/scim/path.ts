/**
 * Paths as they are routed. Connectors are given a base URL with a slash too many, append one, or spell an endpoint in lower
 * case; an IdP takes the 404 for "already gone", so all of these lead where the right one does.
 */
const base = '/scim/v2';
const endpoints = new Map(
  ['Users', 'Groups', 'Agents', 'Bulk', 'Me', 'ServiceProviderConfig', 'ResourceTypes', 'Schemas'].map((name) => [
    name.toLowerCase(),
    name,
  ]),
);

/** An endpoint as it is spelled here; any other word as it is. */
export const endpointOf = (word: string): string => endpoints.get(word.toLowerCase()) ?? word;

/** The path to route by; one that is not below the base stays as it is. */
export function routedPath(path: string): string {
  if (!path.startsWith(`${base}/`)) return path;
  const [first = '', ...rest] = path
    .slice(base.length)
    .split('/')
    .filter((segment) => segment !== '');
  return [base, endpointOf(first), ...rest].join('/');
}
