import test from 'ava';
import { statusTable } from '../../src/cli/status-table.js';
import type { IdleStatus } from '../../src/gateway/status.js';
import { sampleStatus } from '../gateway/sample-status.js';

test('the table of a served volume says what matters, one thing a line', (t) => {
  const status = sampleStatus({ last_error: { message: 'write: EIO', since_ms: 1_700_000_060_000, device: 'backing' } });
  t.snapshot(statusTable(status, 1_700_000_065_000));
});

test('the table of a cache that nobody serves says what the next mount will find', (t) => {
  const status: IdleStatus = {
    ...sampleStatus({ uuid: null }),
    state: 'idle',
    closed_in_order: false,
    volume_bytes: 0,
  };
  t.snapshot(statusTable(status));
});
