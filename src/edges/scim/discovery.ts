/**
 * What this service provider can do (RFC 7643 §5 to §7, RFC 9865 §4): exactly what works, because clients act on it.
 * `base` is the absolute URL of `/scim/v2`.
 */

import { bodyBytes } from '../../platform/http/body.ts';
import { agentSchema, describeAgentSchema } from './agent-schema.ts';
import { maxBulkOperations } from './bulk-request.ts';
import { cursorTimeoutSeconds } from './cursor.ts';
import { defaultCount, maxCount } from './list.ts';
import type { Resource } from './resource.ts';
import { describeSchemas, groupSchema, userSchema } from './schema.ts';

const core = 'urn:ietf:params:scim:schemas:core:2.0';

export const serviceProviderConfig = (base: string): Resource => ({
  schemas: [`${core}:ServiceProviderConfig`],
  patch: { supported: true },
  bulk: { supported: true, maxOperations: maxBulkOperations, maxPayloadSize: bodyBytes },
  filter: { supported: true, maxResults: maxCount },
  changePassword: { supported: false },
  sort: { supported: true },
  etag: { supported: true },
  pagination: {
    cursor: true,
    index: true,
    defaultPaginationMethod: 'index',
    defaultPageSize: defaultCount,
    maxPageSize: maxCount,
    cursorTimeout: cursorTimeoutSeconds,
  },
  authenticationSchemes: [
    {
      type: 'oauthbearertoken',
      name: 'Bearer token of the directory',
      description: 'The token shown once when the directory was created, or its token rotated.',
      specUri: 'https://www.rfc-editor.org/info/rfc6750',
      primary: true,
    },
  ],
  meta: { resourceType: 'ServiceProviderConfig', location: `${base}/ServiceProviderConfig` },
});

const descriptions = { User: 'User Account', Group: 'Group', Agent: 'AI Agent' };

/** `hasAgents`: whether `/Agents` is there for who asks. */
export const resourceTypes = (base: string, hasAgents: boolean): Resource[] =>
  [userSchema, groupSchema, ...(hasAgents ? [agentSchema] : [])].map(({ name, urn, extensions }) => ({
    schemas: [`${core}:ResourceType`],
    id: name,
    name,
    endpoint: `/${name}s`,
    description: descriptions[name],
    schema: urn,
    ...(extensions.length === 0
      ? {}
      : { schemaExtensions: extensions.map((extension) => ({ schema: extension.urn, required: false })) }),
    meta: { resourceType: 'ResourceType', location: `${base}/ResourceTypes/${name}` },
  }));

export const schemas = (base: string, hasAgents: boolean): Resource[] => [
  ...describeSchemas(`${base}/Schemas`),
  ...(hasAgents ? [describeAgentSchema(base)] : []),
];
