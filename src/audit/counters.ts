/**
 * The nodes' counters, over the whole log: each node's entries are 1, 2, 3, … without a gap, whatever order they were
 * sealed in. Usually they come in their own order; a clock that was set back can put a later one first, so a jump is
 * only remembered here, and is a fault if what it left out never comes.
 *
 * Pure. Memory: one number a node, and one range for each open jump.
 */

/** Counters of one node that have not come, and the place in the log where that was noticed. */
export interface Gap {
  node: string;
  from: number;
  to: number;
  number: number;
}

export interface Counters {
  /** The entry at `number` of the log is the node's `counter`-th. False: that one was there before. */
  see(node: string, counter: number, number: number): boolean;
  /** The highest counter seen, 0 for a node without entries. */
  last(node: string): number;
  nodes(): string[];
  /** What is missing so far, in the order of the log. */
  gaps(): readonly Gap[];
}

export function createCounters(): Counters {
  const last = new Map<string, number>();
  let open: Gap[] = [];

  function fill(node: string, counter: number): boolean {
    const gap = open.find((one) => one.node === node && one.from <= counter && counter <= one.to);
    if (gap === undefined) return false;
    const rest = [
      { ...gap, to: counter - 1 },
      { ...gap, from: counter + 1 },
    ];
    open = open.flatMap((one) => (one === gap ? rest.filter(({ from, to }) => from <= to) : one));
    return true;
  }

  return {
    see(node, counter, number) {
      const before = last.get(node) ?? 0;
      if (counter <= before) return fill(node, counter);
      if (counter > before + 1) open.push({ node, from: before + 1, to: counter - 1, number });
      last.set(node, counter);
      return true;
    },
    last: (node) => last.get(node) ?? 0,
    nodes: () => [...last.keys()],
    gaps: () => open,
  };
}

/** As the beginning of a sentence. */
export const nameEntries = (node: string, from: number, to: number): string =>
  from === to ? `entry ${from} of node ${node} is` : `entries ${from} to ${to} of node ${node} are`;
