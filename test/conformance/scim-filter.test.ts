/** RFC 7644 §3.4.2.2 over HTTP: what each operator, name and value means. What random filters mean: `properties/scim-filter`. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idIn, issuer, openScimWorld, type ScimDirectory, type ScimWorld } from '../support/scim.ts';

const core = 'urn:ietf:params:scim:schemas:core:2.0:User';
const enterprise = 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User';

let world: ScimWorld;
let directory: ScimDirectory;
let ids: Record<string, string>;
let created: Record<string, string>;
beforeAll(async () => {
  world = await openScimWorld();
  directory = await world.directory();
  const people: Record<string, Record<string, unknown>> = {
    ada: {
      externalId: 'E-1',
      displayName: 'Ada Byron',
      title: 'Dr',
      name: { familyName: 'Byron', givenName: 'Ada' },
      emails: [
        { type: 'work', value: 'Ada@Work.example', primary: true },
        { type: 'home', value: 'ada@home.example' },
      ],
      x509Certificates: [{ value: 'QUJD' }],
      [enterprise]: { department: 'R&D', manager: { value: 'boss-1' } },
    },
    bob: {
      externalId: 'e-1',
      displayName: '50%_off\\',
      title: '',
      active: false,
      emails: [{ type: 'work', value: 'bob@home.example' }],
      addresses: [{ locality: 'Oslo' }],
      [enterprise]: { costCenter: '4711' },
    },
    cy: { displayName: 'cy' },
  };
  const entries: [string, string][] = [];
  for (const [name, more] of Object.entries(people)) entries.push([name, await directory.user(`${name}@x`, more)]);
  ids = Object.fromEntries(entries);
  const members = [{ value: ids.ada }, { value: ids.cy }];
  ids.team = idIn(await directory.call('POST', '/Groups', { displayName: 'Team', externalId: 'T', members }));
  ids.empty = idIn(await directory.call('POST', '/Groups', { displayName: 'Empty' }));
  const all = [(await directory.call('GET', '/Users')).body?.Resources].flat().map((one) => Object(one));
  created = Object.fromEntries(all.map((one) => [String(one.userName).split('@')[0], one.meta.created]));
});
afterAll(() => world.close());

const fill = (filter: string) =>
  filter.replaceAll(/\{(\w+)(\.created)?\}/g, (_, name, at) => String((at === undefined ? ids : created)[name]));

const search = (path: string, filter: string) =>
  directory.call('GET', `/${path}?${new URLSearchParams({ filter: fill(filter) })}`);

/** Names of those who meet it, in the order of their creation. */
async function names(path: string, filter: string): Promise<string> {
  const { status, body } = await search(path, filter);
  expect(body, filter).toMatchObject({ schemas: ['urn:ietf:params:scim:api:messages:2.0:ListResponse'] });
  expect(status).toBe(200);
  const found = [body?.Resources].flat().map((one) => Object(one).id);
  return found.map((id) => Object.entries(ids).find(([, own]) => own === id)?.[0]).join(' ');
}

describe('RFC 7644 §3.4.2.2 users', () => {
  it.each<[string, string]>([
    // Operators, in any case; names in any case, bare and qualified.
    ['userName eq "ADA@X"', 'ada'],
    ['USERNAME Ne "ada@x"', 'bob cy'],
    ['userName co "@"', 'ada bob cy'],
    ['userName SW "b"', 'bob'],
    ['userName ew "a@x"', 'ada'],
    ['userName gt "BOB@x"', 'cy'],
    ['userName ge "bob@x"', 'bob cy'],
    ['userName lt "bob@x"', 'ada'],
    ['userName le "bob@x"', 'ada bob'],
    [`${core}:userName eq "ada@x"`, 'ada'],
    [`${core.toUpperCase()}:name.familyName eq "byron"`, 'ada'],
    [`${enterprise}:department eq "r&d"`, 'ada'],
    [`${enterprise}:manager.value eq "boss-1"`, 'ada'],
    [`${enterprise}:manager eq "boss-1"`, 'ada'],
    // caseExact
    ['externalId eq "E-1"', 'ada'],
    ['externalId sw "e"', 'bob'],
    ['id eq "{ada}"', 'ada'],
    ['id eq "nobody"', ''],
    ['x509Certificates.value eq "QUJD"', 'ada'],
    ['x509Certificates.value eq "qujd"', ''],
    // Precedence and grouping.
    ['userName eq "ada@x" or userName eq "bob@x" and active eq true', 'ada'],
    ['(userName eq "ada@x" or userName eq "bob@x") and active eq true', 'ada'],
    ['(userName eq "ada@x" or userName eq "bob@x") AND active eq false', 'bob'],
    ['not (userName eq "ada@x") and active eq true', 'cy'],
    ['NOT(userName eq "ada@x" or active eq false)', 'cy'],
    ['not (not (title eq "dr"))', 'ada'],
    // Presence; an empty string is none; null is its contrary.
    ['title pr', 'ada'],
    ['title eq null', 'bob cy'],
    ['not (title pr)', 'bob cy'],
    ['title ne null', 'ada'],
    ['title eq ""', 'bob'],
    ['title ne "Dr"', 'bob cy'],
    ['not (title eq "Dr")', 'bob cy'],
    ['name pr', 'ada'],
    ['emails pr', 'ada bob'],
    ['addresses pr', 'bob'],
    ['groups pr', 'ada cy'],
    [`${enterprise} pr`, 'ada bob'],
    [`${enterprise}:manager pr`, 'ada'],
    ['meta pr and schemas pr and id pr', 'ada bob cy'],
    // Booleans, also as Entra ID writes them; an element that does not say whether it is primary is not.
    ['active eq false', 'bob'],
    ['active eq "False"', 'bob'],
    ['active ne true', 'bob'],
    ['emails[primary eq true]', 'ada'],
    ['emails[primary eq false and type eq "work"]', 'bob'],
    // Several elements, or one and the same.
    ['emails co "@home"', 'ada bob'],
    ['emails.type eq "work" and emails.value co "@home"', 'ada bob'],
    ['emails[type eq "work" and value co "@home"]', 'bob'],
    ['emails[type eq "work"].value co "@home"', 'bob'],
    ['emails[type eq "work" and not (value co "@home")]', 'ada'],
    ['emails[type eq "home" or value eq "bob@home.example"]', 'ada bob'],
    ['emails.type ne "work"', 'ada'],
    ['emails eq "ADA@work.example"', 'ada'],
    ['emails[value eq "ADA@work.example"]', 'ada'],
    ['emails[type eq "work" and value eq "ada@home.example"]', ''],
    ['addresses[locality eq "OSLO"]', 'bob'],
    ['name[familyName eq "Byron" and givenName sw "A"]', 'ada'],
    // What is special to patterns is not.
    ['displayName co "%_"', 'bob'],
    ['displayName sw "%"', ''],
    ['displayName ew "\\\\"', 'bob'],
    ['userName co "_"', ''],
    ['userName co ""', 'ada bob cy'],
    // Groups, schemas, meta.
    ['groups eq "{team}"', 'ada cy'],
    ['groups.value eq "{empty}"', ''],
    ['groups[display eq "team" and type eq "direct"]', 'ada cy'],
    [`groups.$ref eq "${issuer}/scim/v2/Groups/{team}"`, 'ada cy'],
    [`schemas eq "${enterprise}"`, 'ada bob'],
    [`schemas eq "${core}"`, 'ada bob cy'],
    [`not (schemas eq "${enterprise}")`, 'cy'],
    ['meta.resourceType eq "User"', 'ada bob cy'],
    ['meta.resourceType eq "Group"', ''],
    ['meta.version eq "W/\\"1\\""', 'ada bob cy'],
    [`meta.location eq "${issuer}/scim/v2/Users/{bob}"`, 'bob'],
    // Instants, not texts; as they are shown.
    ['meta.created eq "{bob.created}"', 'bob'],
    ['meta.created gt "{bob.created}"', 'cy'],
    ['meta.created ge "{bob.created}"', 'bob cy'],
    ['meta.created lt "{bob.created}"', 'ada'],
    ['meta.created le "{bob.created}"', 'ada bob'],
    ['meta.created ne "{bob.created}"', 'ada cy'],
    ['meta.lastModified gt "2011-05-13T04:42:34Z"', 'ada bob cy'],
    ['meta.lastModified lt "2011-05-13T04:42:34+02:00"', ''],
    ['meta.lastModified le "9999-12-31T23:59:59.999Z" and meta.created gt "0001-01-01t00:00:00z"', 'ada bob cy'],
  ])('%s', async (filter, expected) => expect(await names('Users', filter)).toBe(expected));

  it('an instant means the same in every zone and with any number of digits', async () => {
    const at = String(created.bob);
    const zoned = `${new Date(Date.parse(at) + 7_200_000).toISOString().slice(0, -1)}+02:00`;
    expect(await names('Users', `meta.created eq "${zoned}"`)).toBe('bob');
    expect(await names('Users', `meta.created eq "${at.replace('Z', '000Z')}"`)).toBe('bob');
    expect(await names('Users', `meta.created eq "${at.replace('Z', '5Z')}"`)).toBe('');
    expect(await names('Users', `meta.created gt "${at.replace('Z', '5Z')}"`)).toBe('cy');
  });
});

describe('RFC 7644 §3.4.2.2 groups', () => {
  it.each<[string, string]>([
    ['displayName eq "team"', 'team'],
    ['displayName sw "e"', 'empty'],
    ['externalId pr', 'team'],
    ['externalId eq "t"', ''],
    ['members pr', 'team'],
    ['not (members pr)', 'empty'],
    ['members eq "{ada}"', 'team'],
    ['members.value eq "{bob}"', ''],
    ['members[value eq "{ada}" and display eq "ada byron"]', 'team'],
    ['members[value eq "{ada}" and display eq "cy"]', ''],
    ['members.type eq "User"', 'team'],
    [`members.$ref ew "/Users/{cy}"`, 'team'],
    ['meta.resourceType eq "Group" and meta.created ge "2011-05-13T04:42:34Z"', 'team empty'],
    ['urn:ietf:params:scim:schemas:core:2.0:Group:displayName eq "Empty"', 'empty'],
  ])('%s', async (filter, expected) => expect(await names('Groups', filter)).toBe(expected));
});

describe('RFC 7644 §3.12 invalidFilter', () => {
  it.each([
    '(',
    'userName',
    'userName eq',
    'userName xx "a"',
    'userName eq a',
    'userName eq "a',
    'userName eq "a" and',
    'userName eq "a" xor id eq "b"',
    'userName eq "a"and id eq "b"',
    'not userName eq "a"',
    'emails[type eq "work"',
    'emails[type eq "work"]value eq "x"',
    'emails[members[value eq "x"]]',
    'emails[kind eq "work"]',
    'emails[type eq "work"].kind eq "x"',
    'userName[value eq "a"]',
    'userName eq 1',
    'userName gt true',
    'userName gt null',
    'active gt true',
    'active sw "t"',
    'active eq "maybe"',
    'x509Certificates.value gt "A"',
    'meta.created eq "yesterday"',
    'meta.created eq "2026-02-30T00:00:00Z"',
    'meta.created sw "2026"',
    'meta.created gt "0000-01-01T00:00:00Z"',
    'name eq "a"',
    'addresses eq "a"',
    'meta eq "a"',
    `${enterprise} eq "a"`,
    `${enterprise}:manager.displayName eq "Boss"`,
    'userName eq "\\u0000"',
    `${'('.repeat(17)}userName pr${')'.repeat(17)}`,
    Array(101).fill('userName pr').join(' or '),
    `userName eq "${'a'.repeat(5_000)}"`,
  ])('%s', async (filter) => {
    expect(await search('Users', filter)).toMatchObject({ status: 400, body: { scimType: 'invalidFilter' } });
  });

  it('a name that the schema lacks is told, for a typo that matches nobody would make an IdP create people anew', async () => {
    for (const name of ['usrName', 'password', 'members', 'urn:x:userName']) {
      const { status, body } = await search('Users', `${name} eq "a"`);
      expect(status).toBe(400);
      expect(body?.detail).toContain(name);
    }
  });

  it('what is bounded is bounded generously', async () => {
    expect(await names('Users', Array(100).fill('userName pr').join(' or '))).toBe('ada bob cy');
    expect(await names('Users', `${'('.repeat(16)}userName pr${')'.repeat(16)}`)).toBe('ada bob cy');
  });
});
