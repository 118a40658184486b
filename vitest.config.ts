import { defineConfig } from 'vitest/config';

/**
 * Tests that kill, stop and starve whole processes need a machine to themselves: `npm run faults` and, with fewer rounds,
 * `.ci/run` run them, one file at a time. Everything else runs with `npm test`.
 */
const processFaults = [
  'database-strained',
  'deaf-node',
  'embedded-killed',
  'interleaving',
  'killed',
  'rolling-restart',
  'skewed-clock',
  'stopped-node',
  'workers',
].map((name) => `test/faults/${name}.test.ts`);
const alone = process.env.WRIT_FAULTS === '1';
/** Whatever is named, to run one file of either kind. */
const all = process.env.WRIT_FAULTS === 'all';

export default defineConfig({
  test: {
    include: alone ? processFaults : ['test/**/*.test.ts'],
    exclude: alone || all ? [] : processFaults,
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: alone ? 1 : 2,
  },
});
