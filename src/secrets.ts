/** The two secrets that Writ needs and may make up where it is only tried out on one machine. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Config } from './config.ts';
import { makeSecret } from './platform/keys/secret.ts';
import { resolveSecretFile } from './platform/keys/secret-file.ts';

export interface Secrets {
  kek: Buffer;
  adminToken: string;
  /** Set when the token was not given in the environment. */
  adminTokenFile: string | undefined;
}

const kekFile = 'kek';
export const adminTokenFile = 'admin-token';

/** As given, or made once into the data directory (mode 0600), the same for every start. */
export async function resolveSecrets(config: Config): Promise<Secrets> {
  const { dataDir } = config;
  const kek =
    config.kek ??
    Buffer.from((await resolveSecretFile(dataDir, kekFile, () => randomBytes(32).toString('base64'))).secret, 'base64');
  if (kek.length !== 32) throw new Error(`${join(dataDir, kekFile)} does not hold 32 bytes in base64`);
  if (config.adminToken !== undefined) return { kek, adminToken: config.adminToken, adminTokenFile: undefined };
  const { secret, path } = await resolveSecretFile(dataDir, adminTokenFile, () => makeSecret('writ_admin'));
  return { kek, adminToken: secret, adminTokenFile: path };
}
