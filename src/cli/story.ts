/**
 * An access token told to a person: who acts, who answers for it, for which task, what may be done where, until when,
 * and what ends it earlier. Pure: the command `writ token` and the demo print the same story.
 */
import { type AccessTokenClaims, type Actor, type AgentIntent, isWriteAction } from '../protocol.ts';
import { renderPairs, visible } from './print.ts';
import { describeSpan } from './time.ts';

type Line = [label: string, text: string];

const plain = (_style: string, text: string): string => text;

/** @returns lines without colour and without a newline at the end; nothing is verified here */
export function tellToken(claims: AccessTokenClaims, now: Date): string {
  const lines: Line[] = [
    [
      'Who',
      `${visible(claims.agent.name)}, an agent in ${visible(claims.agent.environment)} (trust ${claims.agent.trust})`,
    ],
    ['', claims.client_id],
    ...tellOnBehalf(claims),
    ['Answers', `person ${claims.human_owner_id}, its owner`],
    ...tellTask(claims),
    ['Where', `${visible(claims.aud)}, and nowhere else`],
    ...tellLife(claims, now),
    ...tellEnds(claims),
  ];
  return renderPairs(lines, plain);
}

/** RFC 8693 §4.1: `sub` is whose authority it is, the outermost actor is the one who acts now. */
function tellOnBehalf(claims: AccessTokenClaims): Line[] {
  const actors = actorsOf(claims.act);
  if (actors.length === 0) return [['On behalf', 'of nobody else: by itself']];
  const subject = claims.sub === claims.human_owner_id ? `person ${claims.sub}, its owner` : claims.sub;
  const earlier = actors.slice(1).toReversed();
  return [['On behalf', `of ${visible(subject)}`], ...earlier.map((actor): Line => ['Through', visible(actor)])];
}

/** From the current actor to the earliest. */
function actorsOf(act: Actor | undefined): string[] {
  const actors: string[] = [];
  for (let actor = act; actor !== undefined; actor = actor.act) actors.push(actor.sub);
  return actors;
}

function tellTask(claims: AccessTokenClaims): Line[] {
  const details = claims.authorization_details;
  if (details.length === 0)
    return [['Task', claims.scope ? `scope ${visible(claims.scope)}` : 'none: this token allows nothing']];
  return details.flatMap((detail): Line[] => [
    ['Task', visible(detail.task_intent)],
    ['May', tellActions(detail)],
    ...(detail.locations.some((location) => location !== claims.aud)
      ? [['', `meant for ${detail.locations.map(visible).join(', ')}`] satisfies Line]
      : []),
  ]);
}

function tellActions(detail: AgentIntent): string {
  const of = detail.datatypes.length === 0 ? '' : ` ${detail.datatypes.map(visible).join(', ')}`;
  const which = detail.identifier === undefined ? '' : `, only ${visible(detail.identifier)}`;
  const kind = detail.actions.some(isWriteAction) ? 'it changes things' : 'read-only';
  return `${detail.actions.map(visible).join(', ')}${of}${which} (${kind})`;
}

function tellLife(claims: AccessTokenClaims, now: Date): Line[] {
  const left = claims.exp * 1_000 - now.getTime();
  const state =
    left > 0 ? `${describeSpan(Math.floor(left / 1_000) * 1_000)} from now` : `over since ${describeSpan(left)}`;
  const issued = new Date(claims.iat * 1_000).toISOString().slice(11, 19);
  const until = new Date(claims.exp * 1_000).toISOString().replace('T', ' ').replace('.000Z', ' UTC');
  return [['Until', `${until}, ${state} (issued ${issued}, lives ${describeSpan((claims.exp - claims.iat) * 1_000)})`]];
}

function tellEnds(claims: AccessTokenClaims): Line[] {
  const named = new Set<string>();
  const lines = Object.entries(claims.epochs).map(([subject, epoch]) => {
    named.add(bare(subject));
    return `${roleOf(claims, bare(subject))} ${visible(subject)} is revoked (epoch ${epoch} now)`;
  });
  if (!named.has(claims.jti)) lines.push(`this token ${visible(claims.jti)} itself is revoked`);
  return lines.map((text, at): Line => [at === 0 ? 'Ends' : '', at === 0 ? `at once, when ${text}` : `or ${text}`]);
}

/** A subject's id without the word for its kind, should it carry one. */
const bare = (subject: string): string => subject.replace(/^[a-z]+:/, '');

function roleOf(claims: AccessTokenClaims, id: string): string {
  if (id === claims.human_owner_id) return 'the owner';
  if (id === claims.client_id) return 'the agent';
  if (id === claims.jti) return 'this token';
  if (actorsOf(claims.act).includes(id)) return 'the earlier actor';
  if (id === claims.sub) return 'the one it acts for,';
  return 'an ancestor, or the token it came from,';
}
