/**
 * The schemas (RFC 7643) as scimmy defines them, in the form in which names are looked up here: without regard to case,
 * bare or qualified by their URN. scimmy's definitions are one process-wide registry; they are read once, never changed.
 */
import SCIMMY from 'scimmy';

export interface Attribute {
  name: string;
  type: string;
  isMultiValued: boolean;
  isReadOnly: boolean;
  isRequired: boolean;
  /** Whether its values are compared with regard to case; binary ones always are (RFC 7643 §2.3.6). */
  isCaseExact: boolean;
  /** By name in lower case; empty unless complex. */
  subAttributes: ReadonlyMap<string, Attribute>;
}

export interface ResourceSchema {
  name: 'User' | 'Group' | 'Agent';
  urn: string;
  attributes: ReadonlyMap<string, Attribute>;
  extensions: readonly { urn: string; attributes: ReadonlyMap<string, Attribute> }[];
}

/** What a name leads to. No attribute: the extension, or the resource, as a whole. */
export interface Location {
  /** URN of the extension; `null`: the core schema. */
  extension: string | null;
  attribute: Attribute | null;
  sub: Attribute | null;
}

type Definition = typeof SCIMMY.Schemas.User.definition;
type DefinedAttribute = Definition['attributes'][number];

const readAttributes = (defined: readonly DefinedAttribute[]): ReadonlyMap<string, Attribute> =>
  new Map(
    defined.map(({ name, type, config, subAttributes = [] }) => [
      name.toLowerCase(),
      {
        name,
        type,
        isMultiValued: config.multiValued === true,
        isReadOnly: String(config.mutable) === 'false',
        isRequired: config.required === true,
        isCaseExact: config.caseExact === true || type === 'binary',
        subAttributes: readAttributes(subAttributes),
      },
    ]),
  );

const { User, EnterpriseUser, Group } = SCIMMY.Schemas;

export const userSchema: ResourceSchema = {
  name: 'User',
  urn: User.definition.id,
  attributes: readAttributes(User.definition.attributes),
  extensions: [
    {
      urn: EnterpriseUser.definition.id,
      // The common attributes (id, meta, …) belong to the resource, not to its extension.
      attributes: readAttributes(EnterpriseUser.definition.attributes.filter(({ config }) => !isShadow(config))),
    },
  ],
};

export const groupSchema: ResourceSchema = {
  name: 'Group',
  urn: Group.definition.id,
  attributes: readAttributes(Group.definition.attributes),
  extensions: [],
};

function isShadow(config: object): boolean {
  return 'shadow' in config && config.shadow === true;
}

/** The `/Schemas` resources. `basePath` is the absolute URL of `/Schemas`. */
export function describeSchemas(basePath: string): Described[] {
  return [User, EnterpriseUser, Group].map(({ definition }) => {
    const described: Described = JSON.parse(JSON.stringify(definition.describe(basePath)));
    return { ...described, attributes: listOf(described.attributes).map((one) => complete(one, '')) };
  });
}

type Described = Record<string, unknown>;

const listOf = (list: unknown): Described[] => (Array.isArray(list) ? list : []);

/** Where Writ does otherwise than scimmy's schemas say: only people are members, and it tells what they are called. */
const deviations: Readonly<Record<string, Described>> = {
  'groups.$ref': { referenceTypes: ['Group'] },
  'groups.type': { canonicalValues: ['direct'] },
  'members.$ref': { referenceTypes: ['User'] },
  'members.type': { canonicalValues: ['User'] },
  'members.display': { mutability: 'readOnly' },
};

/** An attribute with all that RFC 7643 §7 defines of it; scimmy leaves some defaults unsaid. */
function complete(attribute: Described, parent: string): Described {
  const path = `${parent}${String(attribute.name)}`;
  const { subAttributes } = attribute;
  return {
    ...(attribute.type === 'boolean' ? {} : { uniqueness: 'none' }),
    ...attribute,
    ...deviations[path],
    ...(subAttributes === undefined
      ? {}
      : { subAttributes: listOf(subAttributes).map((one) => complete(one, `${path}.`)) }),
  };
}

/** The rest of a name after this URN and the `:` (some write `.`) that follows it; `null`: the name is not below it. */
function restAfter(name: string, urn: string): string | null {
  if (!name.toLowerCase().startsWith(urn.toLowerCase())) return null;
  const rest = name.slice(urn.length);
  if (rest === '') return '';
  return rest.startsWith(':') || rest.startsWith('.') ? rest.slice(1) : null;
}

/** What `name` (`userName`, `name.givenName`, `urn:…:User:department`, `urn:…:User`) means here; `null`: nothing. */
export function locate(schema: ResourceSchema, name: string): Location | null {
  const scopes = [
    { extension: null, urn: schema.urn, attributes: schema.attributes },
    ...schema.extensions.map(({ urn, attributes }) => ({ extension: urn, urn, attributes })),
  ];
  for (const { extension, urn, attributes } of scopes) {
    const rest = restAfter(name, urn);
    if (rest === '') return { extension, attribute: null, sub: null };
    if (rest !== null) return locateIn(extension, attributes, rest);
  }
  return locateIn(null, schema.attributes, name);
}

function locateIn(
  extension: string | null,
  attributes: ReadonlyMap<string, Attribute>,
  dotted: string,
): Location | null {
  const [head = '', tail, ...more] = dotted.toLowerCase().split('.');
  const attribute = attributes.get(head);
  if (attribute === undefined || more.length > 0) return null;
  if (tail === undefined) return { extension, attribute, sub: null };
  const sub = attribute.subAttributes.get(tail);
  return sub === undefined ? null : { extension, attribute, sub };
}
