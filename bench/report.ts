/** Tables for the terminal and for `bench/results.md`, of which a run replaces only the sections that it measured. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

export interface Section {
  title: string;
  /** How it was measured, and what to keep in mind. */
  notes: string[];
  header: string[];
  rows: string[][];
}

/** Three significant digits; no more places than they say anything. */
export function show(value: number | undefined, unit = ''): string {
  if (value === undefined || Number.isNaN(value)) return 'n/a';
  const size = Math.abs(value);
  const text =
    size >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(size >= 10 ? 1 : size >= 0.1 ? 2 : 3);
  return `${text}${unit}`;
}

export const showRatio = (value: number): string => show(value, '×');

export const showShare = (value: number): string => `${Math.round(value * 100)} %`;

/** A Markdown table with its columns aligned, so that it reads in a terminal too. */
export function renderTable({ header, rows }: Pick<Section, 'header' | 'rows'>): string {
  const widths = header.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(header), rule, ...rows.map(line)].join('\n');
}

export const renderSection = (section: Section): string =>
  [`## ${section.title}`, ...section.notes.map((note) => `\n${note}`), '', renderTable(section)].join('\n');

const intro = `# Results

Written by \`npm run bench\`; a part that is run alone replaces its own sections. Numbers are medians of rounds in which
the contestants took turns; a ratio is the median of the ratios of rounds that stood next to each other.
`;

/** `context`: machine, versions, date and command, one line each. */
export function writeResults(file: URL, sections: readonly Section[], context: readonly string[]): void {
  const old = existsSync(file)
    ? readFileSync(file, 'utf8')
        .split(/^(?=## )/m)
        .slice(1)
    : [];
  const texts = new Map(old.map((text) => [/^## (.*)/.exec(text)?.[1] ?? '', text.trim()]));
  for (const section of sections) {
    const notes = [context.map((line) => `- ${line}`).join('\n'), ...section.notes];
    texts.set(section.title, renderSection({ ...section, notes }));
  }
  writeFileSync(file, `${intro}\n${[...texts.values()].join('\n\n')}\n`);
}
