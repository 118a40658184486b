/** An IdP that falls silent, and a SCIM token that is about to end: told once, by one node, and well before it hurts. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createDirectory, rotateDirectoryToken } from '../../src/domain/people/directories.ts';
import { type DirectoryAlarms, watchDirectories } from '../../src/domain/people/directory-alarms.ts';
import { addTemporaryToken, tokensOf } from '../../src/domain/people/directory-tokens.ts';
import { createRequestLog } from '../../src/domain/people/scim-requests.ts';
import { type Ground, openGround } from '../support/ground.ts';

let ground: Ground;
let id: string;
const warnings: [object, string][] = [];
beforeAll(async () => {
  ground = await openGround();
});
afterAll(() => ground.close());
beforeEach(async () => {
  await ground.sql`delete from directory_tokens`;
  await ground.sql`update directories set silence_after_seconds = null, silent_since = null`;
  ({ id } = await createDirectory(ground.db, ground.act, { name: randomUUID(), kind: 'okta' }));
  warnings.length = 0;
});

const watch = (): Promise<DirectoryAlarms> =>
  watchDirectories(ground.db, ground.act, (members, message) => void warnings.push([members, message]));
const events = async (): Promise<string[]> => {
  const rows = await ground.sql`
    select kind from audit_entries
    where body::jsonb->'details'->>'directory' = ${id} and kind <> 'directory.created' order by counter`;
  return rows.map(({ kind }) => kind);
};
const hear = async (): Promise<void> => {
  const log = createRequestLog({ db: ground.db, act: ground.act, log: { warn: () => {} } });
  const text = { requestId: 'r', method: 'GET', path: '/Users', effect: 'read', scimType: null, detail: null };
  log.note({ ...text, directoryId: id, status: 200, ignored: [], tookMs: 1, userAgent: null });
  await log.flush();
};
const contact = async () =>
  (await ground.sql`select last_contact_at, silent_since from directories where id = ${id}`)[0];
const age = (seconds: number) =>
  ground.sql`update directories set last_contact_at = clock_timestamp() - make_interval(secs => ${seconds}) where id = ${id}`;

it('silence is told once, by one of several nodes, and ends with the next request', async () => {
  await ground.sql`update directories set silence_after_seconds = 60 where id = ${id}`;
  // One that has never been heard is not connected yet.
  expect(await watch()).toMatchObject({ silent: 0, contactAge: 0 });
  await hear();
  await age(59);
  expect(await watch()).toMatchObject({ silent: 0 });
  await age(61);
  // All three have seen it before one of them may raise the alarm.
  const held = await ground.sql.reserve();
  await held`begin`;
  await held`select from directories where id = ${id} for update`;
  const watches = [watch(), watch(), watch()];
  const waiting = () =>
    ground.sql`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
  await expect.poll(async () => (await waiting()).length).toBe(3);
  await held`commit`;
  held.release();
  expect((await Promise.all(watches)).some(({ silent }) => silent === 1)).toBe(true);
  const again = await watch();
  expect(again).toMatchObject({ silent: 1, expiring: 0 });
  expect(again.contactAge).toBeGreaterThan(60);
  expect(await events()).toEqual(['directory.silent']);
  expect(warnings).toMatchObject([[{ event: 'directory.silent', directory: id }, expect.stringContaining('silent')]]);
  expect((await contact())?.silent_since).not.toBeNull();

  await Promise.all([hear(), hear()]);
  expect(await watch()).toMatchObject({ silent: 0 });
  expect(await events()).toEqual(['directory.silent', 'directory.heard_again']);
  expect((await contact())?.silent_since).toBeNull();
});

it('a silence that the setting no longer calls one is over, without having been heard', async () => {
  await ground.sql`update directories set silence_after_seconds = 60 where id = ${id}`;
  await age(100);
  expect(await watch()).toMatchObject({ silent: 1 });
  await ground.sql`update directories set silence_after_seconds = 3600 where id = ${id}`;
  await watch();
  expect(await watch()).toMatchObject({ silent: 0 });
  expect(await events()).toEqual(['directory.silent']);
});

it('last_contact_at is written at most once in ten seconds', async () => {
  await hear();
  const first = (await contact())?.last_contact_at;
  await hear();
  expect((await contact())?.last_contact_at).toEqual(first);
  await age(11);
  await hear();
  expect(Date.parse((await contact())?.last_contact_at)).toBeGreaterThanOrEqual(Date.parse(first));
});

it.each([
  ['two weeks before the end of a long life', 365, 14.1, 13.9],
  ['in the last quarter of a short life', 20, 5.1, 4.9],
])('a token is told of once, %s', async (_when, lifeDays, before, after) => {
  const leave = (days: number) => ground.sql`
    update directory_tokens set expires_at = clock_timestamp() + make_interval(secs => ${days * 86_400}),
      created_at = clock_timestamp() - make_interval(secs => ${(lifeDays - days) * 86_400}) where directory_id = ${id}`;
  await leave(before);
  expect(await watch()).toMatchObject({ expiring: 0 });
  await leave(after);
  await Promise.all([watch(), watch()]);
  expect(await watch()).toMatchObject({ expiring: 1 });
  expect(await events()).toEqual(['directory.token_expiring']);
  expect(warnings).toMatchObject([[{ event: 'directory.token_expiring', directory: id }, expect.any(String)]]);
  await leave(-1);
  expect(await watch()).toMatchObject({ expiring: 0 });
  expect(await tokensOf(ground.db, [id])).toEqual(new Map());
});

it('the end of a temporary token is no alarm; a replaced one that still works for a day is', async () => {
  const { expiresAt } = await addTemporaryToken(ground.db, ground.act, id, 600);
  await ground.sql`update directory_tokens set created_at = created_at - interval '9 minutes', expires_at = expires_at - interval '9 minutes' where expires_at is not null`;
  expect(await watch()).toMatchObject({ expiring: 0 });
  expect(expiresAt.getTime()).toBeGreaterThan(Date.now() + 590_000);
  await ground.sql`update directory_tokens set created_at = created_at - interval '100 days' where expires_at is null`;
  await rotateDirectoryToken(ground.db, ground.act, id, { graceSeconds: 86_400 });
  await watch();
  expect(await watch()).toMatchObject({ expiring: 1 });
  expect(await events()).toEqual(['directory.token_added', 'directory.token_rotated', 'directory.token_expiring']);
});
