import { WritError } from '../../errors.ts';

/** How long any call may take to be answered while the database is away, in milliseconds. */
export const answerMs = 9_000;

/**
 * Runs `work` and settles as it does, but after `ms` rejects with `unavailable` at the latest. `work` goes on
 * (a statement that was sent cannot be taken back), and its late outcome is dropped.
 */
export async function withDeadline<T>(ms: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new WritError('unavailable', `not answered within ${ms} ms`)), ms);
  });
  const running = work();
  running.catch(() => {});
  try {
    return await Promise.race([running, late]);
  } finally {
    clearTimeout(timer);
  }
}
