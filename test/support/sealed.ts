/** The audit log as its own verification sees it, once everything in it is sealed. */
import type { Parsed, TestWrit } from './writ.ts';

/** The answer of `POST /audit/verify`; its checkpoint is of the last entry. */
export async function awaitSealed(writ: TestWrit): Promise<Parsed> {
  for (const giveUpAt = performance.now() + 30_000; performance.now() < giveUpAt; ) {
    const { body } = await writ.admin('POST', '/audit/verify', {});
    if (body.ok !== true || body.checkpoint?.number === body.entries) return body;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the log was not sealed');
}
