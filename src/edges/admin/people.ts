/** Calls: humans known from a directory. The directory writes them; here they are read. */
import { z } from '@hono/zod-openapi';
import { groupRoles } from '../../domain/people/group-rights.ts';
import { getPersonWithGroups, listPeopleWithGroups } from '../../domain/people/group-views.ts';
import { readImpact } from '../../domain/people/impact.ts';
import type { Db } from '../../platform/db/client.ts';
import { type Call, call } from './call.ts';
import { impact, impactExample } from './impact-schemas.ts';
import { answeredInstant, exampleIds, exampleInstant, line, pageOf, paging, uuid } from './schemas.ts';

const person = z
  .object({
    id: uuid.openapi({ description: 'The SCIM id, and `human_owner_id` in tokens.' }),
    userName: z.string(),
    displayName: z.string().nullable(),
    externalId: z.string().nullable(),
    directory: z.object({ id: uuid, name: z.string() }),
    active: z.boolean(),
    excluded: z.boolean().openapi({ description: 'Not in the group that the directory requires, and so not live.' }),
    groups: z
      .array(z.object({ id: uuid, name: z.string() }))
      .openapi({ description: 'In which the directory has put them.' }),
    roles: z
      .array(z.enum(groupRoles))
      .openapi({ description: 'Which their groups give them, as long as they are active.' }),
    deletedAt: answeredInstant
      .nullable()
      .openapi({ description: 'When the directory deleted them; receipts still name them.' }),
    createdAt: answeredInstant,
    updatedAt: answeredInstant,
  })
  .openapi('Person');

const example = {
  id: exampleIds.person,
  userName: 'ada@example.com',
  displayName: 'Ada Lovelace',
  externalId: '00u1ada',
  directory: { id: exampleIds.directory, name: 'Okta' },
  active: true,
  excluded: false,
  groups: [{ id: exampleIds.group, name: 'Security' }],
  roles: ['security_reviewer'],
  deletedAt: null,
  createdAt: exampleInstant,
  updatedAt: exampleInstant,
};

export function peopleCalls({ db }: { db: Db }): Call[] {
  return [
    call({
      method: 'get',
      path: '/people',
      operationId: 'listPeople',
      tag: 'People',
      summary: 'List people',
      description: 'Of all directories, those who have left too.',
      query: z.strictObject({
        userName: line(256).optional().openapi({ description: 'The whole userName, whatever its case.' }),
        directory: line(200).optional().openapi({ description: 'A directory’s id or name.' }),
        active: z.enum(['true', 'false'], { error: 'has to be true or false' }).optional(),
        q: line(256).optional().openapi({ description: 'Part of the userName or display name.' }),
        ...paging,
      }),
      status: 200,
      answer: pageOf(person),
      answerExample: { items: [example], nextCursor: null },
      run: ({ query: { cursor, limit, active, ...filter } }) =>
        listPeopleWithGroups(
          db,
          { ...filter, active: active === undefined ? undefined : active === 'true' },
          { cursor, limit },
        ),
    }),
    call({
      method: 'get',
      path: '/people/{id}',
      operationId: 'getPerson',
      tag: 'People',
      summary: 'Read a person',
      status: 200,
      answer: person,
      answerExample: example,
      run: ({ id }) => getPersonWithGroups(db, id),
    }),
    impactCall(db),
  ];
}

const impactCall = (db: Db): Call =>
  call({
    method: 'get',
    path: '/people/{id}/impact',
    operationId: 'rehearseDeparture',
    tag: 'People',
    summary: 'Rehearse a departure',
    description:
      'What would stop if this person left now, what depends on it, and who could take over. The departure itself is run and rolled back: nothing changes, and its receipt would list the same. Of somebody who has left (`active: false`): what stands of theirs.',
    status: 200,
    answer: impact,
    answerExample: impactExample,
    run: ({ id }) => readImpact(db, id),
  });
