/** The list of defects that `npm run defects` applies stays in step with the source. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readDefects, root } from '../support/defects.ts';

const defects = await readDefects();

test.each(defects)('$why ($file)', ({ file, find, replace, tests }) => {
  const source = readFileSync(join(root, file), 'utf8');
  expect(source.split(find), `"${find}" occurs once`).toHaveLength(2);
  expect(replace).not.toBe(find);
  expect(tests.length).toBeGreaterThan(0);
  expect(tests.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

test('there are at least thirty, and no two the same', () => {
  expect(defects.length).toBeGreaterThanOrEqual(30);
  const names = defects.map(({ file, find, replace }) => JSON.stringify([file, find, replace]));
  expect(new Set(names).size).toBe(names.length);
});
