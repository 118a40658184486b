/** A connector's sequence as steps, each with what its answer has to be. Pure. */
import { isRow, type Row } from '../json.ts';
import { familyName, type Habits, type ScimCall, type Subject } from './habits.ts';

export interface Step {
  what: string;
  call: (subject: Subject) => ScimCall;
  statuses: readonly number[];
  /** What is wrong with the answer; `null`: nothing. */
  check?: (body: Row, subject: Subject) => string | null;
  /** The answer's `id` is that of the throwaway user, or group. */
  makes?: 'userId' | 'groupId';
  /** What is gone after it. */
  ends?: 'userId' | 'groupId';
}

const resources = (body: Row): Row[] => (Array.isArray(body.Resources) ? body.Resources.filter(isRow) : []);
const expectTotal = (total: number) => (body: Row) =>
  body.totalResults === total ? null : `totalResults is ${JSON.stringify(body.totalResults)}, and not ${total}`;
const expectActive = (active: boolean) => (body: Row) =>
  body.active === active ? null : `active is ${JSON.stringify(body.active)}, and not ${active}`;
const expectFamilyName = (wanted: string) => (body: Row) =>
  isRow(body.name) && body.name.familyName === wanted ? null : 'the new family name is not there';
const memberIds = (body: Row): unknown[] =>
  (Array.isArray(body.members) ? body.members.filter(isRow) : []).map(({ value }) => value);
const expectMember =
  (isThere: boolean) =>
  (body: Row, { userId }: Subject) =>
    memberIds(body).includes(userId) === isThere ? null : `the user is ${isThere ? 'no' : 'still a'} member`;

const newName = `${familyName}-renamed`;
const readUser = ({ userId }: Subject): ScimCall => ({ method: 'GET', path: `/Users/${userId}` });
const readGroup = ({ groupId }: Subject): ScimCall => ({ method: 'GET', path: `/Groups/${groupId}` });
const done = [200, 204];

function matching({ match }: Habits, when: string, check: Step['check']): Step[] {
  return match === undefined
    ? []
    : [{ what: `looks for the user ${when}`, call: match, statuses: [200], ...(check && { check }) }];
}

/** All that the connector does, from the test of the connection to the end of what it made. */
export function stepsOf(habits: Habits): Step[] {
  return [
    ...habits.test.map(
      ({ what, call, isEmpty }): Step => ({
        what: `test connection: ${what}`,
        call,
        statuses: [200],
        ...(isEmpty === true ? { check: expectTotal(0) } : {}),
      }),
    ),
    ...matching(habits, 'who is not there yet', expectTotal(0)),
    { what: 'creates the user', call: habits.create, statuses: [201], makes: 'userId', check: expectActive(true) },
    ...matching(habits, 'and finds them', (body, { userId }) =>
      resources(body).some(({ id }) => id === userId) ? null : 'the user is not found',
    ),
    { what: 'changes the user', call: (subject) => habits.update(subject, newName), statuses: [200] },
    { what: 'reads the change', call: readUser, statuses: [200], check: expectFamilyName(newName) },
    { what: 'deactivates the user', call: habits.deactivate, statuses: [200], check: expectActive(false) },
    { what: 'deactivates once more', call: habits.deactivate, statuses: [200], check: expectActive(false) },
    { what: 'reads that they are gone', call: readUser, statuses: [200], check: expectActive(false) },
    { what: 'reactivates the user', call: habits.reactivate, statuses: [200], check: expectActive(true) },
    { what: 'creates the group', call: habits.createGroup, statuses: [201], makes: 'groupId' },
    { what: 'adds the user to the group', call: habits.addMember, statuses: done },
    { what: 'reads the member', call: readGroup, statuses: [200], check: expectMember(true) },
    { what: 'removes the user from the group', call: habits.removeMember, statuses: done },
    { what: 'reads that they are no member', call: readGroup, statuses: [200], check: expectMember(false) },
    {
      what: 'deletes the group',
      call: ({ groupId }) => ({ method: 'DELETE', path: `/Groups/${groupId}` }),
      statuses: [204],
      ends: 'groupId',
    },
    ...(habits.deletesUsers
      ? [deleteUser('deletes the user')]
      : [
          {
            what: 'deactivates the user for good',
            call: habits.deactivate,
            statuses: [200],
            check: expectActive(false),
          },
        ]),
  ];
}

const deleteUser = (what: string): Step => ({
  what,
  call: ({ userId }) => ({ method: 'DELETE', path: `/Users/${userId}` }),
  statuses: [204],
  ends: 'userId',
});

/** What is still there of the throwaway user and group, whatever went wrong, and what an IdP would leave behind. */
export const cleanUpSteps = ({ userId, groupId }: Subject): Step[] => [
  ...(groupId === ''
    ? []
    : [
        {
          what: 'clean-up: deletes the group',
          call: () => ({ method: 'DELETE' as const, path: `/Groups/${groupId}` }),
          statuses: [204, 404],
          ends: 'groupId' as const,
        },
      ]),
  ...(userId === '' ? [] : [deleteUser('clean-up: deletes the user')]),
];
