import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'writ-package-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the packed tarball, installed without devDependencies into an empty folder, is the whole product', {
  timeout: 300_000,
}, async () => {
  const packed = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root });
  // The build of `prepack` may speak first.
  const [{ filename, files }] = JSON.parse(packed.stdout.slice(packed.stdout.indexOf('[\n')));
  const paths: string[] = files.map(({ path }: { path: string }) => path);
  expect(paths).toContain('dist/sdk/api/verify.d.ts');
  expect(paths.filter((path) => /^(test|bench|node_modules)\/|\.test\./.test(path))).toEqual([]);

  await writeFile(join(folder, 'package.json'), '{"private":true,"type":"module"}');
  const install = ['install', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  await run('npm', [...install, join(folder, filename)], { cwd: folder });

  const program = `
    import { AgentError, createAgent } from 'writ/agent';
    import { createVerifier, VerifyError } from 'writ/api';
    import { requireIntent } from 'writ/api/hono';
    const agent = createAgent({ issuer: 'https://writ.example', clientId: 'a', clientSecret: 'b' });
    const code = await createVerifier({ issuer: 'http://writ.example' }).catch((error) => error.name);
    console.log(JSON.stringify([Object.keys(agent), code, AgentError.name, VerifyError.name, typeof requireIntent]));`;
  const imported = await run(process.execPath, ['--input-type=module', '--eval', program], { cwd: folder });
  expect(JSON.parse(imported.stdout)).toEqual([
    ['token', 'exchange'],
    'TypeError',
    'AgentError',
    'VerifyError',
    'function',
  ]);

  // What README prints is complete: its lines compile against the types that were packed.
  const examples = [...(await readFile(join(root, 'README.md'), 'utf8')).matchAll(/^```ts\n(.*?)^```$/gms)];
  expect(examples).toHaveLength(2);
  for (const [at, [, example = '']] of examples.entries()) await writeFile(join(folder, `readme-${at}.ts`), example);
  const strictly = [
    '--noEmit',
    '--strict',
    '--exactOptionalPropertyTypes',
    '--module',
    'nodenext',
    '--target',
    'es2024',
  ];
  const typed = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const compiled = await run(process.execPath, [compiler, ...strictly, ...typed, 'readme-0.ts', 'readme-1.ts'], {
    cwd: folder,
  }).catch((error) => error);
  expect(compiled.stdout).toBe('');

  const help = await run('npx', ['--no-install', 'writ', '--help'], { cwd: folder });
  expect(help.stdout).toMatch(/^Usage: writ/m);
});

test('the SDKs import nothing but each other, the wire vocabulary and Node', async () => {
  const { stdout } = await run('git', ['ls-files', 'src/sdk'], { cwd: root });
  for (const path of stdout.trim().split('\n')) {
    const source = await readFile(join(root, path), 'utf8');
    const imports = [...source.matchAll(/^(?:import|export) (?!type\b)[^;]*?from '([^']+)'/gm)].map(
      (match) => match[1],
    );
    for (const imported of imports)
      expect(imported, path).toMatch(/^(\.\/[\w-]+\.ts|\.\.\/issuer\.ts|\.\.\/\.\.\/protocol\.ts|node:\w[\w/]*)$/);
  }
});
