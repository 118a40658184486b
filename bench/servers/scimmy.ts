/** What Writ's SCIM is compared with: scimmy-routers on Express, users in memory, indexed by their names. */
import { randomUUID } from 'node:crypto';
import express from 'express';
import scimmy from 'scimmy';
import Routers from 'scimmy-routers';

interface User {
  id: string;
  userName: string;
}

const users = new Map<string, User>();
const byName = new Map<string, User>();

/** The value of `userName eq "…"`, as scimmy parses it. */
function readWantedName(filter: unknown): string | undefined {
  const [condition] = Array.isArray(filter) ? filter : [];
  const [operator, value] = condition?.userName ?? [];
  return operator === 'eq' ? String(value).toLowerCase() : undefined;
}

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
  egress: (resource: { id?: string; filter?: unknown }) => {
    if (resource.id !== undefined) {
      const user = users.get(resource.id);
      if (user === undefined) throw new scimmy.Types.Error(404, '', 'no such user');
      return user;
    }
    const name = readWantedName(resource.filter);
    if (name === undefined) return [...users.values()];
    const user = byName.get(name);
    return user === undefined ? [] : [user];
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
