/** Style that a machine holds: one walk over the tree. What biome and the compiler hold is not repeated here. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const skipped = new Set(['node_modules', 'dist', '.git', '.writ', 'package-lock.json', 'LICENSE']);

function walk(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (skipped.has(entry.name)) return [];
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    return entry.isDirectory() ? walk(path) : entry.isFile() ? [path] : [];
  });
}

const texts = new Map(walk('').map((path) => [path, readFileSync(join(root, path), 'utf8')]));
const code = [...texts].filter(([path]) => /^(src|test|bench)\/.*\.[jt]s$/.test(path));
const product = code.filter(([path]) => path.startsWith('src/'));

/** `path:line text` of every line that breaks a rule. */
function findLines(files: Iterable<[string, string]>, isBad: (line: string) => boolean): string[] {
  const found: string[] = [];
  for (const [path, text] of files) {
    for (const [index, line] of text.split('\n').entries()) {
      if (isBad(line)) found.push(`${path}:${index + 1} ${line.trim()}`);
    }
  }
  return found;
}

/** Without comments, and without what stands in quotes: a `//` in a string is no comment, a word in one no name. */
function stripProse(text: string): string {
  const prose = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`/g;
  return text.replace(prose, (match) => match.replace(/[^\n]/g, ' '));
}
const bare = product.map(([path, text]): [string, string] => [path, stripProse(text)]);

describe('sizes', () => {
  test('no file is longer than 400 lines', () => {
    const long = [...texts]
      .filter(([path]) => /\.(ts|js|sql|sh)$/.test(path))
      .map(([path, text]) => [path, text.split('\n').length - 1] as const)
      .filter(([, lines]) => lines > 400);
    expect(long).toEqual([]);
  });

  test('no function is longer than 75 lines', () => {
    const long: string[] = [];
    // The composition root is a list.
    for (const [path, text] of product.filter(([name]) => name !== 'src/server.ts')) {
      const lines = text.split('\n');
      for (const [start, line] of lines.entries()) {
        if (!/^(export )?(async )?function\b/.test(line)) continue;
        const length = lines.slice(start).indexOf('}') + 1;
        if (length > 75) long.push(`${path}:${start + 1} ${length} lines: ${line}`);
      }
    }
    expect(long).toEqual([]);
  });
});

describe('names', () => {
  const forbidden = new Set(['manager', 'service', 'helper', 'helpers', 'util', 'utils', 'data', 'info', 'impl']);
  /** `readHTTPBody`, `read_body`, `read-body`: their words. */
  const wordsOf = (name: string): string[] =>
    name
      .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
      .toLowerCase()
      .split(/[^a-z]+/);

  test('files are kebab-case, and none is called after nothing', () => {
    const names = code.map(([path]) => path);
    expect(names.filter((path) => !/^[a-z0-9]+([.-][a-z0-9]+)*$/.test(basename(path)))).toEqual([]);
    expect(names.filter((path) => wordsOf(path).some((word) => forbidden.has(word) || word === 'common'))).toEqual([]);
  });

  test('nothing that is declared is called after nothing', () => {
    const bad: string[] = [];
    for (const [path, text] of bare) {
      for (const [, , name = ''] of text.matchAll(/\b(function|class|interface|type)\s+(\w+)/g)) {
        // RFC 7644 has a service provider, and RFC 7643 §4.3 people have managers.
        const words = wordsOf(name.replace(/serviceProvider|^Manager|^manager|Manager$/i, ''));
        if (words.some((word) => forbidden.has(word))) bad.push(`${path}: ${name}`);
      }
    }
    expect(bad).toEqual([]);
  });
});

describe('constructs', () => {
  test('nothing is left for later', () => {
    const later = new RegExp(
      `\\b(${['TO', 'FIX', 'XX', 'HA'].map((half, index) => half + ['DO', 'ME', 'X', 'CK'][index]).join('|')})\\b`,
    );
    expect(findLines(texts, (line) => later.test(line))).toEqual([]);
  });

  test('no check is switched off', () => {
    const off = new RegExp(`@ts-(ignore|expect-error|nocheck)|biome${'-'}ignore|eslint${'-'}disable|\\.(only|skip)\\(`);
    expect(findLines(code, (line) => off.test(line) && !line.includes('new RegExp'))).toEqual([]);
  });

  test('no any', () => {
    expect(findLines(bare, (line) => /(:|<|\bas|\||&|,|=>)\s*any\b(?!\s*\()|\bany\[\]/.test(line))).toEqual([]);
  });

  test('named exports; classes for errors alone; no barrels', () => {
    expect(findLines(bare, (line) => /\bexport default\b/.test(line))).toEqual([]);
    expect(
      findLines(bare, (line) => /\bclass\s+\w+/.test(line) && !/\bclass\s+\w+ extends (Error|WritError)\b/.test(line)),
    ).toEqual([]);
    const barrels = bare.filter(([, text]) => !/^(?!\s*(export .*from|import |\}|\w+,|$))/m.test(text));
    expect(barrels.map(([path]) => path)).toEqual([]);
  });

  test('what is said goes through the log; only the command line prints', () => {
    const printing = bare.filter(([path]) => !path.startsWith('src/cli/'));
    expect(findLines(printing, (line) => /\bconsole\./.test(line))).toEqual([]);
  });

  test('every file says what it is for, or what it exports', () => {
    const silent = product.filter(([path, text]) => path.endsWith('.ts') && !/\/\*\*/.test(text));
    expect(silent.map(([path]) => path)).toEqual([]);
  });
});

describe('the project stands alone', () => {
  test('dependencies are pinned', () => {
    const pack = JSON.parse(texts.get('package.json') ?? '{}');
    const versions = Object.entries({ ...pack.dependencies, ...pack.devDependencies });
    expect(versions.length).toBeGreaterThan(10);
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/.test(String(version)))).toEqual([]);
  });

  test('every dependency is used', () => {
    const pack = JSON.parse(texts.get('package.json') ?? '{}');
    // What is run by name, or only typed.
    const tools = ['@biomejs/biome', '@types/node', '@types/oidc-provider', 'node', 'typescript'];
    const all = [...texts]
      .filter(([path]) => path.endsWith('.ts'))
      .map(([, text]) => text)
      .join('\n');
    const isUsed = (name: string): boolean => all.includes(`'${name}'`) || all.includes(`'${name}/`);
    const names = Object.keys({ ...pack.dependencies, ...pack.devDependencies });
    expect(names.filter((name) => !tools.includes(name) && !isUsed(name))).toEqual([]);
  });

  test('no text names a place outside of it', () => {
    const outside = new RegExp(`/${'work'}/|\\b${'shared'}/|/${'root'}/|/${'home'}/\\w|/tmp/${'helper'}`);
    expect(findLines(texts, (line) => outside.test(line) && !line.includes('new RegExp'))).toEqual([]);
  });
});
