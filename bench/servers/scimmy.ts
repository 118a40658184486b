/** What Writ's SCIM is compared with: scimmy-routers on Express, users and groups in Maps, searched by scimmy's own filter. */
import { randomUUID } from 'node:crypto';
import express from 'express';
import scimmy from 'scimmy';
import Routers from 'scimmy-routers';

interface User {
  id: string;
  userName: string;
  externalId?: string;
}

const users = new Map<string, User>();
const byName = new Map<string, User>();
const groups = new Map<string, object>();

scimmy.Resources.declare(scimmy.Resources.User, {
  ingress: (resource: { id?: string }, instance: object) => {
    const user = { ...instance, id: resource.id ?? randomUUID() } as User;
    const name = user.userName.toLowerCase();
    const holder = byName.get(name);
    if (holder !== undefined && holder.id !== user.id) throw new scimmy.Types.Error(409, 'uniqueness', 'in use');
    users.set(user.id, user);
    byName.set(name, user);
    return user;
  },
  egress: (resource: { id?: string; filter?: { match(users: User[]): User[] } }) => {
    if (resource.id !== undefined) {
      const user = users.get(resource.id);
      if (user === undefined) throw new scimmy.Types.Error(404, '', 'no such user');
      return user;
    }
    return resource.filter?.match([...users.values()]) ?? [...users.values()];
  },
  degress: () => {},
} as never);

scimmy.Resources.declare(scimmy.Resources.Group, {
  ingress: (resource: { id?: string }, instance: object) => {
    const group = { ...instance, id: resource.id ?? randomUUID() };
    groups.set(group.id, group);
    return group;
  },
  egress: (resource: { id?: string }) => {
    if (resource.id === undefined) return [...groups.values()];
    const group = groups.get(resource.id);
    if (group === undefined) throw new scimmy.Types.Error(404, '', 'no such group');
    return group;
  },
  degress: () => {},
} as never);

const expected = `Bearer ${process.env.BENCH_TOKEN}`;
const app = express();
app.get('/', (_request, response) => void response.send('ready'));
app.use(
  '/scim/v2',
  new Routers({
    type: 'bearer',
    handler: (request: { header(name: string): string | undefined }) => {
      if (request.header('authorization') !== expected) throw new Error('who is this?');
      return 'idp';
    },
  } as never),
);
app.listen(Number(process.env.PORT), '127.0.0.1');
