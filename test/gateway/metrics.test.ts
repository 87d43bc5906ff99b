import test from 'ava';
import { counterHelp, metricsText } from '../../src/gateway/metrics.js';
import { COUNTER_NAMES } from '../../src/shared/counters.js';
import { sampleStatus } from './sample-status.js';

/** Samples by name, and what HELP and TYPE lines say, as Prometheus would read them. */
function parse(text: string): { samples: Map<string, string>; types: Map<string, string>; helped: Set<string> } {
  const parsed = { samples: new Map<string, string>(), types: new Map<string, string>(), helped: new Set<string>() };
  for (const line of text.trimEnd().split('\n')) {
    const type = /^# TYPE (\S+) (counter|gauge)$/.exec(line);
    const help = /^# HELP (\S+) \S.*$/.exec(line);
    const sample = /^([a-z_]+)\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\} (\S+)$/.exec(line);
    if (type !== null) parsed.types.set(type[1]!, type[2]!);
    else if (help !== null) parsed.helped.add(help[1]!);
    else if (sample !== null) parsed.samples.set(sample[1]!, sample[2]!);
    else throw new Error(`not a line of the format: ${line}`);
  }
  return parsed;
}

test('every sample has its TYPE and HELP, and every line has the form of the format', (t) => {
  const { samples, types, helped } = parse(metricsText(sampleStatus()));
  t.deepEqual([...samples.keys()].sort(), [...types.keys()].sort());
  t.deepEqual([...samples.keys()].sort(), [...helped].sort());
});

test('every counter is there under its name and _total, with its value', (t) => {
  const status = sampleStatus();
  const { samples, types } = parse(metricsText(status));
  for (const name of COUNTER_NAMES) {
    t.is(samples.get(`pcache_${name}_total`), String(status[name]));
    t.is(types.get(`pcache_${name}_total`), 'counter');
  }
  t.deepEqual(Object.keys(counterHelp).sort(), [...COUNTER_NAMES].sort());
});

test('names that end in _total are counters, the others gauges', (t) => {
  for (const [name, type] of parse(metricsText(sampleStatus())).types) t.is(type, name.endsWith('_total') ? 'counter' : 'gauge', name);
});

test('units are base units: bytes, seconds, ratios', (t) => {
  const { samples } = parse(metricsText(sampleStatus()));
  t.is(samples.get('pcache_gc_threshold_ratio'), '0.7');
  t.is(samples.get('pcache_start_time_seconds'), '1700000000');
  t.is(samples.get('pcache_volume_bytes'), '268435456');
});

test('quotes, backslashes and newlines of a path cannot break out of a label', (t) => {
  const text = metricsText(sampleStatus({ mountpoint: '/m"n\\t\nx 1' }));
  t.notThrows(() => parse(text));
  t.true(text.includes(String.raw`mountpoint="/m\"n\\t\nx 1"`));
});

test('a failing device shows as not healthy', (t) => {
  const last_error = { message: 'EIO', since_ms: 1, device: 'backing' as const };
  t.is(parse(metricsText(sampleStatus({ last_error }))).samples.get('pcache_healthy'), '0');
  t.is(parse(metricsText(sampleStatus())).samples.get('pcache_healthy'), '1');
});
