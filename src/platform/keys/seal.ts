/**
 * Secrets at rest. The key encryption key (KEK, 32 bytes, `WRIT_KEK`) seals private signing keys and is the root of the
 * keys that are derived for other purposes; it is never used for anything else and never stored.
 *
 * A sealed value is: version (1 byte, 1) | nonce (12 bytes) | tag (16 bytes) | ciphertext, AES-256-GCM, with the name of
 * what is sealed as additional data, so that a sealed value moved to another row does not open there.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

const version = 1;
const nonceBytes = 12;
const tagBytes = 16;

/** Seals `plaintext` under the KEK for the place called `name`. */
export function seal(kek: Uint8Array, name: string, plaintext: Uint8Array): Buffer {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv('aes-256-gcm', kek, nonce, { authTagLength: tagBytes });
  cipher.setAAD(Buffer.from(name, 'utf8'));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([Buffer.of(version), nonce, cipher.getAuthTag(), ciphertext]);
}

/** @throws Error when `sealed` was not sealed under this KEK for `name`, or has been changed since. */
export function open(kek: Uint8Array, name: string, sealed: Uint8Array): Buffer {
  if (sealed[0] !== version || sealed.length < 1 + nonceBytes + tagBytes) {
    throw new Error(`${name}: not a sealed value of version ${version}`);
  }
  const nonce = sealed.subarray(1, 1 + nonceBytes);
  const tag = sealed.subarray(1 + nonceBytes, 1 + nonceBytes + tagBytes);
  const decipher = createDecipheriv('aes-256-gcm', kek, nonce, { authTagLength: tagBytes });
  decipher.setAAD(Buffer.from(name, 'utf8'));
  decipher.setAuthTag(tag);
  return Buffer.concat([decipher.update(sealed.subarray(1 + nonceBytes + tagBytes)), decipher.final()]);
}

/** The KEK and, while it is being exchanged, the one before. */
export interface Keks {
  /** 32 bytes. */
  kek: Uint8Array;
  previousKek?: Uint8Array | undefined;
}

/** Opens by whichever KEK fits. @throws what `opens` throws for the last one. */
export function openByEither<T>({ kek, previousKek }: Keks, opens: (kek: Uint8Array) => T): T {
  try {
    return opens(kek);
  } catch (error) {
    if (previousKek === undefined) throw error;
    return opens(previousKek);
  }
}

/** The same secret sealed under `kek`; `undefined`: it is already. @throws Error when neither KEK opens it. */
export function rewrap(keks: Keks, name: string, sealed: Uint8Array): Buffer | undefined {
  let isCurrent = true;
  const plaintext = openByEither(keks, (kek) => {
    isCurrent = kek === keks.kek;
    return open(kek, name, sealed);
  });
  return isCurrent ? undefined : seal(keks.kek, name, plaintext);
}

/** What a derived key is for; a key has one purpose. */
export type KeyPurpose = 'audit-mac' | 'scim-cursor';

/** The 32-byte key for `purpose`, the same on every node that has this KEK (HKDF-SHA256, RFC 5869). */
export const deriveKey = (kek: Uint8Array, purpose: KeyPurpose): Buffer =>
  Buffer.from(hkdfSync('sha256', kek, Buffer.alloc(0), `writ/${purpose}`, 32));
