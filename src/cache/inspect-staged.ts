// Finds the keys that stand behind the log's end in ksets that were never closed, as `KsetLog` stages them. Changes nothing. They are part of the
// cache only until the machine restarts; whether it did is the caller's to know.

import { KeyCursor } from '../media/cache-key.js';
import { KsetHeader, ksetProblem, ksetSizeBytes } from '../media/kset.js';
import type { CacheSegId } from '../media/layout.js';
import { KEY_BYTES, KSET_HEADER_BYTES, KSET_KEYS_MAX, LAST_KSET_BYTES, SEGMENT_DATA_BYTES } from '../media/layout.js';
import { LOG_OFFSET_MAX } from '../media/log-position.js';
import type { LogSource, LogWalk, SegmentData } from '../media/log-walk.js';
import { KEY_RESERVED_OFFSET } from '../media/cache-key.js';
import { stagedKeyCheck } from '../media/staged-key.js';

export interface StagedKset {
  readonly cacheSegId: CacheSegId;
  readonly segOff: number;
  readonly keys: number;
}

/** The staged ksets behind `walk.end`, in order, those without keys (LAST) left out. */
export function findStagedKsets(log: LogSource, walk: Pick<LogWalk, 'end' | 'segments' | 'lastSequence'>): StagedKset[] {
  const found: StagedKset[] = [];
  const logSegments = new Set<number>(walk.segments);
  const header = new KsetHeader();
  let segment = walk.end.cacheSegId;
  let offset: number = walk.end.segOff;
  let { lastSequence } = walk;
  // A sequence must rise with every step and a segment is entered once, so this ends on any bytes.
  while (segment < log.segmentCount && offset <= LOG_OFFSET_MAX) {
    const data = log.data(segment);
    header.load(data.view, data.base + offset);
    const { sequence } = header;
    if (sequence <= lastSequence) break;
    lastSequence = sequence;
    if (header.isLast && ksetProblem(data.bytes, data.base, offset, header) === undefined) {
      const next = header.nextCacheSegId;
      if (next >= log.segmentCount || logSegments.has(next)) break;
      logSegments.add(next);
      segment = next as CacheSegId;
      offset = 0;
      continue;
    }
    const keys = countStagedKeys(data, sequence, segment, offset);
    if (keys === 0) break;
    found.push({ cacheSegId: segment, segOff: offset, keys });
    offset += ksetSizeBytes(keys);
  }
  return found;
}

function countStagedKeys({ view, base }: SegmentData, sequence: number, segment: CacheSegId, offset: number): number {
  const first = offset + KSET_HEADER_BYTES;
  const most = Math.min(KSET_KEYS_MAX, Math.floor((SEGMENT_DATA_BYTES - LAST_KSET_BYTES - first) / KEY_BYTES));
  let count = 0;
  for (; count < most; count++) {
    const at = base + first + count * KEY_BYTES;
    if (view.getUint32(at + KEY_RESERVED_OFFSET, true) !== stagedKeyCheck(view, at, sequence, segment, offset)) break;
  }
  return count;
}

/** Calls back with each key of a kset that stands in the log, closed or staged. `key` is one object for all calls. */
export function forEachKeyOf(log: LogSource, kset: StagedKset, onKey: (key: KeyCursor, index: number) => void): void {
  const { view, base } = log.data(kset.cacheSegId);
  const key = new KeyCursor();
  for (let index = 0; index < kset.keys; index++) {
    key.load(view, base + kset.segOff + KSET_HEADER_BYTES + index * KEY_BYTES);
    onKey(key, index);
  }
}
