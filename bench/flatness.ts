/** Whether memory stays flat: what is left after collecting garbage, at each tenth of some work. */
import type { Memory } from './probe.ts';
import type { Server } from './processes.ts';
import { type Section, show } from './report.ts';

export interface Sample extends Memory {
  /** How much of the work had been done. */
  done: number;
}

export interface Verdict {
  isFlat: boolean;
  /** From the second sample to the last, as a share of the second. */
  growth: number;
  /** The same in bytes, for each unit of work. */
  bytesEach: number;
  /** From here on it is not flat. The more work, the smaller the leak that shows. */
  flatBelowBytesEach: number;
}

/** Of what is kept, from the second tenth to the last: more is not flat. */
const mostGrowth = 0.05;
const tenths = 10;

const keptBytes = ({ heapBytes, externalBytes }: Memory): number => heapBytes + externalBytes;

/** The first sample is left out: until then caches fill and code is compiled. */
export function judgeGrowth(
  [, first, ...rest]: readonly Sample[],
  read: (sample: Sample) => number = keptBytes,
): Verdict {
  const last = rest.at(-1);
  if (first === undefined || last === undefined) throw new TypeError('growth is judged from three samples on');
  const grown = read(last) - read(first);
  const work = last.done - first.done;
  const growth = grown / read(first);
  const flatBelowBytesEach = (mostGrowth * read(first)) / work;
  return { isFlat: growth < mostGrowth, growth, bytesEach: grown / work, flatBelowBytesEach };
}

export const tenthOf = (total: number): number => Math.ceil(total / tenths);

/** Has `work` do ten tenths of `total`, and looks at the server's memory after each, when it has come to rest. */
export async function sampleTenths(
  server: Server,
  total: number,
  work: (count: number) => Promise<void>,
  progress: (text: string) => void,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let tenth = 1; tenth <= tenths; tenth++) {
    await work(tenthOf(total));
    await server.settle();
    const sample = { done: tenth * tenthOf(total), ...(await server.memory()) };
    samples.push(sample);
    progress(`${sample.done.toLocaleString('en-US')}: ${toRow(sample).slice(1).join(' / ')} MiB`);
  }
  return samples;
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

const toRow = (sample: Sample): string[] => [
  sample.done.toLocaleString('en-US'),
  ...[keptBytes(sample), sample.heapBytes, sample.externalBytes, sample.rssBytes].map(mebibytes),
];

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

/** `unit`: what is counted, in the singular. Sets the process's exit code when memory is not flat. */
export function toSection(title: string, unit: string, samples: readonly Sample[], notes: string[]): Section {
  const { isFlat, growth, bytesEach, flatBelowBytesEach } = judgeGrowth(samples);
  if (!isFlat) process.exitCode = 1;
  const rss = judgeGrowth(samples, ({ rssBytes }) => rssBytes);
  return {
    title,
    notes: [
      ...notes,
      `**${isFlat ? 'Flat' : 'Not flat'}: what is kept grew by ${percent(growth)} from the second tenth to the last, ` +
        `${show(bytesEach)} bytes for each ${unit}** (flat is less than ${percent(mostGrowth)}, here ` +
        `${show(flatBelowBytesEach)} bytes); RSS by ${percent(rss.growth)}.`,
    ],
    header: [`${unit}s so far`, 'kept after GC MiB', 'of it heap', 'of it external', 'RSS MiB'],
    rows: samples.map(toRow),
  };
}
