/** How a directory does, by what the administration API says of it and of its last requests. Pure. */
import type { Row } from '../json.ts';
import { isRow } from '../json.ts';
import { instantOf, textOf } from '../print.ts';
import { describeSpan } from '../time.ts';

export interface Report {
  state: [label: string, text: string][];
  /** What an administrator should look at; empty: nothing. */
  findings: string[];
  failures: Row[];
}

const soonMs = 14 * 86_400_000;
const shownFailures = 5;

export function reportOf(directory: Row, requests: Row[], now: Date): Report {
  const since = (value: unknown): string =>
    typeof value === 'string'
      ? `${instantOf(value)} (${describeSpan(now.getTime() - Date.parse(value))} ago)`
      : 'never';
  const tokens = Array.isArray(directory.tokens) ? directory.tokens.filter(isRow) : [];
  const refused = requests.filter(({ status }) => Number(status) >= 400);
  // Looking for what is not there is how a connector finds out; it is no failure.
  const failures = refused.filter(({ status, method }) => !(status === 404 && method === 'GET'));
  const ignored = countBy(requests.flatMap((request) => (Array.isArray(request.ignored) ? request.ignored : [])));
  const silence = Number(directory.silenceAfterSeconds ?? 0);
  return {
    state: [
      ['directory', `${textOf(directory.name)} (${textOf(directory.id)})`],
      ['kind', textOf(directory.kind)],
      ['SCIM URL', textOf(directory.scimUrl)],
      ['last contact', since(directory.lastContactAt)],
      ['silence alarm', silence > 0 ? `after ${describeSpan(silence * 1_000)}` : 'off'],
      ...tokens.map((token): [string, string] => [
        'token',
        token.expiresAt === null
          ? `since ${instantOf(token.createdAt)}, does not end`
          : `since ${instantOf(token.createdAt)}, ends ${instantOf(token.expiresAt)}`,
      ]),
      ['last requests', rateOf(requests)],
      ['effects', listCounts(countBy(requests.map(({ effect }) => effect ?? 'unknown')))],
      ['left aside', listCounts(ignored)],
    ],
    findings: [
      ...(typeof directory.silentSince === 'string' ? [`It is silent since ${since(directory.silentSince)}.`] : []),
      ...(directory.lastContactAt === null ? ['It has never sent a request: is the token entered there?'] : []),
      ...(tokens.length === 0 ? ['No token works: rotate-token makes one.'] : []),
      ...(endsSoon(tokens, now) ? ['Every token ends within two weeks: rotate-token, with a grace.'] : []),
      ...(failures.length > 0
        ? [`${failures.length} of the last ${requests.length} requests were refused or failed.`]
        : []),
    ],
    failures: failures.slice(0, shownFailures),
  };
}

const endsSoon = (tokens: Row[], now: Date): boolean =>
  tokens.length > 0 &&
  tokens.every(({ expiresAt }) => typeof expiresAt === 'string' && Date.parse(expiresAt) < now.getTime() + soonMs);

function countBy(values: unknown[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
  return new Map([...counts].sort(([, one], [, other]) => other - one));
}

const listCounts = (counts: ReadonlyMap<string, number>): string =>
  counts.size === 0 ? '-' : [...counts].map(([name, count]) => `${textOf(name)} (${count})`).join(', ');

function rateOf(requests: Row[]): string {
  const instants = requests.map(({ at }) => Date.parse(String(at)));
  if (instants.length < 2) return String(instants.length);
  const span = Math.max(1, Math.max(...instants) - Math.min(...instants));
  const perMinute = ((instants.length - 1) * 60_000) / span;
  return `${instants.length} within ${describeSpan(span)}, ${perMinute >= 10 ? Math.round(perMinute) : perMinute.toFixed(1)} a minute`;
}
