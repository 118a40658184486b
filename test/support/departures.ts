/** What tests of departures ask of the database: who is live, which receipts there are, what holds agents. */
import type { ScimDirectory, ScimWorld } from './scim.ts';

export const patchOf = (...Operations: object[]) => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations,
});
export const setActive = (value: boolean) => patchOf({ op: 'replace', path: 'active', value });

export interface Standing {
  active: boolean;
  live: boolean;
  excluded: boolean;
  deleted: boolean;
}

export async function standingOf({ sql }: ScimWorld, person: string): Promise<Standing> {
  const [row] = await sql<Standing[]>`
    select active, live, excluded, deleted_at is not null as deleted from people where id = ${person}`;
  if (row === undefined) throw new Error(`there is no person ${person}`);
  return { ...row };
}

export interface Receipt {
  id: string;
  method: string;
  confirmation: string | null;
}

/** Oldest first. */
export const receiptsOf = async ({ sql }: ScimWorld, person: string): Promise<Receipt[]> =>
  (
    await sql<Receipt[]>`
      select id, method, confirmation from offboardings where person_id = ${person} order by seq`
  ).map((row) => ({ ...row }));

/** `null`: it could get a token now. */
export async function whyDead({ sql }: ScimWorld, agent: string): Promise<string | null> {
  const [row] = await sql`select why_dead(${agent}) as why`;
  return row?.why ?? null;
}

/** Ids in the header that is the proof of departures. */
export const named = ({ headers }: { headers: Headers }): string[] =>
  (headers.get('writ-offboarding') ?? '').split(', ').filter((id) => id !== '');

export async function makeGroup(directory: ScimDirectory, members: readonly string[] = []): Promise<string> {
  const made = await directory.call('POST', '/Groups', {
    displayName: 'Agent owners',
    members: members.map((value) => ({ value })),
  });
  if (made.status !== 201) throw new Error(`the group was not made: ${made.status}`);
  return String(made.body?.id);
}
