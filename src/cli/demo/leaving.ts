/** The second half of a round: the owner leaves, and what stops, how fast, and what goes on. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson } from '../json.ts';
import { type Crew, firstName, type Player, sendScim } from './cast.ts';
import { check, readRow } from './checks.ts';
import { describeTime } from './page.ts';
import type { Stage } from './stage.ts';
import { askToken, checkReads, readTicket, refusalOf, type Tokens, tellChallenge } from './work.ts';

/** Bounded exposure: a verifier on the feed refuses within a second. */
const boundMs = 1_000;

export interface Times {
  /** From the IdP's request to its answer. */
  scimMs: number;
  /** From that answer to the first refusal at the API. */
  refusedMs: number;
}

export async function leave(stage: Stage, crew: Crew, tokens: Tokens): Promise<Times> {
  const { page } = stage;
  const { idp, leaver, stayer, lead, sub, other } = crew;
  const [gone, stays] = [firstName(leaver), firstName(stayer)];
  const request = idp.deactivate(leaver.id);
  const departure = await page.step(`${gone} leaves: ${idp.name} says so, Writ answers 200`, async ({ add, took }) => {
    await checkReads(stage, tokens.lead);
    const started = performance.now();
    const response = await sendScim(stage, crew.directory, request);
    const answeredAt = performance.now();
    // The clock runs: the API is asked before anything else is done.
    const refusal = firstRefusal(stage, tokens.lead, answeredAt);
    refusal.catch(() => {}); // told by the step that awaits it
    const body = await response.text();
    check(response.status === 200, '200', `${response.status} ${body}`);
    check(readRow({ user: parseJson(body) }, 'user').active === false, 'a user that is not active', body);
    took(answeredAt - started);
    add(`${request.method} /scim/v2${request.path}\n${printPatch(request.body)}`);
    return { scimMs: answeredAt - started, refusal };
  });
  const refusedMs = await page.step('The same token at the same API: 401 from now on', async ({ add, took }) => {
    const refusal = await departure.refusal;
    check(refusal !== undefined, `401 within ${boundMs} ms`, 'still accepted');
    took(refusal.afterMs);
    add(
      `${tellChallenge(refusal)}\nfirst refused ${describeTime(refusal.afterMs)} after Writ had answered ${idp.name}`,
    );
    const again = await readTicket(stage, tokens.lead);
    check(again.status === 401, '401 again', again);
    return refusal.afterMs;
  });
  await page.step(`${lead.name} asks for a new token: refused, owner_inactive`, async ({ add }) => {
    add(await checkStopped(lead));
  });
  await page.step(`${sub.name}, its sub-agent: 401 at the API, and no new token either`, async () => {
    const refusal = await firstRefusal(stage, tokens.sub, performance.now());
    check(refusal !== undefined, `401 within ${boundMs} ms`, 'still accepted');
    await checkStopped(sub);
  });
  await page.step(`${stays}'s ${other.name} works on: 200, and a new token: 200`, async () => {
    await checkReads(stage, tokens.other);
    const { accessToken } = await askToken(other, true);
    check(accessToken !== tokens.other, 'a new token', 'the old one');
    await checkReads(stage, accessToken);
  });
  return { scimMs: departure.scimMs, refusedMs };
}

/** Asks the API again and again until it refuses; `undefined` when it did not in time. */
async function firstRefusal(
  stage: Stage,
  token: string,
  since: number,
): Promise<{ afterMs: number; challenge: string } | undefined> {
  for (;;) {
    const { status, challenge } = await readTicket(stage, token);
    const afterMs = performance.now() - since;
    if (status === 401 && challenge.includes('error="invalid_token"')) return { afterMs, challenge };
    if (afterMs > boundMs) return undefined;
    await sleep(1, undefined, { signal: stage.interrupted });
  }
}

/** A final, distinguishable answer, after which the SDK stops. Answers what it said. */
async function checkStopped(player: Player): Promise<string> {
  const { code, status, error, reason, description } = await refusalOf(askToken(player, true));
  const isFinal = code === 'stopped' && status === 400 && error === 'access_denied' && reason === 'owner_inactive';
  check(isFinal, '400 access_denied, owner_inactive', { code, status, error, reason });
  return `${status} ${error}: ${description ?? reason}`;
}

/** A message and its operation, a line each, as sent but for the line break. */
const printPatch = (body: object): string => JSON.stringify(body).replace('"Operations"', '\n "Operations"');
