/**
 * Defects on purpose: applies each one-line change of `test/faults/defects.json` in a copy of the tree and runs the tests
 * that should catch it. Fails when they stay green, for then they hold nothing.
 *
 * `npm run defects`: one after the other; what was run on this very tree is not run again. `npm run defects -- transfer`:
 * those whose file or reason has the word. `npm run defects -- --again`: all anew.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

export interface Defect {
  file: string;
  /** Occurs once in the file. */
  find: string;
  replace: string;
  why: string;
  /** Of these test files at least one has to fail. */
  tests: string[];
}

interface Verdict {
  isCaught: boolean;
  /** The first test that failed, or what became of the run. */
  by: string;
  seconds: number;
}

export const root = join(import.meta.dirname, '../..');
const known = join(root, 'node_modules/.cache/writ-defects.json');
const leftOut = new Set(['node_modules', '.git', '.writ', 'dist', 'coverage']);
const limitMs = 8 * 60_000;

export const readDefects = async (): Promise<Defect[]> =>
  JSON.parse(await readFile(join(root, 'test/faults/defects.json'), 'utf8'));

/** What any verdict depends on: every file that is copied, but for the list of defects itself. */
async function fingerprint(): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of ['src', 'migrations', 'test']) {
    const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true });
    const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    for (const path of paths.sort()) {
      if (path.endsWith('defects.json')) continue;
      hash.update(`${relative(root, path)}\0`).update(await readFile(path));
    }
  }
  return hash.digest('hex');
}

async function copyTree(): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'writ-defects-'));
  await cp(root, copy, { recursive: true, filter: (path) => !leftOut.has(relative(root, path).split('/')[0] ?? '') });
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

/** Runs test files until the first failure. */
async function runTests(copy: string, tests: readonly string[]): Promise<Verdict> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--bail=1', ...tests], {
    cwd: copy,
    env: { ...process.env, NO_COLOR: '1', WRIT_FAULTS: 'all' },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that a run that hangs is ended with all that it has started.
    detached: true,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk));
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  }, limitMs);
  const code = await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  const seconds = (performance.now() - startedAt) / 1000;
  const failed = /^\s*FAIL\s+(.*)$/m.exec(said)?.[1];
  const by = isLate ? 'a run that never ends' : (failed ?? (code === 0 ? '' : said.trim().slice(-300)));
  return { isCaught: code !== 0, by, seconds };
}

async function tryDefect(copy: string, { file, find, replace, tests }: Defect): Promise<Verdict> {
  const path = join(copy, file);
  const sound = await readFile(path, 'utf8');
  if (sound.split(find).length !== 2) return { isCaught: false, by: `"${find}" has to occur once`, seconds: 0 };
  try {
    await writeFile(path, sound.split(find).join(replace));
    return await runTests(copy, tests);
  } finally {
    await writeFile(path, sound);
  }
}

type Verdicts = Record<string, Verdict>;

async function readVerdicts(): Promise<Verdicts> {
  try {
    return JSON.parse(await readFile(known, 'utf8'));
  } catch {
    return {};
  }
}

function print({ why, file }: Defect, { isCaught, by, seconds }: Verdict): void {
  const verdict = isCaught ? 'caught  ' : 'SURVIVED';
  console.log(
    `${verdict} ${seconds.toFixed(0).padStart(4)} s  ${why} (${file})\n${' '.repeat(17)}${by || 'all green'}`,
  );
}

async function runAll(words: readonly string[], again: boolean): Promise<number> {
  const all = await readDefects();
  const defects = all.filter(({ file, why }) => words.every((word) => `${file} ${why}`.includes(word)));
  const tree = await fingerprint();
  const verdicts = again ? {} : await readVerdicts();
  const copy = await copyTree();
  const keep = async (key: string, find: () => Promise<Verdict>): Promise<Verdict> => {
    const id = createHash('sha256').update(`${tree}\0${key}`).digest('hex');
    const verdict = verdicts[id] ?? (await find());
    verdicts[id] = verdict;
    await mkdir(join(known, '..'), { recursive: true });
    await writeFile(known, JSON.stringify(verdicts));
    return verdict;
  };
  try {
    // Each file alone and first without a defect: a test that is red anyway catches nothing.
    for (const file of [...new Set(defects.flatMap(({ tests }) => tests))]) {
      const sound = await keep(file, () => runTests(copy, [file]));
      if (sound.isCaught) throw new Error(`${file} fails without any defect: ${sound.by}`);
    }
    let survivors = 0;
    for (const defect of defects) {
      const verdict = await keep(JSON.stringify(defect), () => tryDefect(copy, defect));
      if (!verdict.isCaught) survivors += 1;
      print(defect, verdict);
    }
    console.log(`\n${defects.length - survivors} of ${defects.length} defects were caught`);
    return survivors;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const words = process.argv.slice(2);
  const survivors = await runAll(
    words.filter((word) => word !== '--again'),
    words.includes('--again'),
  );
  process.exitCode = survivors === 0 ? 0 : 1;
}
