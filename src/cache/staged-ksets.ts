// Finds the keys that stand behind the log's end in ksets that were never closed, as `KsetLog` stages them. Changes nothing. They are part of the
// cache only until the machine restarts; whether it did is the caller's to know.
//
// They are not taken beyond a key whose segment was freed since. This gateway frees no segment that a staged key refers to, so the kernel was
// here in between: it takes the log to end before the staged keys, and frees what only they refer to. What comes after such a key is left out as
// well, for what is taken has to be a prefix of the writes. (Had the kernel written anything, it would stand where the staged keys are.)
//
// The check word of a key names its kset's sequence and place, so a key that stands behind one that does not match shows that this one was damaged; and
// so do the keys of the next kset, which has the next sequence. The header of a staged kset says nothing but its sequence, which its keys know too.

import { KEY_RESERVED_OFFSET, KeyCursor } from '../media/cache-key.js';
import { KsetHeader, ksetProblem, ksetSizeBytes } from '../media/kset.js';
import type { CacheSegId, SegmentOffset } from '../media/layout.js';
import { KEY_BYTES, KSET_HEADER_BYTES, KSET_KEYS_MAX, LAST_KSET_BYTES, SEGMENT_DATA_BYTES, SEGMENT_DATA_OFFSET } from '../media/layout.js';
import { LOG_OFFSET_MAX } from '../media/log-position.js';
import type { LogPosition } from '../media/log-position.js';
import type { LogSource, LogWalk, SegmentData } from '../media/log-walk.js';
import { readSegmentGeneration } from '../media/segment-generation.js';
import { stagedKeyCheck } from '../media/staged-key.js';

/** A kset behind the log's end: its keys are staged, or it is a LAST, which is whole as soon as the log has moved on. */
export interface StagedKset {
  readonly cacheSegId: CacheSegId;
  readonly segOff: number;
  /** Number of keys, 1 or more; of a LAST, the segment that the log goes on in. */
  readonly keys: number;
  readonly isLast: boolean;
  readonly sequence: number;
}

export interface StagedLog {
  readonly ksets: readonly StagedKset[];
  /** In all of them. */
  readonly keys: number;
  /** Where the next kset goes. */
  readonly end: LogPosition;
  readonly lastSequence: number;
  /** There are more keys, but the payload of the first of them is gone: another program freed its segment. */
  readonly isCut: boolean;
  /** What shows that more keys were staged, and that one between is damaged; undefined if nothing does. */
  readonly damage: string | undefined;
}

/** The ksets behind `walk.end`, in order. */
export function findStagedKsets(log: LogSource, walk: Pick<LogWalk, 'end' | 'segments' | 'lastSequence'>): StagedLog {
  const ksets: StagedKset[] = [];
  const logSegments = new Set<number>(walk.segments);
  const header = new KsetHeader();
  let cacheSegId = walk.end.cacheSegId;
  let segOff: number = walk.end.segOff;
  let { lastSequence } = walk;
  let total = 0;
  let isCut = false;
  let damage: string | undefined;
  const generations = new Generations(log);
  // A sequence must rise with every step and a segment is entered once, so this ends on any bytes.
  while (segOff <= LOG_OFFSET_MAX) {
    const data = log.data(cacheSegId);
    header.load(data.view, data.base + segOff);
    const sequence = sequenceOf(header, data, lastSequence, cacheSegId, segOff);
    if (sequence <= lastSequence) {
      damage = proofOfDamage(data, lastSequence + 1, cacheSegId, segOff, 0);
      break;
    }
    if (header.isLast && ksetProblem(data.bytes, data.base, segOff, header) === undefined) {
      const next = header.nextCacheSegId;
      if (next >= log.segmentCount || logSegments.has(next)) break;
      ksets.push({ cacheSegId, segOff, keys: next, isLast: true, sequence });
      logSegments.add(next);
      cacheSegId = next as CacheSegId;
      segOff = 0;
    } else {
      const staged = countStagedKeys(data, sequence, cacheSegId, segOff);
      const keys = generations.countCurrent(data, segOff, staged);
      isCut = keys < staged;
      damage = isCut ? undefined : proofOfDamage(data, sequence, cacheSegId, segOff, staged);
      if (keys === 0) break;
      ksets.push({ cacheSegId, segOff, keys, isLast: false, sequence });
      segOff += ksetSizeBytes(keys);
      total += keys;
    }
    lastSequence = sequence;
    if (isCut || damage !== undefined) break;
  }
  return { ksets, keys: total, end: { cacheSegId, segOff: segOff as SegmentOffset }, lastSequence, isCut, damage };
}

/** Of the kset at a place: as its header says; or one above the last, if that is what its keys say. */
function sequenceOf(header: KsetHeader, data: SegmentData, lastSequence: number, segment: CacheSegId, offset: number): number {
  const next = lastSequence + 1;
  if (header.sequence === next || lastSequence === 0) return header.sequence;
  return firstStagedKey(data, next, segment, offset, 0) === -1 ? header.sequence : next;
}

/** What stands behind the first `count` keys of a kset that shows that there were more. */
function proofOfDamage(data: SegmentData, sequence: number, segment: CacheSegId, offset: number, count: number): string | undefined {
  const later = firstStagedKey(data, sequence, segment, offset, count + 1);
  if (later !== -1) return `of the staged kset ${sequence}, key ${count} is damaged, and key ${later} is whole`;
  for (let keys = count + 1; keys <= KSET_KEYS_MAX; keys++) {
    const next = offset + ksetSizeBytes(keys);
    if (next > LOG_OFFSET_MAX) break;
    if (firstStagedKey(data, sequence + 1, segment, next, 0) !== -1)
      return `of the staged kset ${sequence}, key ${count} is damaged: the next kset stands behind ${keys} keys`;
  }
  return undefined;
}

/** Generations of the segments that staged keys refer to, as their records have them. */
class Generations {
  readonly #log: LogSource;
  readonly #known = new Map<number, number>();
  readonly #key = new KeyCursor();

  constructor(log: LogSource) {
    this.#log = log;
  }

  /** How many of the first `count` keys of a kset come before one that is stale. */
  countCurrent({ view, base }: SegmentData, segOff: number, count: number): number {
    for (let index = 0; index < count; index++) {
      this.#key.load(view, base + segOff + KSET_HEADER_BYTES + index * KEY_BYTES);
      const { cacheSegId, segGen } = this.#key;
      // A key that names no segment is refused by whoever takes it.
      if (cacheSegId < this.#log.segmentCount && segGen < this.#of(cacheSegId as CacheSegId)) return index;
    }
    return count;
  }

  #of(segment: CacheSegId): number {
    const known = this.#known.get(segment);
    if (known !== undefined) return known;
    const { bytes, base } = this.#log.data(segment);
    const read = readSegmentGeneration(bytes.subarray(base - SEGMENT_DATA_OFFSET, base));
    const generation = read.ok ? read.value : 0;
    this.#known.set(segment, generation);
    return generation;
  }
}

function countStagedKeys(data: SegmentData, sequence: number, segment: CacheSegId, offset: number): number {
  const most = keysThatFit(offset);
  let count = 0;
  while (count < most && isStagedKey(data, sequence, segment, offset, count)) count++;
  return count;
}

/** Index of the first key from `from` on that is staged there; -1 if there is none. */
function firstStagedKey(data: SegmentData, sequence: number, segment: CacheSegId, offset: number, from: number): number {
  const most = keysThatFit(offset);
  for (let index = from; index < most; index++) {
    if (isStagedKey(data, sequence, segment, offset, index)) return index;
  }
  return -1;
}

/** Keys that fit into a kset at `offset`. */
function keysThatFit(offset: number): number {
  return Math.min(KSET_KEYS_MAX, Math.floor((SEGMENT_DATA_BYTES - LAST_KSET_BYTES - offset - KSET_HEADER_BYTES) / KEY_BYTES));
}

function isStagedKey({ view, base }: SegmentData, sequence: number, segment: CacheSegId, offset: number, index: number): boolean {
  const at = base + offset + KSET_HEADER_BYTES + index * KEY_BYTES;
  return view.getUint32(at + KEY_RESERVED_OFFSET, true) === stagedKeyCheck(view, at, sequence, segment, offset);
}

/** Calls back with each key of a kset that stands in the log, closed or staged; a LAST has none. `key` is one object for all calls. */
export function forEachKeyOf(
  log: LogSource,
  kset: Pick<StagedKset, 'cacheSegId' | 'segOff' | 'keys' | 'isLast'>,
  onKey: (key: KeyCursor, index: number) => void,
): void {
  const { view, base } = log.data(kset.cacheSegId);
  const key = new KeyCursor();
  if (kset.isLast) return;
  for (let index = 0; index < kset.keys; index++) {
    key.load(view, base + kset.segOff + KSET_HEADER_BYTES + index * KEY_BYTES);
    onKey(key, index);
  }
}
