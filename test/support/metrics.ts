/** Reads `/metrics` (Prometheus text format 0.0.4). */
export interface Series {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Scrape {
  series: Series[];
  /** Names as they stand after `# TYPE`: of a histogram without `_bucket`, `_sum`, `_count`. */
  names: Set<string>;
  /** The sum of the values of a series, of those whose labels fit. */
  sum(name: string, labels?: Record<string, string>): number;
}

export function parseMetrics(text: string): Scrape {
  const series: Series[] = [];
  for (const line of text.split('\n')) {
    const found = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/i.exec(line);
    if (found === null) continue;
    const [, name = '', labels = '', value = ''] = found;
    const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/gi)].map(([, key = '', text = '']) => [key, text]);
    series.push({ name, labels: Object.fromEntries(pairs), value: Number(value) });
  }
  return {
    series,
    names: new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name)),
    sum: (name, labels = {}) =>
      series
        .filter((one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value))
        .reduce((sum, { value }) => sum + value, 0),
  };
}

export async function scrape(url: string): Promise<Scrape> {
  const response = await fetch(`${url}/metrics`);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`/metrics answered ${response.status}: ${text}`);
  return parseMetrics(text);
}

/** Scrapes until `isThere`: what is looked at rather than counted is looked at every two seconds. */
export async function awaitScrape(url: string, isThere: (found: Scrape) => boolean): Promise<Scrape> {
  const until = performance.now() + 20_000;
  for (;;) {
    const found = await scrape(url);
    if (isThere(found)) return found;
    if (performance.now() > until) {
      const own = found.series.filter(({ name }) => name.startsWith('writ_') && !name.includes('_http_'));
      throw new Error(`not there after 20 s: ${JSON.stringify(own)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
