/**
 * RFC 8414 metadata: exactly what works, the same at both well-known addresses.
 *
 * `authorization_endpoint` exists for client libraries that refuse metadata without one; nothing interactive does, so it
 * refuses every request. `response_types_supported` is required and has nothing to list.
 */
import { agentIntentType, grantTypes, type WritMetadata } from '../../protocol.ts';
import { assertionAlgorithms, authenticationMethods } from './engine.ts';

export function toMetadata(issuer: string): WritMetadata & Record<string, unknown> {
  const methods = [...authenticationMethods];
  const algorithms = [...assertionAlgorithms];
  return {
    issuer,
    authorization_endpoint: `${issuer}/oauth/authorize`,
    token_endpoint: `${issuer}/oauth/token`,
    jwks_uri: `${issuer}/oauth/jwks`,
    introspection_endpoint: `${issuer}/oauth/introspect`,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    response_types_supported: [],
    grant_types_supported: Object.values(grantTypes),
    token_endpoint_auth_methods_supported: methods,
    token_endpoint_auth_signing_alg_values_supported: algorithms,
    introspection_endpoint_auth_methods_supported: methods,
    introspection_endpoint_auth_signing_alg_values_supported: algorithms,
    revocation_endpoint_auth_methods_supported: methods,
    revocation_endpoint_auth_signing_alg_values_supported: algorithms,
    authorization_details_types_supported: [agentIntentType],
    service_documentation: `${issuer}/api/docs`,
    writ_feed_endpoint: `${issuer}/revocations`,
  };
}
