/** Keys on the disk of whoever runs the CLI. A private key is written once, for its owner alone, and never sent. */
import { createPublicKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { calculateJwkThumbprint } from 'jose';
import { usage } from './failure.ts';
import { isRow, parseJson, type Row } from './json.ts';

const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/**
 * Makes an ES256 key pair and writes the private JWK to `path`, mode 0600. Refuses to overwrite. `discard` removes the
 * file again, for when the server refused the agent that the key was made for.
 */
export async function generateKeyFile(path: string): Promise<{ jwks: Row; discard: () => void }> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicJwk = publicKey.export({ format: 'jwk' });
  const names = { kid: await calculateJwkThumbprint({ ...publicJwk, kty: 'EC' }), alg: 'ES256', use: 'sig' };
  const content = `${JSON.stringify({ ...privateKey.export({ format: 'jwk' }), ...names }, null, 2)}\n`;
  try {
    writeFileSync(path, content, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if (isRow(error) && error.code === 'EEXIST')
      throw usage(`${path} exists already, and a key is never overwritten: name another file.`);
    throw usage(`Cannot write the private key to ${path}: ${messageOf(error)}`);
  }
  return { jwks: { keys: [{ ...publicJwk, ...names }] }, discard: () => rmSync(path, { force: true }) };
}

/** A JWK Set from a file that holds one, or one public JWK. A private key in it is refused, not stripped in silence. */
export function readPublicJwks(path: string): Row {
  const content = readJsonFile(path);
  const keys = Array.isArray(content.keys) ? content.keys : [content];
  for (const key of keys) {
    if (!isRow(key) || typeof key.kty !== 'string') throw usage(`${path} is neither a JWK Set nor a JWK (RFC 7517).`);
    const secret = privateMembers.find((name) => key[name] !== undefined);
    if (secret !== undefined) {
      throw usage(
        `${path} holds a private key (member "${secret}"), which must not leave its owner: give the public JWK.`,
      );
    }
  }
  return { keys };
}

/** The private JWK that an agent authenticates with. */
export function readPrivateJwk(path: string): JsonWebKey {
  const content = readJsonFile(path);
  try {
    createPublicKey({ key: content, format: 'jwk' });
  } catch (error) {
    throw usage(`${path} is no JWK (RFC 7517): ${messageOf(error)}`);
  }
  if (typeof content.d !== 'string')
    throw usage(`${path} holds no private key: \`agents create --generate-key\` makes one.`);
  return content;
}

export function readJsonFile(path: string): Row {
  const value = parseJson(readTextFile(path));
  if (!isRow(value)) throw usage(`${path} does not hold a JSON object.`);
  return value;
}

/** `-` is standard input. */
export function readTextFile(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw usage(`Cannot read ${path === '-' ? 'standard input' : path}: ${messageOf(error)}`);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
