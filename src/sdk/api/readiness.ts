import { VerifyError } from './errors.ts';

/** Whether the feed was read at least once, and those who wait for it. */
export interface Readiness {
  reach(): void;
  /** Rejects those who wait now; reading goes on, and later callers wait again. */
  refuse(problem: Error): void;
  /** Rejects those who wait and everyone after. */
  end(problem: Error): void;
  isEnded(): boolean;
  wait(): Promise<void>;
  waitAtMost(timeoutMs: number): Promise<void>;
}

interface Waiter {
  resolve: () => void;
  reject: (error: VerifyError) => void;
}

/** Rejections are `VerifyError` `feed_stale` with the problem as their cause. */
export function createReadiness(): Readiness {
  const waiters = new Set<Waiter>();
  let isReached = false;
  let ended: Error | undefined;
  let lastProblem: Error | undefined;

  function rejectAll(problem: Error): void {
    for (const waiter of waiters) waiter.reject(new VerifyError('feed_stale', { cause: problem }));
    waiters.clear();
  }

  function wait(timeoutMs: number | undefined): Promise<void> {
    if (ended) return Promise.reject(new VerifyError('feed_stale', { cause: ended }));
    if (isReached) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve() {
          clearTimeout(timer);
          resolve();
        },
        reject(error) {
          clearTimeout(timer);
          reject(error);
        },
      };
      const expire = (): void => {
        waiters.delete(waiter);
        reject(new VerifyError('feed_stale', { cause: lastProblem ?? new Error('The feed was not read yet') }));
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(expire, timeoutMs);
      waiters.add(waiter);
    });
  }

  return {
    reach() {
      if (isReached) return;
      isReached = true;
      for (const waiter of waiters) waiter.resolve();
      waiters.clear();
    },
    refuse(problem) {
      lastProblem = problem;
      rejectAll(problem);
    },
    end(problem) {
      ended = problem;
      rejectAll(problem);
    },
    isEnded: () => ended !== undefined,
    wait: () => wait(undefined),
    waitAtMost: (timeoutMs) => wait(timeoutMs),
  };
}
