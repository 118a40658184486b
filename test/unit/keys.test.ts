import { createPublicKey, randomBytes, verify } from 'node:crypto';
import fc from 'fast-check';
import { calculateJwkThumbprint, createLocalJWKSet, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listKeys, revokeKey, rotateKeys } from '../../src/domain/tokens/key-lifecycle.ts';
import { createBus } from '../../src/platform/bus/bus.ts';
import { signAccessToken } from '../../src/platform/keys/access-token.ts';
import { makeKeyPair, openKeyPair, sealKeyPair } from '../../src/platform/keys/key-pair.ts';
import { createKeyring, type Keyring } from '../../src/platform/keys/keyring.ts';
import { deriveKey, open, seal } from '../../src/platform/keys/seal.ts';
import { readStatement, signInput, signStatement } from '../../src/platform/keys/sign.ts';
import { type AccessTokenClaims, jwtTypes, signingAlgorithms } from '../../src/protocol.ts';
import { type AuditLog, openAuditLog, silentLog } from '../support/audit-log.ts';

const claims: AccessTokenClaims = {
  iss: 'http://localhost:8080',
  aud: 'https://crm.example.com',
  sub: 'a',
  client_id: 'a',
  iat: Math.floor(Date.now() / 1000),
  exp: Math.floor(Date.now() / 1000) + 300,
  jti: 'j',
  authorization_details: [],
  human_owner_id: 'p',
  epochs: {},
  agent: { name: 'Ärger', environment: 'test', trust: 2 },
};

describe('sealing', () => {
  const kek = randomBytes(32);

  it('opens only under the same key, for the same name, unchanged', () => {
    const sealed = seal(kek, 'a', Buffer.from('secret'));
    expect(open(kek, 'a', sealed).toString()).toBe('secret');
    expect(() => open(randomBytes(32), 'a', sealed)).toThrow();
    expect(() => open(kek, 'b', sealed)).toThrow();
    for (let index = 0; index < sealed.length; index++) {
      const changed = Buffer.from(sealed);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect(() => open(kek, 'a', changed)).toThrow();
    }
    for (let length = 0; length < sealed.length; length++) {
      expect(() => open(kek, 'a', sealed.subarray(0, length))).toThrow();
    }
  });

  it('derives the same key on every node, and not the KEK', () => {
    expect(deriveKey(kek, 'audit-mac')).toEqual(deriveKey(Buffer.from(kek), 'audit-mac'));
    expect(deriveKey(kek, 'audit-mac')).not.toEqual(kek);
    expect(deriveKey(kek, 'audit-mac')).toHaveLength(32);
  });
});

describe('a key pair', () => {
  it.each(signingAlgorithms)(
    '%s: kid is the thumbprint, and the sealed half opens as the same key',
    async (algorithm) => {
      const kek = randomBytes(32);
      const pair = await makeKeyPair(algorithm);
      expect(pair.kid).toBe(await calculateJwkThumbprint(pair.publicJwk));
      expect(Object.keys(pair.publicJwk)).not.toContain('d');
      const opened = openKeyPair(kek, pair.kid, sealKeyPair(kek, pair));
      expect(opened.publicJwk).toEqual(pair.publicJwk);
      expect(opened.algorithm).toBe(algorithm);
      const other = await makeKeyPair(algorithm);
      const smuggled = seal(kek, pair.kid, other.privateKey.export({ type: 'pkcs8', format: 'der' }));
      expect(() => openKeyPair(kek, pair.kid, smuggled)).toThrow(/another one/);
    },
  );

  it('ES256: every signature has the form of RFC 7518, short numbers too', async () => {
    const pair = await makeKeyPair('ES256');
    // Of 600 signatures some five have an R or S that begins with a zero byte.
    for (let run = 0; run < 600; run++) {
      const signature = Buffer.from(signInput(pair, `input.${run}`), 'base64url');
      expect(signature).toHaveLength(64);
      const options = { key: pair.publicKey, dsaEncoding: 'ieee-p1363' as const };
      expect(verify('sha256', Buffer.from(`input.${run}`), options, signature)).toBe(true);
    }
  });
});

describe('the keyring', () => {
  let log: AuditLog;
  let ahead = 0;
  const now = () => new Date(Date.now() + ahead);
  beforeAll(async () => {
    log = await openAuditLog({ now });
  });
  afterAll(() => log[Symbol.asyncDispose]());

  const verifyToken = (keyring: Keyring, token: string) =>
    jwtVerify(token, createLocalJWKSet({ keys: keyring.publicJwks() }), { typ: 'at+jwt', audience: claims.aud });

  it.each(signingAlgorithms)('%s: signs tokens that a plain verifier accepts', async (algorithm) => {
    const token = signAccessToken(log.keyring, algorithm, claims);
    const { payload, protectedHeader } = await verifyToken(log.keyring, token);
    expect(payload).toEqual(claims);
    expect(protectedHeader).toEqual({
      alg: algorithm,
      typ: 'at+jwt',
      kid: log.keyring.signingKey(algorithm).kid,
    });
  });

  it('signs statements that are no tokens, and refuses to make them look like one', async () => {
    const jws = signStatement(log.keyring, jwtTypes.receipt, { iss: claims.iss, n: 1 });
    expect((await jwtVerify(jws, createLocalJWKSet({ keys: log.keyring.publicJwks() }))).payload).toMatchObject({
      n: 1,
    });
    await expect(verifyToken(log.keyring, jws)).rejects.toThrow();
    expect(readStatement(log.keyring, jwtTypes.receipt, jws)?.claims).toMatchObject({ n: 1 });
    expect(readStatement(log.keyring, jwtTypes.checkpoint, jws)).toBeNull();
    expect(() => signStatement(log.keyring, jwtTypes.receipt, { aud: 'x' })).toThrow(/audience/);
    const typ = jwtTypes.accessToken as string as typeof jwtTypes.receipt;
    expect(() => signStatement(log.keyring, typ, {})).toThrow(/not a statement/);
  });

  it('reads no statement of which one character was changed', () => {
    const jws = signStatement(log.keyring, jwtTypes.checkpoint, { number: 12, hash: 'abc' });
    const characters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.';
    fc.assert(
      // The last character of a base64url part can carry bits that no byte is made of.
      fc.property(fc.nat(jws.length - 2), fc.constantFrom(...characters), (place, character) => {
        fc.pre(jws[place] !== character);
        const changed = jws.slice(0, place) + character + jws.slice(place + 1);
        const before = readStatement(log.keyring, jwtTypes.checkpoint, changed);
        expect(before).toBeNull();
      }),
    );
    for (const broken of ['', '.', '..', '...', `${jws}.x`, 'a.b.c', jws.slice(0, -10), 'bnVsbA.bnVsbA.']) {
      expect(readStatement(log.keyring, jwtTypes.checkpoint, broken)).toBeNull();
    }
  });

  it('nodes that start at once agree on the keys', async () => {
    await log.sql`delete from signing_keys`;
    const start = () => createKeyring({ db: log.db, kek: log.kek, now, log: silentLog });
    const rings = await Promise.all([start(), start(), start()]);
    const kids = rings.map((ring) => signingAlgorithms.map((algorithm) => ring.signingKey(algorithm).kid));
    expect(new Set(kids.map(String)).size).toBe(1);
    expect(await listKeys(log.db)).toHaveLength(3);
    await Promise.all(rings.map((ring) => ring.close()));
    await log.keyring.refresh();
  });

  it('a key of another KEK stops the start with an error that says what to do', async () => {
    const start = createKeyring({ db: log.db, kek: randomBytes(32), now, log: silentLog });
    await expect(start).rejects.toThrow(/signing key .* does not open with this WRIT_KEK/);
  });

  it('a rotated key is published before it signs, and the old one after', async () => {
    const before = log.keyring.signingKey('ES256').kid;
    const token = signAccessToken(log.keyring, 'RS256', { ...claims, exp: claims.exp + 3600 });
    const made = await rotateKeys(log.db, await log.makeAct(), { kek: log.kek, publishAheadSeconds: 60 });
    expect(made.map((key) => key.status)).toEqual(['pending', 'pending', 'pending']);
    await log.keyring.refresh();
    const next = made.find((key) => key.algorithm === 'ES256')?.kid;
    const kids = () => log.keyring.publicJwks().map((jwk) => jwk.kid);
    expect(kids()).toHaveLength(6);
    expect(kids()).toContain(next);
    expect(log.keyring.signingKey('ES256').kid).toBe(before);
    const at = (seconds: number) => {
      ahead = seconds * 1000;
    };
    at(58);
    expect(log.keyring.signingKey('ES256').kid).toBe(before);
    at(62);
    expect(log.keyring.signingKey('ES256').kid).toBe(next);
    expect(kids()[0]).toBe(next);
    await expect(verifyToken(log.keyring, token)).resolves.toBeDefined();
    // Token keys go when their tokens have died, the statements' key stays for a year and more.
    at(60 + 900 + 200);
    expect(kids()).toHaveLength(6);
    at(60 + 900 + 302);
    expect(kids()).toHaveLength(4);
    expect(kids()).toContain(before);
    at(401 * 24 * 3600);
    expect(kids()).toHaveLength(3);
    expect(log.keyring.verificationKey(before)).toMatchObject({ kid: before, revoked: false });
    at(0);
  });

  it('a revoked signer is replaced at once, told to the feed and published no longer', async () => {
    const act = await log.makeAct();
    const kid = log.keyring.signingKey('Ed25519').kid;
    const revoked = await revokeKey(log.db, act, kid, { kek: log.kek });
    expect(revoked.replacement).not.toBeNull();
    await log.keyring.refresh();
    expect(log.keyring.signingKey('Ed25519').kid).toBe(revoked.replacement);
    expect(log.keyring.publicJwks().map((jwk) => jwk.kid)).not.toContain(kid);
    expect(log.keyring.verificationKey(kid)?.revoked).toBe(true);
    expect(await log.sql`select kid from revocations where kid is not null`).toMatchObject([{ kid }]);
    // Again: the same answer, no second replacement, no second entry.
    const again = await revokeKey(log.db, act, kid, { kek: log.kek });
    expect(again).toEqual({ kid, revokedAt: revoked.revokedAt, replacement: null });
    expect(Math.abs(revoked.revokedAt.getTime() - Date.now())).toBeLessThan(60_000);
    expect(await log.sql`select from audit_entries where kind = 'key.revoked'`).toHaveLength(1);
    await expect(revokeKey(log.db, act, 'nobody', { kek: log.kek })).rejects.toMatchObject({ code: 'not_found' });
  });

  it('a revoked successor puts off the retirement of the key that signs', async () => {
    await using own = await openAuditLog();
    const act = await own.makeAct();
    const find = async (kid: string) => (await listKeys(own.db)).find((key) => key.kid === kid);
    const signer = own.keyring.signingKey('RS256').kid;
    const made = await rotateKeys(own.db, act, { kek: own.kek, publishAheadSeconds: 300 });
    const pending = made.find((key) => key.algorithm === 'RS256');
    expect((await find(signer))?.retiredAt).toEqual(pending?.signsFrom);
    const revoked = await revokeKey(own.db, act, pending?.kid ?? '', { kek: own.kek });
    expect(revoked.replacement).toBeNull();
    expect(await find(signer)).toMatchObject({ status: 'signing', retiredAt: null });
    await own.keyring.refresh();
    expect(own.keyring.signingKey('RS256').kid).toBe(signer);
  });

  it('a row that somebody without the KEK put in is neither used nor published', async () => {
    const stranger = await makeKeyPair('ES256');
    await log.sql`
      insert into signing_keys (kid, algorithm, public_jwk, private_key, signs_from)
      values (${stranger.kid}, 'ES256', ${JSON.stringify(stranger.publicJwk)}::jsonb,
        ${sealKeyPair(randomBytes(32), stranger)}, now())`;
    // A known row whose public half was exchanged changes nothing either.
    await log.sql`update signing_keys set public_jwk = ${JSON.stringify(stranger.publicJwk)}::jsonb`;
    await log.keyring.refresh();
    expect(log.keyring.verificationKey(stranger.kid)).toBeUndefined();
    expect(log.keyring.signingKey('ES256').kid).not.toBe(stranger.kid);
    for (const jwk of log.keyring.publicJwks()) {
      expect(jwk.kid).not.toBe(stranger.kid);
      const key = log.keyring.verificationKey(jwk.kid)?.publicKey;
      expect(key?.equals(createPublicKey({ key: jwk, format: 'jwk' }))).toBe(true);
    }
    await log.sql`delete from signing_keys where kid = ${stranger.kid}`;
  });

  it('hears of a change by the bus, and by the poll when there is none', async () => {
    const bus = createBus(log.sql, silentLog);
    const heard = await createKeyring({ db: log.db, kek: log.kek, bus, now, log: silentLog, pollMs: 3_600_000 });
    const polled = await createKeyring({ db: log.db, kek: log.kek, now, log: silentLog, pollMs: 50 });
    const kid = heard.signingKey('ES256').kid;
    await revokeKey(log.db, await log.makeAct(), kid, { kek: log.kek });
    await expect.poll(() => heard.verificationKey(kid)?.revoked, { timeout: 5_000 }).toBe(true);
    await expect.poll(() => polled.verificationKey(kid)?.revoked, { timeout: 5_000 }).toBe(true);
    await Promise.all([heard.close(), polled.close()]);
    await bus.close();
    await log.keyring.refresh();
  });
});
