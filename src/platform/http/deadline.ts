import { WritError } from '../../errors.ts';

/** How long any call may take to be answered while the database is away, in milliseconds. */
export const answerMs = 9_000;

/**
 * Runs `work` and settles as it does, but after `ms` rejects with `unavailable` at the latest. `work` goes on
 * (a statement that was sent cannot be taken back), is told by the signal, and its late outcome is dropped.
 */
export async function withDeadline<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new WritError('unavailable', `not answered within ${ms} ms`);
      reject(error);
      controller.abort(error);
    }, ms);
  });
  const running = work(controller.signal);
  running.catch(() => {});
  try {
    return await Promise.race([running, late]);
  } finally {
    clearTimeout(timer);
  }
}
