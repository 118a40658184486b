/** Receipts: what they say of agents and verifiers, and that anyone can check them with the published keys alone. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { decodeProtectedHeader } from 'jose';
import postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeFolder, runCli } from '../support/cli.ts';
import {
  askToken,
  createWorld,
  crm,
  decodeToken,
  must,
  readIntent,
  signJwt,
  type World,
  writeIntent,
} from '../support/world.ts';
import { adminToken, readAnswer, startWrit, type TestWrit } from '../support/writ.ts';

let writ: TestWrit;
let world: World;
let sql: postgres.Sql;
const open: AbortController[] = [];
beforeAll(async () => {
  writ = await startWrit();
  world = await createWorld(writ);
  sql = postgres(writ.databaseUrl, { max: 2, onnotice: () => {} });
});
afterAll(async () => {
  for (const stream of open) stream.abort();
  await sql.end();
  await writ.close();
});

const credentials = (): string => {
  const { clientId, clientSecret } = world.api.feedCredentials;
  return `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`;
};

/** Holds a stream of the feed open under this name, and acknowledges nothing by itself. */
async function follow(verifier: string): Promise<AbortController> {
  const stream = new AbortController();
  open.push(stream);
  const headers = { authorization: credentials(), 'writ-verifier': verifier };
  const response = await fetch(`${writ.url}/revocations`, { headers, signal: stream.signal });
  expect(response.status).toBe(200);
  return stream;
}

const acknowledge = (verifier: string, seq: number) =>
  fetch(`${writ.url}/revocations/ack`, {
    method: 'POST',
    headers: { authorization: credentials(), 'content-type': 'application/json' },
    body: JSON.stringify({ seq, verifier }),
  });

async function noted(names: string[]): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const rows = await sql<{ verifier: string }[]>`select verifier from followers order by 1`;
    if (rows.map(({ verifier }) => verifier).join() === names.join()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the followers are not ${names}`);
}

const receiptOf = async (id: string) => must(await writ.admin('GET', `/offboardings/${id}`)).body;

let receipt: Awaited<ReturnType<typeof receiptOf>>;

test('a receipt says of each agent what was live, and which connected verifiers have acknowledged it or not', async () => {
  await follow('crm-1');
  await follow('crm-2');
  const gone = await follow('crm-3');
  await noted(['crm-1', 'crm-2', 'crm-3']);
  gone.abort();
  await noted(['crm-1', 'crm-2']);
  must(await askToken(writ, world.triage, { scope: readIntent }));
  must(await askToken(writ, world.triage, { scope: readIntent }));
  must(await writ.admin('POST', `/agents/${world.helper.id}/suspend`, { reason: 'test' }));
  const answer = must(await world.scim('DELETE', `/Users/${world.alice}`));
  const id = answer.headers.get('writ-offboarding') ?? '';
  const { seq } = await receiptOf(id);
  expect((await acknowledge('crm-1', seq)).status).toBe(204);
  receipt = await receiptOf(id);
  const intents = [readIntent, writeIntent];
  expect(receipt.agents).toEqual([
    {
      ...{ id: world.helper.id, name: 'helper', parent: world.triage.id, outcome: 'stopped' },
      ...{ wasLive: false, intents, tokensUnexpired: 0, children: 0 },
    },
    {
      ...{ id: world.triage.id, name: 'triage', parent: null, outcome: 'stopped' },
      ...{ wasLive: true, intents, tokensUnexpired: 2, children: 1 },
    },
  ]);
  expect(receipt.acknowledgements).toMatchObject([{ api: crm, verifier: 'crm-1', seq }]);
  expect(receipt.unacknowledged).toEqual([{ api: crm, verifier: 'crm-2' }]);
  const { header, claims } = decodeToken(receipt.jws);
  const { jws: _, ...said } = receipt;
  expect(header).toMatchObject({ typ: 'writ-receipt+jwt' });
  expect(claims).toMatchObject({ iss: writ.url, ...said });
});

test('what changes after the departure changes nothing in its receipt', async () => {
  must(await writ.admin('PATCH', `/agents/${world.triage.id}`, { intents: [] }));
  must(await writ.admin('POST', `/agents/${world.helper.id}/decommission`, { reason: 'test' }));
  expect((await receiptOf(receipt.id)).agents).toEqual(receipt.agents);
});

test('a page says of each receipt what the receipt itself says', async () => {
  for (const name of ['one', 'two', 'three']) {
    const schemas = ['urn:ietf:params:scim:schemas:core:2.0:User'];
    const { id } = must(await world.scim('POST', '/Users', { schemas, userName: `${name}@example.com` })).body;
    await world.createAgent({ name, owner: id, environment: 'production' });
    const gone = must(await world.scim('DELETE', `/Users/${id}`));
    const { seq } = await receiptOf(gone.headers.get('writ-offboarding') ?? '');
    await acknowledge(name, seq);
  }
  const { items } = must(await writ.admin('GET', '/offboardings')).body;
  expect(items).toHaveLength(4);
  for (const item of items) {
    const { jws: _, ...whole } = await receiptOf(item.id);
    expect(item).toEqual(whole);
  }
  // Numbers of the feed are applied in order: who acknowledges a later one has applied the earlier one too.
  expect(items.map((item: { acknowledgements: unknown[] }) => item.acknowledgements.length)).toEqual([1, 2, 3, 4]);
});

test('a receipt of an earlier release, which names its agents alone, is still read, shown and verified', async () => {
  const id = randomUUID();
  const agents = JSON.stringify([
    { id: randomUUID(), name: 'b' },
    { id: randomUUID(), name: 'a' },
  ]);
  await sql`
    insert into offboardings (id, person_id, directory_id, user_name, method, request_id, agents, tokens_unexpired,
      requested_at, committed_at, seq)
    values (${id}, ${world.bob}, ${world.directory.id}, 'bob@example.com', 'PATCH', 'r-1', ${agents}::text::jsonb, 0, now(), now(), -7)`;
  const old = await receiptOf(id);
  expect(old.agents.map((agent: object) => Object.keys(agent))).toEqual([
    ['id', 'name'],
    ['id', 'name'],
  ]);
  expect(old).not.toHaveProperty('unacknowledged');
  using folder = makeFolder();
  const env = { WRIT_URL: writ.url, WRIT_ADMIN_TOKEN: adminToken };
  const page = await runCli(['offboardings', 'show', id], { env, cwd: folder.path });
  expect(page).toMatchObject({ code: 0, stderr: '' });
  expect(page.stdout).toMatch(/\n {2}ID +NAME\n {2}\S+ {2}a\n {2}\S+ {2}b\n/);
  const verified = await runCli(['receipt', 'verify', '-'], { env, input: old.jws });
  expect(verified.code).toBe(0);
});

describe('writ', () => {
  const env = () => ({ WRIT_URL: writ.url, WRIT_ADMIN_TOKEN: adminToken });
  /** An auditor's machine: no server is named, and no credential. */
  const offline = { WRIT_URL: 'http://127.0.0.1:1', WRIT_ADMIN_TOKEN: '' };
  const readKeys = async (): Promise<string> => {
    const { body } = await readAnswer(await fetch(`${writ.url}/oauth/jwks`));
    return JSON.stringify(body);
  };

  test('offboardings show: by the person, their id or the receipt’s; a line for each agent, and who has not acknowledged', async () => {
    for (const reference of ['alice@example.com', world.alice, receipt.id]) {
      const { code, stdout, stderr } = await runCli(['offboardings', 'show', reference], { env: env() });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`Person     alice@example.com (${world.alice})`);
      expect(stdout).toMatch(
        /helper +stopped +no +0 +0 +incident_remediation.ticket_read, incident_remediation.ticket_up/,
      );
      expect(stdout).toMatch(/triage +stopped +yes +2 +1 /);
      expect(stdout).toMatch(/crm-1 +\d+ +/);
      expect(stdout).toContain(`crm-2 at ${crm} was connected and has not acknowledged it.`);
    }
    const alias = await runCli(['offboardings', 'get', receipt.id, '--json'], { env: env() });
    expect(JSON.parse(alias.stdout)).toMatchObject({ id: receipt.id });
    expect((await runCli(['offboardings', 'show', randomUUID()], { env: env() })).code).toBe(4);
  });

  test('receipt verify: offline with keys that were kept, online with the issuer’s, from a file and from standard input', async () => {
    using folder = makeFolder();
    writeFileSync(folder.file('receipt.json'), JSON.stringify(receipt));
    writeFileSync(folder.file('jwks.json'), await readKeys());
    for (const source of [
      ['--jwks', folder.file('jwks.json')],
      ['--jwks', folder.file('jwks.json'), '--issuer', writ.url],
      ['--issuer', writ.url],
    ]) {
      const { code, stdout, stderr } = await runCli(['receipt', 'verify', folder.file('receipt.json'), ...source], {
        env: offline,
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`The signature is good: ${writ.url} signed this.`);
      expect(stdout).toMatch(/triage +stopped +yes/);
    }
    const piped = await runCli(['receipt', 'verify', '-', '--jwks', folder.file('jwks.json'), '--json'], {
      env: offline,
      input: receipt.jws,
    });
    expect(JSON.parse(piped.stdout)).toMatchObject({ iss: writ.url, unacknowledged: receipt.unacknowledged });
  });

  test('receipt verify: whatever was tampered with, another’s key and another issuer are exit code 6', async () => {
    using folder = makeFolder();
    writeFileSync(folder.file('jwks.json'), await readKeys());
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { kid } = decodeProtectedHeader(receipt.jws);
    const [header, payload = '', signature] = receipt.jws.split('.');
    const signed = JSON.parse(Buffer.from(payload, 'base64url').toString());
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const typ = 'writ-receipt+jwt';
    const cases: [name: string, content: unknown, why: string][] = [
      ['an agent left out of the text', { ...receipt, agents: receipt.agents.slice(1) }, '"agents"'],
      ['nobody missing', { ...receipt, unacknowledged: [] }, '"unacknowledged"'],
      ['a member that nobody signed', { ...receipt, approvedBy: 'me' }, '"approvedBy"'],
      [
        'an agent left out of the payload',
        [header, encode({ ...signed, agents: [] }), signature].join('.'),
        'signature does not fit',
      ],
      [
        'signed by another under our key id',
        signJwt(stranger.privateKey, { kid, typ }, signed),
        'signature does not fit',
      ],
      ['signed by another', signJwt(stranger.privateKey, { kid: 'other', typ }, signed), 'publishes no such key'],
      ['unsigned', `${encode({ alg: 'none', kid, typ })}.${payload}.x`, 'does not verify'],
      [
        'an access token',
        must(await askToken(writ, world.billing, { scope: readIntent })).body.access_token,
        'no receipt',
      ],
    ];
    for (const [name, content, why] of cases) {
      writeFileSync(folder.file('receipt'), typeof content === 'string' ? content : JSON.stringify(content));
      const { code, stderr, stdout } = await runCli(
        ['receipt', 'verify', folder.file('receipt'), '--jwks', folder.file('jwks.json')],
        { env: offline },
      );
      expect({ name, code, stdout, stderr }).toEqual({
        name,
        code: 6,
        stdout: '',
        stderr: expect.stringContaining(why),
      });
    }
    const other = [
      'receipt',
      'verify',
      '-',
      '--jwks',
      folder.file('jwks.json'),
      '--issuer',
      'https://other.example.com',
    ];
    expect((await runCli(other, { env: offline, input: receipt.jws })).code).toBe(6);
  });

  test('receipt verify: a key that was rotated since goes on verifying; one that was revoked does not', async () => {
    using folder = makeFolder();
    writeFileSync(folder.file('receipt.jws'), receipt.jws);
    writeFileSync(folder.file('kept.json'), await readKeys());
    const verify = (...source: string[]) =>
      runCli(['receipt', 'verify', folder.file('receipt.jws'), ...source], { env: offline });
    must(await writ.admin('POST', '/keys/rotate'));
    // As it is days later: a new key is published for a while before it signs.
    await sql`update signing_keys set signs_from = signs_from - interval '10 days', retired_at = retired_at - interval '10 days'`;
    const { kid } = decodeProtectedHeader(receipt.jws);
    await signsAnew(kid);
    expect((await verify('--issuer', writ.url)).code).toBe(0);
    must(await writ.admin('POST', `/keys/${kid}/revoke`, { reason: 'test' }));
    const { code, stderr } = await verify('--issuer', writ.url);
    expect({ code, stderr }).toEqual({ code: 6, stderr: expect.stringContaining('publishes no such key') });
    // Whoever kept the keys knows nothing of it: that is what asking the issuer is for.
    expect((await verify('--jwks', folder.file('kept.json'))).code).toBe(0);
  });

  async function signsAnew(kid: string | undefined): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt++) {
      if (decodeProtectedHeader((await receiptOf(receipt.id)).jws).kid !== kid) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error('receipts are still signed with the old key');
  }
});
