/** What the bench makes of its numbers. That it measures well is seen by running it; no time is asserted here. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { judgeGrowth, type Sample, toSection } from '../../bench/flatness.ts';
import { createClient } from '../../bench/load.ts';
import { median, quantile, type Round, ratioOf } from '../../bench/measure.ts';
import { renderTable, show, writeResults } from '../../bench/report.ts';

test('medians and quantiles', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  const sorted = Array.from({ length: 200 }, (_, index) => index);
  expect([quantile(sorted, 0.5), quantile(sorted, 0.99), quantile([7], 0.99)]).toEqual([100, 198, 7]);
});

test('a ratio compares rounds that stood next to each other: a machine that slows down changes nothing', () => {
  const rounds = (rates: number[]) => rates.map((rate) => ({ rate }) as Round);
  expect(ratioOf(rounds([200, 20, 2]), rounds([100, 10, 1]), ({ rate }) => rate)).toBe(2);
});

describe('memory', () => {
  const mebibyte = 2 ** 20;
  const samplesOf = (heaps: number[]): Sample[] =>
    heaps.map((heap, index) => ({
      done: (index + 1) * mebibyte,
      heapBytes: heap * mebibyte,
      externalBytes: 10 * mebibyte,
      rssBytes: 200 * mebibyte,
    }));

  test('is flat when what is kept grows by less than a twentieth once caches are full', () => {
    expect(judgeGrowth(samplesOf([30, 90, 91, 94]))).toMatchObject({ isFlat: true, growth: 0.04, bytesEach: 2 });
    expect(judgeGrowth(samplesOf([90, 90, 93, 95]))).toEqual({
      isFlat: false,
      growth: 0.05,
      bytesEach: 2.5,
      flatBelowBytesEach: 2.5,
    });
    expect(judgeGrowth(samplesOf([90, 90, 95, 80])).isFlat).toBe(true);
  });

  test('that is not flat is said, and is the end of the run', () => {
    const before = process.exitCode;
    try {
      expect(toSection('Memory', 'token', samplesOf([90, 90, 92]), []).notes.at(-1)).toMatch(/^\*\*Flat: /);
      expect(process.exitCode).toBe(before);
      expect(toSection('Memory', 'token', samplesOf([90, 90, 99]), []).notes.at(-1)).toMatch(
        /^\*\*Not flat: what is kept grew by 9.0 % .*, 9.00 bytes for each token\*\*/,
      );
      expect(process.exitCode).toBe(1);
    } finally {
      process.exitCode = before;
    }
  });
});

test('numbers and tables read in a terminal', () => {
  expect([12_345.6, 12.34, 1.234, 0.012].map((value) => show(value))).toEqual(['12,346', '12.3', '1.23', '0.012']);
  expect(show(undefined)).toBe('n/a');
  expect(renderTable({ header: ['', 'ms'], rows: [['Writ', '1.5']] }).split('\n')).toEqual([
    '|      |  ms |',
    '|------|----:|',
    '| Writ | 1.5 |',
  ]);
});

test('a part that is measured alone replaces its own section of the results', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-bench-test-'));
  try {
    const path = join(folder, 'results.md');
    const file = pathToFileURL(path);
    const section = (title: string, value: string) => ({
      title,
      notes: ['How.'],
      header: ['', 'x'],
      rows: [['Writ', value]],
    });
    writeResults(file, [section('One', 'old'), section('Two', 'kept')], ['first run']);
    writeResults(file, [section('One', 'new')], ['second run']);
    const text = await readFile(path, 'utf8');
    expect(text.match(/^## .*/gm)).toEqual(['## One', '## Two']);
    expect(text).toContain('new');
    expect(text).not.toContain('old');
    expect(text).toMatch(/## One\n\n- second run.*## Two\n\n- first run.*kept/s);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the load generator sends every request once, and takes an error for no work', async () => {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(request.url ?? '');
    response.statusCode = request.url === '/wrong' ? 400 : 200;
    request.resume().on('end', () => response.end('answer'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const client = createClient(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`, 4);
  try {
    const paths = Array.from({ length: 20 }, (_, index) => `/${index}`);
    const run = await client.run(paths.map((path) => ({ path, headers: {}, body: 'a=b' })));
    expect(run.latencies).toHaveLength(20);
    expect(seen.toSorted()).toEqual(paths.toSorted());
    await expect(client.run([{ path: '/wrong', headers: {} }])).rejects.toThrow('/wrong answered 400: answer');
  } finally {
    client.close();
    await new Promise((resolve) => server.close(resolve));
  }
});
