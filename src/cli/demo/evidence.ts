/** What is left to show afterwards: the signed receipt of an offboarding, and the audit log of everything. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose';
import { jwtTypes } from '../../protocol.ts';
import { discoverIssuer, getJson } from '../issuer.ts';
import { isRow, type Row } from '../json.ts';
import type { Paint } from '../print.ts';
import { renderReceipt } from '../receipt-page.ts';
import { type Crew, firstName } from './cast.ts';
import { check, readRow, readRows, readText } from './checks.ts';
import type { Stage } from './stage.ts';

const patienceMs = 5_000;
/** Each round alone leaves more. */
const leastEntries = 24;
/** What a receipt is about; all of it stands in the signature. */
const signedMembers = ['id', 'person', 'agents', 'tokensUnexpired', 'request', 'requestedAt', 'committedAt'];

/** @param isTold the first round shows it whole */
export async function showReceipt(stage: Stage, crew: Crew, isTold: boolean, paint: Paint): Promise<void> {
  const { leaver, lead, sub } = crew;
  await stage.page.step(`The receipt: signed, and acknowledged by the CRM API`, async ({ add }) => {
    const receipt = await awaitReceipt(stage, leaver.id);
    check(readRow(receipt, 'person').id === leaver.id, `a receipt for ${firstName(leaver)}`, receipt);
    check(readRow(receipt, 'request').method === 'PATCH', "the IdP's PATCH", receipt.request);
    const stopped = readRows(receipt, 'agents').map((agent) => readText(agent, 'id'));
    const expected = [lead.id, sub.id];
    check(isDeepStrictEqual(stopped.toSorted(), expected.toSorted()), `${lead.name} and ${sub.name}`, receipt.agents);
    check(receipt.tokensUnexpired === 2, '2 tokens that were still unexpired', receipt.tokensUnexpired);
    await verifySignature(stage, receipt);
    const signature = 'the signature fits the keys that Writ publishes';
    if (isTold) add(`\n${renderReceipt(receipt, paint)}\n\n${signature}`);
    else add(`${stopped.length} agents stopped, ${receipt.tokensUnexpired} tokens dead; ${signature}`);
  });
}

/** Acknowledgements and the instant of the answer arrive a moment after the answer itself. */
async function awaitReceipt(stage: Stage, person: string): Promise<Row> {
  const { items } = await stage.admin.list('/offboardings', { person });
  check(items.length === 1, 'one offboarding', items);
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    const receipt = await stage.admin.get(`/offboardings/${readText(items[0], 'id')}`);
    const verifiers = readRows(receipt, 'acknowledgements').map((one) => one.verifier);
    const isComplete = verifiers.includes('crm-api') && receipt.answeredAt !== null;
    if (isComplete) return receipt;
    check(performance.now() < giveUpAt, "the CRM API's acknowledgement", receipt);
    await sleep(20, undefined, { signal: stage.interrupted });
  }
}

async function verifySignature(stage: Stage, receipt: Row): Promise<void> {
  const { issuer, jwksUri } = await discoverIssuer(stage.issuer, stage.fetch);
  const keys = await getJson(jwksUri, stage.fetch);
  check(isKeySet(keys), 'a JWK Set', keys);
  const { payload } = await jwtVerify(readText(receipt, 'jws'), createLocalJWKSet(keys), {
    issuer,
    typ: jwtTypes.receipt,
  });
  const altered = signedMembers.find((name) => !(name in payload) || !isDeepStrictEqual(payload[name], receipt[name]));
  check(altered === undefined, 'what was signed', `another ${altered}`);
}

const isKeySet = (value: Row): value is Row & JSONWebKeySet => Array.isArray(value.keys) && value.keys.every(isRow);

export async function verifyAudit(stage: Stage): Promise<void> {
  await stage.page.step('The audit log is whole, from the first entry to the last', async ({ add }) => {
    const giveUpAt = performance.now() + patienceMs;
    for (;;) {
      const answer = await stage.admin.post('/audit/verify', {});
      const { ok, entries } = answer;
      check(ok === true, 'a log without a bad entry', answer);
      check(typeof entries === 'number' && entries >= leastEntries, 'all that happened here', answer);
      // Entries are sealed in batches; what is not yet carries its node's counter and MAC.
      const sealed = isRow(answer.checkpoint) ? Number(answer.checkpoint.number) : 0;
      if (sealed >= entries) return add(`${entries} entries, chained by their hashes, signed up to the last`);
      check(performance.now() < giveUpAt, 'a signed checkpoint of all entries', answer);
      await sleep(20, undefined, { signal: stage.interrupted });
    }
  });
}
