// The examples for Prometheus and Grafana: they name metrics that there are.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { metricsText } from '../../src/gateway/metrics.js';
import { parseMetrics } from '../support/metrics-text.js';
import { repositoryRoot } from '../support/paths.js';
import { complaints, noPromtool } from '../support/promtool.js';
import { temporaryFolder } from '../support/tmp.js';
import { sampleStatus } from './sample-status.js';

const RULES = join(repositoryRoot, 'examples/prometheus-alerts.yaml');
const DASHBOARD = join(repositoryRoot, 'examples/grafana-dashboard.json');

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

const { samples } = parseMetrics(metricsText(sampleStatus()));
const sampleNames = new Set([...samples.keys()].map((key) => key.replace(/\{.*$/, '')));
/** Values by label. */
const labels = new Map<string, Set<string>>();
for (const key of samples.keys()) {
  for (const [, label, value] of key.matchAll(/([a-z]+)="([^"]*)"/g)) labels.set(label!, (labels.get(label!) ?? new Set()).add(value!));
}

/** Names of metrics in expressions that there are not. */
function unknownNames(text: string): string[] {
  return [...text.matchAll(/\bpcache_[a-z_]+/g)].map(([name]) => name).filter((name) => !sampleNames.has(name));
}

/** `label="value"` in expressions that no sample has. */
function unknownValues(text: string): string[] {
  return [...text.matchAll(/\b(op|state|result)="([^"]*)"/g)]
    .filter(([, label, value]) => labels.get(label!)?.has(value!) !== true)
    .map(([all]) => all);
}

const expressionsOf = (yaml: string): string => (yaml.match(/^ *expr: .*$/gm) ?? []).join('\n');
const dashboard = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { readonly panels: readonly Panel[]; readonly templating: unknown };

test('the alerts name metrics and labels that there are', (t) => {
  const expressions = expressionsOf(readFileSync(RULES, 'utf8'));
  t.true(expressions.split('\n').length >= 8);
  t.deepEqual(unknownNames(expressions), []);
  t.deepEqual(unknownValues(expressions), []);
});

test('the dashboard names metrics and labels that there are, in panels that have something to show', (t) => {
  t.true(dashboard.panels.length >= 10);
  t.is(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  for (const { title, targets } of dashboard.panels) {
    t.true(targets.length > 0, title);
    for (const { expr } of targets) {
      t.deepEqual(unknownNames(expr), [], title);
      t.deepEqual(unknownValues(expr), [], title);
    }
  }
  t.deepEqual(unknownNames(JSON.stringify(dashboard.templating)), []);
});

test('a name or a label that there is not is found', (t) => {
  t.deepEqual(unknownNames('rate(pcache_requests_totals[5m]) > pcache_dirty_bytes'), ['pcache_requests_totals']);
  t.deepEqual(unknownValues('pcache_requests_total{op="reed"} + pcache_state{state="serving"}'), ['op="reed"']);
});

const skipped = noPromtool === undefined ? '' : ` (skipped: ${noPromtool})`;
const promtoolTest = noPromtool === undefined ? test : test.skip;
promtoolTest(`promtool takes the alerts${skipped}`, (t) => {
  t.is(complaints(['check', 'rules', RULES]), '');
});

promtoolTest(`promtool takes every expression of the dashboard${skipped}`, (t) => {
  const rules = dashboard.panels
    .flatMap(({ targets }) => targets)
    .map(({ expr }, index) => {
      // What Grafana fills in.
      const filled = expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$[a-z]+/g, '.*');
      return `      - record: "r${index}"\n        expr: ${JSON.stringify(filled)}\n`;
    });
  const file = join(temporaryFolder(t), 'rules.yaml');
  writeFileSync(file, `groups:\n  - name: g\n    rules:\n${rules.join('')}`);
  t.is(complaints(['check', 'rules', file]), '');
});
