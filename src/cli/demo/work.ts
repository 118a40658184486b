/** The first half of a round: an agent at its task, and where its rights end. */
import { decodeJwt, decodeProtectedHeader } from 'jose';
import type { AccessTokenClaims } from '../../protocol.ts';
import { AgentError, type Token } from '../../sdk/agent/agent.ts';
import { isRow, parseJson, type Row } from '../json.ts';
import { tellToken } from '../story.ts';
import { type Crew, firstName, type Player } from './cast.ts';
import { check } from './checks.ts';
import { crmIdentifier, readIntent, type Stage, writeIntent } from './stage.ts';

export const ticket = 'INC-4711';

export interface Tokens {
  lead: string;
  sub: string;
  other: string;
}

export interface Answer {
  status: number;
  challenge: string;
  body: Row;
}

/** For one ticket, to read it; by `private_key_jwt`. */
export function askToken(player: Player, isFresh = false): Promise<Token> {
  return player.agent.token({
    resource: crmIdentifier,
    intent: readIntent,
    actions: ['read'],
    identifier: ticket,
    fresh: isFresh,
  });
}

export async function readTicket(stage: Stage, token: string, id = ticket): Promise<Answer> {
  const response = await stage.fetch(`${stage.crmUrl}/tickets/${id}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const body = parseJson(await response.text());
  return {
    status: response.status,
    challenge: response.headers.get('www-authenticate') ?? '',
    body: isRow(body) ? body : {},
  };
}

export async function checkReads(stage: Stage, token: string): Promise<Row> {
  const answer = await readTicket(stage, token);
  check(answer.status === 200 && answer.body.id === ticket, '200 and the ticket', answer);
  return answer.body;
}

/** @param isTold the first round shows the token in full and tries what it is not good for */
export async function work(stage: Stage, crew: Crew, isTold: boolean): Promise<{ tokens: Tokens; tokenMs: number }> {
  const { page } = stage;
  const { lead, sub, other } = crew;
  let tokenMs = 0;
  const token = await page.step(
    `${lead.name} proves its key and gets a token to read ${ticket}`,
    async ({ add, took }) => {
      const started = performance.now();
      const { accessToken } = await askToken(lead);
      tokenMs = performance.now() - started;
      took(tokenMs);
      checkClaims(accessToken, crew);
      if (isTold) add(tellInFull(accessToken));
      return accessToken;
    },
  );
  await page.step(`${lead.name} reads ${ticket} at the CRM API: 200`, async ({ add }) => {
    const found = await checkReads(stage, token);
    if (isTold) add(JSON.stringify(found));
  });
  if (isTold) await tryLimits(stage, crew, token);
  const others = await page.step(`${sub.name} and ${other.name} get tokens of their own and read it: 200`, async () => {
    const [subToken, otherToken] = await Promise.all([askToken(sub), askToken(other)]);
    await checkReads(stage, subToken.accessToken);
    await checkReads(stage, otherToken.accessToken);
    return { sub: subToken.accessToken, other: otherToken.accessToken };
  });
  return { tokens: { lead: token, ...others }, tokenMs };
}

function checkClaims(token: string, { lead, leaver }: Crew): void {
  const claims = decodeJwt<AccessTokenClaims>(token);
  check(claims.sub === lead.id, `a token of ${lead.name}`, claims);
  check(claims.human_owner_id === leaver.id, `a token that names ${firstName(leaver)} as the owner`, claims);
  check(claims.task_intent === readIntent, `a token for ${readIntent}`, claims);
}

function tellInFull(token: string): string {
  const claims = decodeJwt<AccessTokenClaims>(token);
  const json = JSON.stringify({ ...decodeProtectedHeader(token) });
  return `\n${tellToken(claims, new Date())}\n\n${json}\n${printClaims(claims)}\n`;
}

/** Indented, but for lists of words, which stand on one line. */
const printClaims = (claims: object): string =>
  JSON.stringify(claims, null, 2).replace(
    /\[\s+("[^"]*"(?:,\s+"[^"]*")*)\s+\]/g,
    (_, words: string) => `[${words.replace(/\s+/g, ' ')}]`,
  );

async function tryLimits(stage: Stage, { lead }: Crew, token: string): Promise<void> {
  await stage.page.step('The same token at another ticket: 403', async ({ add }) => {
    const answer = await readTicket(stage, token, 'INC-4712');
    check(answer.status === 403 && answer.challenge.includes('insufficient_scope'), '403 insufficient_scope', answer);
    add(tellChallenge(answer));
  });
  await stage.page.step(`${lead.name} asks to update it, which nobody approved: refused`, async ({ add }) => {
    const refusal = await refusalOf(
      lead.agent.token({ resource: crmIdentifier, intent: writeIntent, actions: ['update'], identifier: ticket }),
    );
    const { status, error, reason, description, errorUri } = refusal;
    const isRefused = status === 400 && error === 'access_denied' && reason === 'approval_required';
    check(isRefused, '400 access_denied, approval_required', { status, error, reason });
    check(errorUri !== undefined, 'an error_uri', refusal);
    const page = await stage.fetch(errorUri);
    check(page.status === 200, 'a page at error_uri', page.status);
    await page.body?.cancel();
    add(`${status} ${error}, ${reason}: ${description ?? ''}\nask at ${errorUri}`);
  });
}

/** Of an RFC 6750 challenge, what the client is told. */
export function tellChallenge({ challenge }: { challenge: string }): string {
  const read = (name: string) => new RegExp(`\\b${name}="([^"]*)"`).exec(challenge)?.[1] ?? '';
  return `${read('error')}: ${read('error_description')}`;
}

/** A refusal is what this step is about: a token is not. */
export async function refusalOf(asked: Promise<Token>): Promise<AgentError> {
  try {
    await asked;
  } catch (error) {
    if (error instanceof AgentError) return error;
    throw error;
  }
  check(false, 'a refusal', 'a token');
}
