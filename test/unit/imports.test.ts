/**
 * Who may import whom. Edges speak protocols and never import each other; a domain imports only what stands to its
 * right; the platform knows no domain; the SDKs ship alone.
 *
 * Of the domains, tokens stands left of intents and policy, because to issue and to exchange is to decide first
 * (`domain/tokens/issue.ts`, `exchange.ts`), and what is decided knows nothing of tokens.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');

const domains = [
  ...['evidence', 'reviews', 'discovery', 'anomalies'],
  ...['people', 'approvals', 'agents', 'tokens', 'intents', 'policy', 'revocation', 'signals', 'audit'],
];
const edges = ['oauth', 'scim', 'admin', 'access', 'ssf', 'console'];
const platforms = ['db', 'keys', 'bus', 'http', 'metrics'];

interface Import {
  from: string;
  /** A path below the root, or the name of a package. */
  to: string;
  isType: boolean;
  isLazy: boolean;
}

const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .map((name) => posix.join('src', name.replaceAll('\\', '/')))
  .filter((name) => name.endsWith('.ts') || name.endsWith('.js'));
const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');

function readImports(from: string): Import[] {
  const text = textOf(from);
  const resolve = (to: string): string => (to.startsWith('.') ? posix.join(posix.dirname(from), to) : to);
  const eager = [...text.matchAll(/^(?:import|export)(\s+type)?\s[^'"`;]*?from\s+['"]([^'"]+)['"]/gm)].map((found) => ({
    from,
    to: resolve(found[2] ?? ''),
    isType: found[1] !== undefined,
    isLazy: false,
  }));
  const bare = [...text.matchAll(/^import\s+['"]([^'"]+)['"]/gm)].map((found) => ({
    from,
    to: resolve(found[1] ?? ''),
    isType: false,
    isLazy: false,
  }));
  const lazy = [...text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g)].map((found) => ({
    from,
    to: resolve(found[1] ?? ''),
    isType: false,
    isLazy: true,
  }));
  return [...eager, ...bare, ...lazy];
}

const imports = sources.flatMap(readImports);
const inner = imports.filter(({ to }) => to.startsWith('src/'));
const show = ({ from, to }: Import): string => `${from} imports ${to}`;
const isIn = (path: string, ...folders: string[]): boolean => folders.some((folder) => path.startsWith(`${folder}/`));

/** `src/domain/agents/agents.ts`: `domain/agents`; `src/cli/…`: `cli`; `src/server.ts`: `server.ts`. */
function areaOf(path: string): string {
  const [, first = '', second = ''] = path.split('/');
  return ['domain', 'edges', 'platform', 'sdk'].includes(first) ? `${first}/${second}` : first;
}

const vocabulary = ['src/protocol.ts', 'src/errors.ts'];

/** Whether a file of `from` may import `to`. */
function isAllowed({ from, to, isType, isLazy }: Import): boolean {
  const area = areaOf(from);
  const [kind, name = ''] = area.split('/');
  if (area === areaOf(to) && !vocabulary.includes(from)) return true;
  switch (kind) {
    case 'edges':
      return vocabulary.includes(to) || isIn(to, 'src/domain', 'src/platform');
    case 'domain': {
      const to_ = areaOf(to).split('/');
      if (to_[0] === 'domain') return domains.indexOf(to_[1] ?? '') > domains.indexOf(name);
      // What an auditor repeats offline.
      return vocabulary.includes(to) || isIn(to, 'src/platform') || (name === 'audit' && isIn(to, 'src/audit'));
    }
    case 'audit':
      return to === 'src/protocol.ts';
    case 'platform':
      return vocabulary.includes(to) || isIn(to, 'src/platform') || (to === 'src/config.ts' && isType);
    case 'sdk':
      return to === 'src/protocol.ts' || to === 'src/sdk/issuer.ts';
    case 'cli':
      return (
        to === 'src/protocol.ts' ||
        isIn(to, 'src/sdk', 'src/audit') ||
        (isLazy && ['src/main.ts', 'src/config.ts'].includes(to))
      );
    case 'server.ts':
      return !isIn(to, 'src/cli', 'src/sdk') && to !== 'src/main.ts';
    case 'secrets.ts':
      return to === 'src/config.ts' || isIn(to, 'src/platform');
    case 'main.ts':
      return ['src/server.ts', 'src/config.ts', 'src/secrets.ts'].includes(to) || isIn(to, 'src/platform');
    default:
      return false;
  }
}

test('imports go in one direction', () => {
  expect(inner.filter((one) => !isAllowed(one)).map(show)).toEqual([]);
  // The rule sees what it is about.
  expect(inner.length).toBeGreaterThan(300);
});

test('every folder has its place in the order', () => {
  const known = [
    ...domains.map((name) => `domain/${name}`),
    ...edges.map((name) => `edges/${name}`),
    ...platforms.map((name) => `platform/${name}`),
    ...[
      'sdk/agent',
      'sdk/api',
      'sdk/issuer.ts',
      'audit',
      'cli',
      'server.ts',
      'main.ts',
      'config.ts',
      'secrets.ts',
      'errors.ts',
      'protocol.ts',
    ],
  ];
  expect([...new Set(sources.map(areaOf))].filter((area) => !known.includes(area))).toEqual([]);
});

test('what is imported exists', () => {
  expect(inner.filter(({ to }) => !sources.includes(to)).map(show)).toEqual([]);
});

test('no file imports itself, by whatever detour', () => {
  const targets = Map.groupBy(inner, ({ from }) => from);
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) cycles.push([...trail.slice(at), path].join(' → '));
    if (at >= 0 || done.has(path)) return;
    for (const { to } of targets.get(path) ?? []) visit(to, [...trail, path]);
    done.add(path);
  };
  for (const path of sources) visit(path, []);
  expect(cycles).toEqual([]);
});

test('the vocabulary and the configuration import nothing', () => {
  const alone = [...vocabulary, 'src/config.ts'];
  expect(imports.filter(({ from }) => alone.includes(from)).map(show)).toEqual([]);
});

test('the SDKs need nothing but Node', () => {
  const foreign = imports.filter(({ from, to }) => isIn(from, 'src/sdk') && !to.startsWith('src/'));
  expect(foreign.filter(({ to, isType }) => !to.startsWith('node:') && !isType).map(show)).toEqual([]);
});

test('what proves the audit log needs nothing but Node', () => {
  const foreign = imports.filter(({ from, to }) => isIn(from, 'src/audit') && !to.startsWith('src/'));
  expect(foreign.filter(({ to }) => !to.startsWith('node:crypto')).map(show)).toEqual([]);
});

test('promise 1: access tokens are signed in one place, which accepts only what is proven alive', () => {
  const importersOf = (path: string): string[] => inner.filter(({ to }) => to === path).map(({ from }) => from);
  expect(importersOf('src/platform/keys/access-token.ts')).toEqual(['src/domain/tokens/sign.ts']);
  expect(sources.filter((path) => textOf(path).includes('jwtTypes.accessToken'))).toEqual(
    expect.arrayContaining(['src/platform/keys/access-token.ts']),
  );
  // Nobody else claims the proof.
  expect(sources.filter((path) => /\bas\s+(unknown\s+as\s+)?Live\b/.test(textOf(path)))).toEqual([
    'src/domain/tokens/live.ts',
  ]);
  expect(sources.filter((path) => /\bas\s+(unknown\s+as\s+)?Grant\b/.test(textOf(path)))).toEqual([
    'src/domain/intents/narrow.ts',
  ]);
});

test('only the configuration and the command line read the environment', () => {
  const readers = sources.filter((path) => /\bprocess\s*\.\s*env\b|\benv\s*\}\s*=\s*process\b/.test(textOf(path)));
  expect(readers.filter((path) => !isIn(path, 'src/cli'))).toEqual(['src/main.ts']);
  // It hands the environment to the configuration, whole.
  expect(textOf('src/main.ts').match(/process\.env[^)]*/g)).toEqual(['process.env']);
});

test('each protocol engine stays behind its edge, the driver behind the platform', () => {
  const users = (name: string, isType: boolean): string[] => [
    ...new Set(
      imports
        .filter((one) => (one.to === name || one.to.startsWith(`${name}/`)) && (isType || !one.isType))
        .map(({ from }) => areaOf(from)),
    ),
  ];
  expect(users('oidc-provider', true)).toEqual(['edges/oauth']);
  expect(users('scimmy', true)).toEqual(['edges/scim']);
  expect(users('postgres', false).filter((area) => !['platform/db', 'platform/bus'].includes(area))).toEqual([]);
});
