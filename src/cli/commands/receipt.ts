import { isDeepStrictEqual } from 'node:util';
import type { Command } from 'commander';
import { compactVerify, createLocalJWKSet, errors, type JSONWebKeySet } from 'jose';
import { jwtTypes, signingAlgorithms } from '../../protocol.ts';
import { withExamples } from '../examples.ts';
import { CliFailure, exitCodes, usage } from '../failure.ts';
import { discoverIssuer, getJson } from '../issuer.ts';
import { isRow, parseJson, type Row } from '../json.ts';
import { readJsonFile, readTextFile } from '../key-file.ts';
import { renderReceipt } from '../receipt-page.ts';
import { openSession, type Session } from '../session.ts';

/** `writ receipt verify`: for an auditor, who needs the receipt and the issuer's public keys and no credential. */
export function addReceipt(program: Command): void {
  const receipt = program.command('receipt').description('check receipts without a credential');
  withExamples(
    receipt
      .command('verify')
      .description("verify a receipt's signature and print what was signed")
      .argument('<file>', 'JSON with a member `jws`, or the JWS itself; - is standard input')
      .option('--jwks <file>', "the issuer's public keys, kept earlier: nothing is asked of any server")
      .option(
        '--issuer <url>',
        'who has to have signed it; its keys are fetched unless --jwks is given (--url when absent)',
      )
      .action(async (file: string, options: KeySource, command: Command) =>
        verifyReceipt(openSession(command), file, options),
      ),
    [
      'writ receipt verify receipt.json',
      'writ receipt verify receipt.json --issuer https://writ.example.com',
      'writ receipt verify receipt.json --issuer https://writ.example.com --jwks jwks.json',
    ],
  );
}

interface KeySource {
  jwks?: string;
  issuer?: string;
}

/** The keys, and the issuer whose they are, if that is known. */
async function findKeys(session: Session, { jwks, issuer }: KeySource): Promise<{ keys: Row; issuer?: string }> {
  if (issuer !== undefined && !URL.canParse(issuer)) throw usage(`--issuer: "${issuer}" is no address.`);
  if (jwks !== undefined) return { keys: readJsonFile(jwks), ...(issuer === undefined ? {} : { issuer }) };
  const found = await discoverIssuer(issuer ?? session.url, fetch);
  if (issuer !== undefined && found.issuer !== issuer) {
    throw failed(`what answers at ${issuer} says that it is ${found.issuer}`);
  }
  return { keys: await getJson(found.jwksUri, fetch), issuer: found.issuer };
}

async function verifyReceipt(session: Session, file: string, source: KeySource): Promise<void> {
  const text = readTextFile(file).trim();
  const json = parseJson(text);
  const shown = isRow(json) ? json : {};
  const jws = isRow(json) ? json.jws : text;
  if (typeof jws !== 'string' || jws.split('.').length !== 3) {
    throw usage(`${file} holds no receipt: JSON with a member "jws", or a compact JWS, is expected.`);
  }
  const { keys, issuer } = await findKeys(session, source);
  const signed = await verifySignature(jws, keys);
  if (issuer !== undefined && signed.iss !== issuer) {
    throw failed(`it was signed by ${String(signed.iss)}, and has to be by ${issuer}`);
  }
  const altered = Object.keys(shown).find((name) => name !== 'jws' && !isDeepStrictEqual(shown[name], signed[name]));
  if (altered !== undefined) throw failed(`the member "${altered}" beside the signature is not what was signed`);
  if (session.isJson) return session.print(JSON.stringify(signed, null, 2));
  session.print(renderReceipt(signed, session.paint));
  session.print(`\nThe signature is good: ${String(signed.iss)} signed this.`);
}

/** Only a receipt's `typ` (RFC 8725 §3.11): no other JWT of the issuer passes for one. */
async function verifySignature(jws: string, keys: Row): Promise<Row> {
  if (!isKeySet(keys)) throw usage('The key file is no JWK Set (RFC 7517 §5).');
  try {
    const { payload, protectedHeader } = await compactVerify(jws, createLocalJWKSet(keys), {
      algorithms: [...signingAlgorithms, 'EdDSA'],
    });
    if (protectedHeader.typ !== jwtTypes.receipt)
      throw failed(`it is a ${protectedHeader.typ ?? 'JWS without a typ'}, no receipt`);
    const signed = parseJson(new TextDecoder().decode(payload));
    if (!isRow(signed)) throw failed('what was signed is no JSON object');
    return signed;
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey)
      throw failed("the issuer publishes no such key (any more): it is another's, or was revoked");
    if (error instanceof errors.JWSSignatureVerificationFailed) throw failed('the signature does not fit');
    if (error instanceof errors.JOSEError) throw failed(error.message);
    throw error;
  }
}

const isKeySet = (value: unknown): value is JSONWebKeySet => isRow(value) && Array.isArray(value.keys);

const failed = (why: string): CliFailure =>
  new CliFailure(exitCodes.verificationFailed, `This receipt does not verify: ${why}.`);
