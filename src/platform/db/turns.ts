/**
 * Turns: inside one process, whoever waits for an owner waits here, without a database connection. Where they waited in
 * the database instead, thirty requests about one person would hold the whole pool, and everybody else would wait too.
 */
import { WritError } from '../../errors.ts';
import type { Db } from './client.ts';

/** As long as the database would wait for the lock itself. */
const patienceMs = 3_000;

/** The last in line for each id. */
type Line = Map<string, Promise<void>>;
const lines = new WeakMap<Db, Line>();

async function waitFor(previous: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new WritError('unavailable', 'an owner is being changed by others')), patienceMs);
  });
  try {
    await Promise.race([previous, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `work` once it is the turn of this caller for `id`. @throws WritError `unavailable` after three seconds. */
async function inTurn<T>(line: Line, id: string, work: () => Promise<T>): Promise<T> {
  const previous = line.get(id);
  let done = (): void => {};
  const mine = new Promise<void>((resolve) => {
    done = resolve;
  });
  // Whoever comes next waits for both: a caller that lost its patience does not let others overtake who is at work.
  const last = previous === undefined ? mine : Promise.all([previous, mine]).then(() => undefined);
  line.set(id, last);
  try {
    if (previous !== undefined) await waitFor(previous);
    return await work();
  } finally {
    done();
    if (line.get(id) === last) line.delete(id);
  }
}

/** Runs `work` once it is this caller's turn for each of the ids, taken in the order given. */
export async function takeTurns<T>(db: Db, ids: readonly string[], work: () => Promise<T>): Promise<T> {
  const line = lines.get(db) ?? new Map<string, Promise<void>>();
  lines.set(db, line);
  const run = (index: number): Promise<T> => {
    const id = ids[index];
    return id === undefined ? work() : inTurn(line, id, () => run(index + 1));
  };
  return run(0);
}
