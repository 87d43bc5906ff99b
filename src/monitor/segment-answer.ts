// What came over the control socket as a map of the segments, checked before anybody draws it.

import { PcacheError } from '../errors.js';
import type { SegmentMap } from '../gateway/control-protocol.js';

const numbers = ['seg_total', 'segments_per_cell', 'key_tail', 'dirty_tail', 'key_head'] as const;

/** Throws PcacheError `unsupported`. */
export function segmentMapOfAnswer(value: unknown): SegmentMap {
  const fields = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const wrong = numbers.find(
    (name) => !Number.isSafeInteger(fields[name]) || Number(fields[name]) < (name === 'segments_per_cell' ? 1 : 0),
  );
  const cells = fields.cells;
  if (wrong !== undefined || typeof cells !== 'string' || !/^[-.Lx0-9]*$/.test(cells)) {
    throw new PcacheError('unsupported', `the gateway's answer: ${wrong ?? 'cells'} is not what it should be`, {
      hint: 'Is the gateway of another version?',
    });
  }
  return fields as unknown as SegmentMap;
}
