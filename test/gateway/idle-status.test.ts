import test from 'ava';
import { readIdleStatus } from '../../src/gateway/idle-status.js';
import { goldenExpectations, unpackGolden } from '../support/golden.js';

// Two are enough here: that the media of all of them are understood is tested where they are read, and unpacking takes seconds.
for (const expected of goldenExpectations.filter(({ name }) => name === 'clean-read' || name === 'log-wrap')) {
  test(`status of the kernel's image ${expected.name} shows what is on it`, (t) => {
    const golden = unpackGolden(expected.name);
    t.teardown(() => golden.remove());
    const status = readIdleStatus(golden.cachePath);
    const position = ([seg, off]: readonly number[]): { seg: number; off: number } => ({ seg: seg!, off: off! });
    t.like(status, {
      state: 'idle',
      sb_flags: expected.superblock.flags,
      seg_total: expected.superblock.seg_num,
      cache_segs: expected.cache_info.n_segs,
      gc_percent: expected.cache_info.gc_percent,
      cache_flags: expected.cache_info.flags,
      data_crc: expected.cache_info.data_crc,
      key_tail: position(expected.key_tail),
      dirty_tail: position(expected.dirty_tail),
      key_head: position(expected.key_head),
      uuid: null,
      volume_bytes: 0,
      closed_in_order: true,
    });
    t.is(status.dirty_bytes > 0, expected.backing_sha256 !== expected.volume_sha256);
    t.true(status.cached_bytes > 0 && status.segs_used > 0);
  });
}
