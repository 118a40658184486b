/** A directory with as many users as are wanted and one large group, in Writ or in the memory of another server. */
import { randomUUID } from 'node:crypto';
import type { Company } from './company.ts';
import { createClient, type Request } from './load.ts';
import type { Server } from './processes.ts';

const userSchema = 'urn:ietf:params:scim:schemas:core:2.0:User';
const groupSchema = 'urn:ietf:params:scim:schemas:core:2.0:Group';

interface User {
  id: string;
  userName: string;
  externalId: string;
}

export interface Directory {
  server: Server;
  headers: Record<string, string>;
  /** Some of its users, at random. */
  users: User[];
  /** Some who are not in the group. */
  strangers: User[];
  group: string;
  /** Of pages that are there. */
  cursors: string[];
  /** The body of somebody new. */
  render(): string;
}

const sampled = 2_000;
export const groupSizes = (users: number): number => users / 10;

const headersOf = (token: string) => ({
  authorization: `Bearer ${token}`,
  'content-type': 'application/scim+json',
});

const renderUser = (userName = `${randomUUID()}@example.com`): string =>
  JSON.stringify({
    schemas: [userSchema],
    userName,
    externalId: randomUUID(),
    name: { givenName: 'Alice', familyName: 'Example' },
    displayName: 'Alice Example',
    emails: [{ value: userName, type: 'work', primary: true }],
    active: true,
  });

/** Past its edge, in a minute: provisioned one by one, a million users take an hour. */
export async function seedWrit({ server, sql, directory }: Company, size: number): Promise<Directory> {
  const headers = headersOf(directory.scimToken);
  await sql`
    insert into people (directory_id, user_name, external_id, display_name, attributes, created_at)
    select ${directory.id}, 'user' || n || '@example.com', gen_random_uuid()::text, 'User ' || n,
      jsonb_build_object(
        'name', jsonb_build_object('givenName', 'User', 'familyName', 'Number ' || n),
        'emails', jsonb_build_array(
          jsonb_build_object('value', 'user' || n || '@example.com', 'type', 'work', 'primary', true))),
      clock_timestamp() - make_interval(secs => ${size}::int - n)
    from generate_series(1, ${size}::int) as n`;
  const [group] = await sql<{ id: string }[]>`
    insert into groups (directory_id, display_name) values (${directory.id}, 'Everybody') returning id`;
  if (group === undefined) throw new Error('the group was not written');
  await sql`
    insert into group_members (group_id, person_id)
    select ${group.id}, id from people where directory_id = ${directory.id} order by created_at limit ${groupSizes(size)}`;
  await sql`vacuum (analyze) people`;
  await sql`vacuum (analyze) group_members`;
  const pick = (isIn: boolean) => sql<User[]>`
    select id, user_name as "userName", external_id as "externalId" from people p
    where directory_id = ${directory.id}
      and exists (select from group_members m where m.person_id = p.id and m.group_id = ${group.id}) = ${isIn}
    order by random() limit ${sampled}`;
  const [members, strangers] = [await pick(true), await pick(false)];
  const cursors = await walk(server, headers);
  return {
    server,
    headers,
    users: [...members.slice(0, sampled / 2), ...strangers.slice(0, sampled / 2)],
    strangers: [...strangers],
    group: group.id,
    cursors,
    render: renderUser,
  };
}

/** The cursors of up to a hundred pages. */
async function walk(server: Server, headers: Record<string, string>): Promise<string[]> {
  const client = createClient(server.url, 1);
  const cursors: string[] = [];
  try {
    let cursor: string | undefined = '';
    while (cursor !== undefined && cursors.length < 100) {
      const path = `/scim/v2/Users?count=100&cursor=${cursor}`;
      const { status, body } = await client.send({ method: 'GET', path, headers });
      if (status !== 200) throw new Error(`${path} answered ${status}: ${body.slice(0, 300)}`);
      cursor = JSON.parse(body).nextCursor;
      if (cursor !== undefined) cursors.push(cursor);
    }
  } finally {
    client.close();
  }
  return cursors;
}

export async function seedMemory(server: Server, token: string, size: number): Promise<Directory> {
  const headers = headersOf(token);
  const client = createClient(server.url, 8);
  const send = async (request: Request) => {
    const { status, body } = await client.send(request);
    if (status !== 201) throw new Error(`${server.name} answered ${status}: ${body.slice(0, 300)}`);
    return JSON.parse(body);
  };
  try {
    const users: User[] = [];
    for (let n = 0; n < size; n += 100) {
      const some = Array.from({ length: Math.min(100, size - n) }, async () => {
        const { id, userName, externalId } = await send({ path: '/scim/v2/Users', headers, body: renderUser() });
        return { id, userName, externalId };
      });
      users.push(...(await Promise.all(some)));
    }
    const members = users.slice(0, groupSizes(size)).map(({ id }) => ({ value: id }));
    const body = JSON.stringify({ schemas: [groupSchema], displayName: 'Everybody', members });
    const { id: group } = await send({ path: '/scim/v2/Groups', headers, body });
    return { server, headers, users, strangers: users.slice(members.length), group, cursors: [], render: renderUser };
  } finally {
    client.close();
  }
}
