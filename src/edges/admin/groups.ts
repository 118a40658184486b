/** Calls: the directories' groups, and what membership of them is worth. The directory says who is in them. */
import { z } from '@hono/zod-openapi';
import { groupRoles } from '../../domain/people/group-rights.ts';
import * as groups from '../../domain/people/group-views.ts';
import type { Db } from '../../platform/db/client.ts';
import { type Call, call } from './call.ts';
import { distinct, exampleIds, line, pageOf, paging, taskIntent, uuid } from './schemas.ts';

const role = z.enum(groupRoles, { error: `has to be one of ${groupRoles.join(', ')}` });

const group = z
  .object({
    id: uuid,
    displayName: z.string().nullable().openapi({ description: '`null`: the directory has deleted it.' }),
    externalId: z.string().nullable(),
    directory: z.object({ id: uuid, name: z.string() }).nullable(),
    memberCount: z.int(),
    roles: z.array(role).openapi({ description: 'Roles in Writ that its members have.' }),
    intents: z.array(z.string()).openapi({
      description:
        'Intents that are kept for it: only agents whose owner is in one of the groups of an intent may use it.',
    }),
    deleted: z.boolean().openapi({
      description: 'The directory has deleted it. What was kept for its members is nobody’s until that is taken away.',
    }),
  })
  .openapi('Group');

const exampleRights = { roles: ['security_reviewer' as const], intents: ['incident_remediation.ticket_update'] };
const example = {
  id: exampleIds.group,
  displayName: 'Security',
  externalId: '00g1security',
  directory: { id: exampleIds.directory, name: 'Okta' },
  memberCount: 12,
  ...exampleRights,
  deleted: false,
};

export function groupCalls({ db }: { db: Db }): Call[] {
  return [
    call({
      method: 'get',
      path: '/groups',
      operationId: 'listGroups',
      tag: 'Groups',
      summary: 'List groups',
      description: 'Of all directories; deleted ones too, as long as something is kept for them.',
      query: z.strictObject({
        directory: line(200).optional().openapi({ description: 'A directory’s id or name.' }),
        q: line(256).optional().openapi({ description: 'Part of the display name.' }),
        ...paging,
      }),
      status: 200,
      answer: pageOf(group),
      answerExample: { items: [example], nextCursor: null },
      run: ({ query: { cursor, limit, ...filter } }) => groups.listGroups(db, filter, { cursor, limit }),
    }),
    call({
      method: 'get',
      path: '/groups/{id}',
      operationId: 'getGroup',
      tag: 'Groups',
      summary: 'Read a group',
      status: 200,
      answer: group,
      answerExample: example,
      run: ({ id }) => groups.getGroup(db, id),
    }),
    call({
      method: 'put',
      path: '/groups/{id}/rights',
      operationId: 'setGroupRights',
      tag: 'Groups',
      summary: 'Say what a group gives',
      description:
        'The whole of it: what is not named is taken away. From this answer on an intent that is named by any group is ' +
        'for agents of the members of its groups alone, and whoever has lost it by this has no living token with it.',
      body: z.strictObject({
        roles: distinct(role, { min: 0, max: groupRoles.length }),
        intents: distinct(taskIntent, { min: 0, max: 500 }),
      }),
      example: exampleRights,
      status: 200,
      answer: group,
      answerExample: example,
      refusals: { 409: 'The directory has deleted this group: its rights can only be taken away.' },
      run: ({ id, body, act }) => groups.changeGroupRights(db, act, id, body),
    }),
  ];
}
