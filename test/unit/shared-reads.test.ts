import { expect, test } from 'vitest';
import { shareReads } from '../../src/edges/ssf/shared-reads.ts';

/** Reads that end when the test says so. */
function startReads() {
  const begun: { key: string; end(value: string): void; fail(error: Error): void }[] = [];
  const share = shareReads(
    (key: string) =>
      new Promise<string>((resolve, reject) => {
        begun.push({ key, end: resolve, fail: reject });
      }),
  );
  return { begun, share };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

test('who asks while a read is under way gets the next one, together with all others', async () => {
  const { begun, share } = startReads();
  const first = share('a');
  const late = [share('a'), share('a'), share('a')];
  await settle();
  expect(begun).toHaveLength(1);
  begun[0]?.end('one');
  expect(await first).toBe('one');
  await settle();
  // Not the one that had begun before they asked.
  expect(begun).toHaveLength(2);
  const later = share('a');
  begun[1]?.end('two');
  expect(await Promise.all(late)).toEqual(['two', 'two', 'two']);
  await settle();
  begun[2]?.end('three');
  expect(await later).toBe('three');
  expect(begun).toHaveLength(3);
});

test('other keys are read by themselves, and nothing is kept', async () => {
  const { begun, share } = startReads();
  const answers = [share('a'), share('b')];
  expect(begun.map(({ key }) => key)).toEqual(['a', 'b']);
  for (const one of begun) one.end(one.key);
  expect(await Promise.all(answers)).toEqual(['a', 'b']);
  await settle();
  const again = share('a');
  begun[2]?.end('new');
  expect(await again).toBe('new');
});

test('a read that fails fails those who share it, and the next is tried', async () => {
  const { begun, share } = startReads();
  const first = share('a');
  const second = share('a');
  begun[0]?.fail(new Error('away'));
  await expect(first).rejects.toThrow('away');
  await settle();
  begun[1]?.end('back');
  expect(await second).toBe('back');
});
