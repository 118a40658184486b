/**
 * The Agent schema (draft-wzdk-scim-agent-resource-00, an individual draft that moves), in the form of RFC 7643 §7: as
 * much of it as an agent of Writ has. scimmy does not know it.
 *
 * An agent that is created over SCIM has a credential that nobody knows and no intents, so that it gets no token before
 * an administrator has given it both: a directory decides who there is, not what they may do.
 */
import type { Resource } from './resource.ts';
import type { Attribute, ResourceSchema } from './schema.ts';

export const agentUrn = 'urn:ietf:params:scim:schemas:core:2.0:Agent';

interface Definition {
  name: string;
  type: 'string' | 'boolean' | 'reference' | 'dateTime' | 'complex';
  description: string;
  referenceTypes?: readonly string[];
  multiValued?: true;
  required?: true;
  caseExact?: true;
  isReadOnly?: true;
  uniqueness?: 'server';
  subAttributes?: readonly Definition[];
}

const referenceTo = (type: 'User' | 'Agent', what: string): Definition[] => [
  { name: 'value', type: 'string', description: `The id of ${what}.`, caseExact: true },
  {
    name: '$ref',
    type: 'reference',
    referenceTypes: [type],
    description: `The URI of ${what}.`,
    caseExact: true,
    isReadOnly: true,
  },
  { name: 'display', type: 'string', description: `The name of ${what}, as it is known here.`, isReadOnly: true },
];

const definitions: readonly Definition[] = [
  {
    name: 'agentUserName',
    type: 'string',
    description: 'The name of the agent, unique among the agents of the directory. REQUIRED. Also taken as "name".',
    required: true,
    uniqueness: 'server',
  },
  {
    name: 'displayName',
    type: 'string',
    description:
      'An agent has one name: this is always agentUserName. A PATCH that names only displayName changes both; anywhere else agentUserName decides.',
  },
  { name: 'description', type: 'string', description: 'What the agent is for.' },
  {
    name: 'active',
    type: 'boolean',
    description:
      'Whether the agent may get tokens. False suspends it and ends its tokens; true activates it, which is refused while its owner is not active. It reads false as well while its owner, or an agent above it, is not active, or after it has expired.',
  },
  {
    name: 'owners',
    type: 'complex',
    description:
      'The one person of the directory who answers for the agent. Another one takes over the whole tree of agents that it belongs to.',
    multiValued: true,
    required: true,
    subAttributes: referenceTo('User', 'the owner'),
  },
  {
    name: 'parent',
    type: 'complex',
    description: 'The agent of which this one is a sub-agent.',
    isReadOnly: true,
    subAttributes: referenceTo('Agent', 'the parent').map((sub) => ({ ...sub, isReadOnly: true })),
  },
  {
    name: 'subject',
    type: 'string',
    description: 'The subject and client id of the tokens of the agent.',
    caseExact: true,
    isReadOnly: true,
  },
];

/** RFC 7643 §3.1. An external id is not kept. */
const common: readonly Definition[] = [
  { name: 'schemas', type: 'reference', description: '', multiValued: true, required: true, caseExact: true },
  { name: 'id', type: 'string', description: '', caseExact: true, isReadOnly: true },
  {
    name: 'meta',
    type: 'complex',
    description: '',
    isReadOnly: true,
    subAttributes: [
      { name: 'resourceType', type: 'string', description: '', caseExact: true, isReadOnly: true },
      { name: 'created', type: 'dateTime', description: '', isReadOnly: true },
      { name: 'lastModified', type: 'dateTime', description: '', isReadOnly: true },
      { name: 'location', type: 'reference', description: '', caseExact: true, isReadOnly: true },
      { name: 'version', type: 'string', description: '', caseExact: true, isReadOnly: true },
    ],
  },
];

const readAttributes = (defined: readonly Definition[]): ReadonlyMap<string, Attribute> =>
  new Map(
    defined.map(({ name, type, subAttributes = [], ...rest }) => [
      name.toLowerCase(),
      {
        name,
        type,
        isMultiValued: rest.multiValued === true,
        isReadOnly: rest.isReadOnly === true,
        // Of several elements one may be removed; whether one is left is looked at in the end.
        isRequired: rest.required === true && rest.multiValued !== true,
        isCaseExact: rest.caseExact === true,
        subAttributes: readAttributes(subAttributes),
      },
    ]),
  );

export const agentSchema: ResourceSchema = {
  name: 'Agent',
  urn: agentUrn,
  attributes: readAttributes([...common, ...definitions]),
  extensions: [],
};

const describe = ({ name, type, description, referenceTypes, subAttributes, ...rest }: Definition): Resource => ({
  name,
  type,
  ...(referenceTypes === undefined ? {} : { referenceTypes }),
  multiValued: rest.multiValued === true,
  description,
  required: rest.required === true,
  ...(type === 'string' || type === 'reference' ? { caseExact: rest.caseExact === true } : {}),
  ...(subAttributes === undefined ? {} : { subAttributes: subAttributes.map(describe) }),
  mutability: rest.isReadOnly === true ? 'readOnly' : 'readWrite',
  returned: 'default',
  uniqueness: rest.uniqueness ?? 'none',
});

/** As one of the `/Schemas` resources. `base` is the absolute URL of `/scim/v2`. */
export const describeAgentSchema = (base: string): Resource => ({
  schemas: ['urn:ietf:params:scim:schemas:core:2.0:Schema'],
  id: agentUrn,
  name: 'Agent',
  description:
    'An AI agent, by an Internet-Draft that may change. One that is created here can get no token until an administrator has given it a credential and intents.',
  attributes: definitions.map(describe),
  meta: { resourceType: 'Schema', location: `${base}/Schemas/${agentUrn}` },
});
