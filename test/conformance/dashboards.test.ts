/** The dashboard and the alert rules ask only for what `/metrics` shows, and the runbook has every place they point to. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { awaitScrape } from '../support/metrics.ts';
import { startWrit } from '../support/writ.ts';

const docs = join(import.meta.dirname, '../../docs');
const read = (name: string): string => readFileSync(join(docs, name), 'utf8');

interface Dashboard {
  panels: { title: string; targets: { expr: string }[] }[];
}
const dashboard: Dashboard = JSON.parse(read('grafana.json'));
const alerts = read('alerts.yml');
const panelQueries = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
const alertQueries = [...alerts.matchAll(/^ +expr: (.+)$/gm)].map(([, expr = '']) => expr);

/** What stands in a query and is no function, label, or keyword. `up` is Prometheus's own. */
const seriesOf = (query: string): string[] =>
  (query.replace(/\{[^}]*\}|\[[^\]]*\]|"[^"]*"/g, '').match(/\b(writ|process|nodejs)_\w+/g) ?? []).map((name) => name);
const labelsOf = (query: string): string[] =>
  [...query.matchAll(/[{,]\s*(\w+)\s*(?:=~?|!=|!~)/g)].map(([, name = '']) => name);

test('they are there to be read: every rule has one query, a summary and a place in the runbook', () => {
  expect(panelQueries.length).toBeGreaterThan(20);
  expect(alertQueries.length).toBe([...alerts.matchAll(/- alert: \w+/g)].length);
  const anchors = [...read('operations.md').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^a-z0-9 -]/g, '')
      .replaceAll(' ', '-'),
  );
  const annotated = /^ +summary: ".+"\n +runbook: "operations\.md#([a-z0-9-]+)"$/gm;
  const runbooks = [...alerts.matchAll(annotated)].map(([, anchor]) => anchor);
  expect(runbooks).toHaveLength(alertQueries.length);
  expect(runbooks.filter((anchor) => !anchors.includes(anchor ?? ''))).toEqual([]);
});

test('every series and label in them exists', async () => {
  await using writ = await startWrit();
  const found = await awaitScrape(writ.url, ({ sum }) => sum('writ_db_up') === 1);
  // One of each histogram that has labels is there once it has a value.
  const shown = new Set(found.series.map(({ name }) => name));
  const declared = new Set(
    [...found.names].flatMap((name) => [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]),
  );
  for (const query of [...panelQueries, ...alertQueries]) {
    for (const name of seriesOf(query)) expect(shown.has(name) || declared.has(name), `${name} in ${query}`).toBe(true);
    if (!query.startsWith('up')) expect(seriesOf(query), query).not.toEqual([]);
  }
  const labels = new Set([
    ...found.series.flatMap((one) => Object.keys(one.labels)),
    'job',
    'route',
    'status',
    'method',
  ]);
  const asked = [...panelQueries, ...alertQueries].flatMap(labelsOf);
  expect(asked.filter((name) => !labels.has(name))).toEqual([]);
  // All of ours is looked at by somebody.
  const used = new Set(
    [...panelQueries, ...alertQueries].flatMap(seriesOf).map((name) => name.replace(/_(bucket|sum|count)$/, '')),
  );
  const own = [...found.names].filter((name) => name.startsWith('writ_'));
  expect(own.filter((name) => !used.has(name))).toEqual([]);
});
