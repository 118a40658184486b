/** The trust tier of an agent, 0 to 3, from what is known of it. Pure. */

/** A private key never travels; a shared secret stands in configurations and leaks with them. */
export const trustOf = (agent: { credentialKind: 'jwks' | 'secret' }): number =>
  agent.credentialKind === 'jwks' ? 2 : 1;
