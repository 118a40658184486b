/**
 * What a token request asks for: `resource` (RFC 8707), `authorization_details` of type `agent_intent` (RFC 9396) and
 * `scope` as its shorthand, parsed into one list. Pure. Unknown members and types are refused, not ignored: a limit that
 * is not understood must not be dropped.
 */
import { WritError } from '../../errors.ts';
import { parseJson } from '../../platform/http/body.ts';
import { type AgentIntentRequest, agentIntentType, actions as knownActions } from '../../protocol.ts';
import { type Api, type Catalogue, findApi } from './catalogue.ts';
import type { AskedIntent, Refusal } from './narrow.ts';

export interface Ask {
  api: Api;
  by: AskedIntent['by'];
  /** Empty: no task was named. */
  asked: AskedIntent[];
}

const maxDetails = 16;
const maxValues = 64;
const maxLength = 512;

const invalid = (explanation: string): Refusal => ({ reason: 'details_invalid', by: 'details', explanation });

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value.length > 0 && value.length <= maxLength;
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.length > 0 && value.length <= maxValues && value.every(isText);

function parseDetail(value: unknown, index: number): AgentIntentRequest | Refusal {
  const at = `authorization_details[${index}]`;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return invalid(`${at} is not an object`);
  const { type, task_intent, actions, locations, datatypes, identifier, ...unknown } = value as Record<string, unknown>;
  if (type !== agentIntentType) return invalid(`${at}.type is not ${agentIntentType}`);
  if (Object.keys(unknown).length > 0) return invalid(`${at} has a member that ${agentIntentType} does not know`);
  if (!isText(task_intent)) return invalid(`${at}.task_intent is missing or not a string`);
  for (const [name, list] of Object.entries({ actions, locations, datatypes })) {
    if (list !== undefined && !isTexts(list)) return invalid(`${at}.${name} is not a list of strings with members`);
  }
  if (isTexts(actions) && !actions.every((action) => (knownActions as readonly string[]).includes(action))) {
    return invalid(`${at}.actions: the actions are ${knownActions.join(', ')}`);
  }
  if (identifier !== undefined && !isText(identifier)) return invalid(`${at}.identifier is not a string`);
  return {
    type: agentIntentType,
    task_intent,
    ...(isTexts(actions) ? { actions } : {}),
    ...(isTexts(locations) ? { locations } : {}),
    ...(isTexts(datatypes) ? { datatypes } : {}),
    ...(isText(identifier) ? { identifier } : {}),
  };
}

/** The details as asked for, or why they cannot be. */
export function parseDetails(text: string): AgentIntentRequest[] | Refusal {
  let value: unknown;
  try {
    value = parseJson(Buffer.from(text));
  } catch (error) {
    if (error instanceof WritError) return invalid('authorization_details is not JSON that can be accepted');
    throw error;
  }
  if (!Array.isArray(value)) return invalid('authorization_details is not an array');
  // Whoever sends a list wants what stands in it, and an empty one asks for nothing: never for the default.
  if (value.length === 0) return invalid('authorization_details is empty');
  if (value.length > maxDetails) return invalid(`authorization_details has more than ${maxDetails} members`);
  const details: AgentIntentRequest[] = [];
  for (const [index, one] of value.entries()) {
    const detail = parseDetail(one, index);
    if ('explanation' in detail) return detail;
    details.push(detail);
  }
  return details;
}

/** Parameters of a token request, as sent. */
export interface AskParameters {
  resource: string[];
  authorizationDetails?: string | undefined;
  scope?: string | undefined;
}

/** The one location that all details have in common, when `resource` was left out. */
export function soleLocation(details: readonly AgentIntentRequest[]): string | undefined {
  const [first, ...others] = details.map((detail) => detail.locations);
  const [location, ...more] = first ?? [];
  if (location === undefined || more.length > 0) return undefined;
  return others.every((list) => list?.length === 1 && list[0] === location) ? location : undefined;
}

/** Locations as they are registered, so that later comparisons are of bytes. */
function registered(detail: AgentIntentRequest, catalogue: Catalogue): AgentIntentRequest {
  if (detail.locations === undefined) return detail;
  return { ...detail, locations: detail.locations.map((one) => findApi(catalogue, one)?.identifier ?? one) };
}

/** A name in `scope`: all actions and data types that the catalogue has for it, spelled out, so that fewer are a refusal. */
function toWhole(name: string, catalogue: Catalogue): AskedIntent {
  const intent = catalogue.intents.get(name);
  const all = intent === undefined ? {} : { actions: intent.actions, datatypes: intent.datatypes };
  return { type: agentIntentType, task_intent: name, ...all, by: 'scope' };
}

/** Reads a request against the catalogue. `fallback`: the audience when the request names none (an exchange keeps it). */
export function readAsk(parameters: AskParameters, catalogue: Catalogue, fallback?: string): Ask | Refusal {
  const details = parameters.authorizationDetails === undefined ? [] : parseDetails(parameters.authorizationDetails);
  if ('explanation' in details) return details;
  const names = (parameters.scope ?? '').split(' ').filter((name) => name !== '');
  if (parameters.resource.length > 1) {
    return { reason: 'resource_unknown', by: 'resource', explanation: 'a token is for one API: send one resource' };
  }
  const resource = parameters.resource[0] ?? soleLocation(details) ?? fallback;
  if (resource === undefined) {
    return { reason: 'resource_required', by: 'resource', explanation: 'name the API in resource' };
  }
  const api = findApi(catalogue, resource);
  if (api === undefined) {
    return { reason: 'resource_unknown', by: 'resource', explanation: 'no API is registered under this resource' };
  }
  // A name in `scope` asks for the whole intent, also beside a detail that asks for less of it.
  const asked = [
    ...details.map((detail): AskedIntent => ({ ...registered(detail, catalogue), by: 'details' })),
    ...[...new Set(names)].map((name) => toWhole(name, catalogue)),
  ];
  return { api, by: details.length > 0 ? 'details' : names.length > 0 ? 'scope' : 'resource', asked };
}
