/**
 * Who is meant by `owner`, or by another member that names a person. A UUID is a person's id and nothing else; anything else is a `userName`, which names somebody
 * only within a directory, so that one that stands in two of them has to be given with its directory.
 */
import { and, eq, isNull, sql } from 'drizzle-orm';
import { WritError } from '../../errors.ts';
import type { Executor } from '../../platform/db/client.ts';
import { directories, people } from '../../platform/db/schema.ts';
import { canonicalId } from '../../platform/db/uuid.ts';
import { isDirectory } from './people.ts';

/** A person's id, a `userName`, or a `userName` in a directory that is given by id or name. */
export type OwnerName = string | { directory: string; userName: string };

export interface Owner {
  id: string;
  /** As of this read; decisive only under the owner's lock. */
  live: boolean;
  directoryId: string;
  userName: string;
}

/**
 * A deleted person is found by id only, and is not live.
 * @throws WritError `invalid_request` when nobody is meant; `conflict` when several are.
 */
export async function findOwner(executor: Executor, owner: OwnerName, member = 'owner'): Promise<Owner> {
  const id = typeof owner === 'string' ? canonicalId(owner) : null;
  const userName = typeof owner === 'string' ? owner : owner.userName;
  const found = await executor
    .select({
      id: people.id,
      live: people.live,
      directoryId: people.directoryId,
      userName: people.userName,
    })
    .from(people)
    .innerJoin(directories, eq(directories.id, people.directoryId))
    .where(
      id !== null
        ? eq(people.id, id)
        : and(
            sql`lower(${people.userName}) = lower(${userName})`,
            isNull(people.deletedAt),
            typeof owner === 'string' ? undefined : isDirectory(owner.directory),
          ),
    )
    .limit(2);
  const [person, another] = found;
  if (person === undefined) throw new WritError('invalid_request', `${member}: no such person`);
  if (another !== undefined) {
    throw new WritError(
      'conflict',
      `${member}: this userName stands in several directories; give {directory, userName}`,
    );
  }
  return person;
}
