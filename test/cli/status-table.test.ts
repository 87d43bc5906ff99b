import test from 'ava';
import { statusTable } from '../../src/cli/status-table.js';
import type { IdleStatus } from '../../src/gateway/status.js';
import { sampleStatus } from '../gateway/sample-status.js';

function tableText(...args: Parameters<typeof statusTable>): string {
  return statusTable(...args).join('\n');
}

test('the table of a served volume says what matters, one thing a line', (t) => {
  const status = sampleStatus({ last_error: { message: 'write: EIO', since_ms: 1_700_000_060_000, device: 'backing' } });
  t.snapshot(tableText(status, 1_700_000_065_000));
});

test('the table of a cache that nobody serves says what the next mount will find', (t) => {
  const status: IdleStatus = {
    ...sampleStatus({ uuid: null }),
    state: 'idle',
    closed_in_order: false,
    volume_bytes: 0,
  };
  t.snapshot(tableText(status));
});

test('a volume whose dirty data is kept back says so, and for how long', (t) => {
  const table = tableText(
    sampleStatus({
      writeback_pending_bytes: 4096,
      writeback_paused: true,
      clean_in_s: null,
      writeback_bytes_per_s: 0,
      cache_full_waits: 0,
      writeback_errors: 0,
    }),
    1_700_003_630_000,
  );
  t.regex(table, /^dirty +4 KiB not on the backing device yet, the oldest for 1 h/m);
  t.regex(table, /^writeback +paused; .* written to the backing device$/m);
  t.notRegex(table, /^waits/m);
});

test('a clean volume that was never used says that nothing is dirty, and tells no times', (t) => {
  const none = { count: 0, sum_us: 0, buckets: [] };
  const table = tableText(
    sampleStatus({
      dirty_bytes: 0,
      writeback_pending_bytes: 0,
      dirty_since_ms: null,
      clean_in_s: null,
      latency: { read: none, write: none, flush: none },
    }),
  );
  t.regex(table, /^dirty +nothing: the backing device has everything$/m);
  t.notRegex(table, /mean|within/);
});

test('a rate of the last seconds is no rate of now when everything is written back, or writeback is paused', (t) => {
  const busy = { dirty_bytes: 4096, writeback_bytes_per_s: 1 << 20 };
  t.regex(tableText(sampleStatus(busy)), /^writeback .*, 1 MiB\/s now/m);
  t.notRegex(tableText(sampleStatus({ ...busy, dirty_bytes: 0, writeback_pending_bytes: 0 })), /\/s now/);
  t.notRegex(tableText(sampleStatus({ ...busy, writeback_paused: true })), /\/s now/);
});

test('a cache that nobody serves and that has nothing dirty says so in the same words as one that is served', (t) => {
  const idle: IdleStatus = { ...sampleStatus({ dirty_bytes: 0, writeback_pending_bytes: 0 }), state: 'idle', closed_in_order: true };
  t.regex(tableText(idle), /^dirty +nothing: the backing device has everything$/m);
});
