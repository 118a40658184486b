/** Work that recurs while the process lives. */

/** What of a logger is used. */
interface Log {
  error(members: object, message: string): void;
}

/**
 * Runs `work` again and again, `everyMs` after it last ended, one run at a time; a failure is logged and the next run
 * comes as usual. A run that answers `true` has more to do and is followed at once.
 * @returns stops it; resolves when a run that is under way has ended
 */
export function recur(name: string, everyMs: number, log: Log, work: () => Promise<unknown>): () => Promise<void> {
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  const run = async (): Promise<void> => {
    let more = false;
    try {
      more = (await work()) === true;
    } catch (error) {
      log.error({ err: error, work: name }, 'recurring work failed');
    }
    if (!stopped) plan(more ? 0 : everyMs);
  };
  const plan = (ms: number): void => {
    timer = setTimeout(() => {
      running = run();
    }, ms);
  };
  plan(0);
  return async () => {
    stopped = true;
    clearTimeout(timer);
    await running;
  };
}
