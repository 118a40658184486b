/**
 * The catalogue: which tasks (intents) there are, at which APIs, with which actions and data types.
 *
 * It is small and read for every token, so each node keeps one copy, with the version it was read at. The issuing
 * statement compares that version under its locks (`catalogue.version` is raised by trigger), so a copy that has become
 * old costs a second attempt and never a wrong token. There is no time-based expiry.
 */
import { sql } from 'drizzle-orm';
import type { Executor } from '../../platform/db/client.ts';
import type { Action, Risk, SigningAlgorithm } from '../../protocol.ts';

export interface Api {
  id: string;
  /** RFC 8707 resource, and `aud` of its tokens, byte for byte as registered. */
  identifier: string;
  environment: string;
  tokenTtlSeconds: number;
  signingAlgorithm: SigningAlgorithm;
  /** The agent that answers at this API, and may exchange the tokens it receives there. */
  agentId: string | null;
}

export interface Intent {
  id: string;
  taskIntent: string;
  actions: Action[];
  datatypes: string[];
  risk: Risk;
  /** Identifiers of the APIs where it may be done. */
  apis: string[];
  /**
   * Ids of the groups that it is kept for: only agents whose owner is in one of them may use it. `null`: anybody's. A group
   * that its directory has deleted still stands here, and has no members, so that the intent does not become everybody's.
   */
  groups: ReadonlySet<string> | null;
}

export interface Catalogue {
  version: number;
  apis: ReadonlyMap<string, Api>;
  intents: ReadonlyMap<string, Intent>;
}

/** Whether agents may use the intent whose owner is in these of the groups that intents are kept for. */
export function isOpenTo({ groups }: Pick<Intent, 'groups'>, ownerGroups: ReadonlySet<string>): boolean {
  if (groups === null) return true;
  for (const group of ownerGroups) if (groups.has(group)) return true;
  return false;
}

type IntentRow = Omit<Intent, 'groups'> & { groups: string[] | null };

/** Reads the whole catalogue in one statement, so that its version fits its contents. */
export async function readCatalogue(db: Executor): Promise<Catalogue> {
  const [row] = await db.execute<{ version: number; apis: Api[]; intents: IntentRow[] }>(sql`
    select c.version::float8 as version,
      (select coalesce(json_agg(json_build_object(
          'id', a.id, 'identifier', a.identifier, 'environment', a.environment, 'tokenTtlSeconds', a.token_ttl_seconds,
          'signingAlgorithm', a.signing_algorithm, 'agentId', a.agent_id)), '[]') from apis a) as apis,
      (select coalesce(json_agg(json_build_object(
          'id', i.id, 'taskIntent', i.task_intent, 'actions', i.actions, 'datatypes', i.datatypes, 'risk', i.risk,
          'apis', (select coalesce(json_agg(a.identifier order by a.identifier), '[]')
                   from intent_apis ia join apis a on a.id = ia.api_id where ia.intent_id = i.id),
          'groups', (select json_agg(g.group_id) from group_intents g where g.intent_id = i.id))), '[]')
        from intents i) as intents
    from catalogue c`);
  if (row === undefined) throw new Error('the catalogue row is missing');
  return {
    version: row.version,
    apis: new Map(row.apis.map((api) => [api.identifier, api])),
    intents: new Map(
      row.intents.map((intent) => [intent.taskIntent, { ...intent, groups: intent.groups && new Set(intent.groups) }]),
    ),
  };
}

export interface CatalogueCache {
  /** The copy at hand, read if there is none yet. */
  current(): Promise<Catalogue>;
  /** A copy newer than `version`, or the newest there is. */
  newerThan(version: number): Promise<Catalogue>;
}

export function createCatalogueCache(db: Executor): CatalogueCache {
  let copy: Catalogue | undefined;
  let reading: Promise<Catalogue> | undefined;
  const read = (): Promise<Catalogue> => {
    reading ??= readCatalogue(db)
      .then((fresh) => {
        copy = fresh;
        return fresh;
      })
      .finally(() => {
        reading = undefined;
      });
    return reading;
  };
  return {
    current: async () => copy ?? read(),
    newerThan: async (version) => (copy !== undefined && copy.version > version ? copy : read()),
  };
}

/**
 * The API that `resource` names. Bytes decide, but for one trailing slash on a bare origin: URL parsers of common
 * clients add it. The `aud` of a token is always the identifier as registered.
 */
export function findApi(catalogue: Catalogue, resource: string): Api | undefined {
  const exact = catalogue.apis.get(resource);
  if (exact !== undefined) return exact;
  const other = resource.endsWith('/') ? resource.slice(0, -1) : `${resource}/`;
  return /^https?:\/\/[^/?#]+\/?$/.test(resource) ? catalogue.apis.get(other) : undefined;
}
