// What stands behind a damaged place of the log: the ksets there that can still be read, and which parts of the volume they were about. Changes
// nothing, and ends on any bytes.
//
// Invariants of what is found:
// - A kset counts only if its magic and CRC are good and every key in it carries the check word of its sequence and its place (`staged-key.ts`). So
//   payload that holds somebody else's ksets, a copy of this cache among them, is not taken for a part of the log.
// - Its sequence is above every sequence of the log before the damage and below the limit of the gateway header: it is newer than the log, not left
//   over from an earlier use of the segment. Ksets of the kernel (sequence 0) prove nothing of the kind and are left out.
// - Keys of ksets that were still open (staged) count only in the boot in which they were staged, as with replay.

import { KEY_RESERVED_OFFSET, KeyCursor, validateKey } from '../media/cache-key.js';
import type { KeyLimits } from '../media/cache-key.js';
import { KSET_MAGIC_HIGH, KSET_MAGIC_LOW, KSET_HEADER_LAYOUT, KsetHeader, ksetProblem } from '../media/kset.js';
import type { CacheSegId } from '../media/layout.js';
import {
  KEY_BYTES,
  KSET_BYTES_MAX,
  KSET_HEADER_BYTES,
  KSET_KEYS_MAX,
  LAST_KSET_BYTES,
  SEGMENT_BYTES,
  SEGMENT_DATA_BYTES,
} from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import { LOG_ALIGNMENT_BYTES, LOG_OFFSET_MAX } from '../media/log-position.js';
import type { LogSource, LogWalk } from '../media/log-walk.js';
import { stagedKeyCheck } from '../media/staged-key.js';
import type { StagedKset } from './staged-ksets.js';
import { findStagedKsets, forEachKeyOf } from './staged-ksets.js';
import type { TellProgress } from './tell-progress.js';
import type { VolumeRange } from './volume-ranges.js';
import { VolumeRanges, bytesOf } from './volume-ranges.js';

/** How far into a segment one looks for a first kset: so much damage at its start may hide that the log went on there. */
const SEGMENT_START_BYTES = 64 * 1024;

const MAGIC = Buffer.alloc(8);
MAGIC.writeUInt32LE(KSET_MAGIC_LOW, 0);
MAGIC.writeUInt32LE(KSET_MAGIC_HIGH, 4);

export interface FoundKset extends StagedKset {
  /** Of header and keys. */
  readonly sizeBytes: number;
  /** Its keys were acknowledged, but its header was not written yet. */
  readonly isStaged: boolean;
}

/** What is lost if the log ends where it is damaged. */
export interface LogLoss {
  /** The place where the log is damaged. */
  readonly at: LogPosition;
  /** What is wrong there. */
  readonly damage: string;
  /** Ksets behind the damage that can be read, LAST ones too, in the order in which they were written. */
  readonly ksets: readonly FoundKset[];
  /** Of their keys: those that the backing device does not have. */
  readonly writes: number;
  /** What these cover, in order of the volume. */
  readonly ranges: readonly VolumeRange[];
  readonly bytes: number;
  /** Those of them that stand alone: their kset is not whole, so when they were made in relation to others is less sure. */
  readonly loose: readonly VolumeRange[];
  /** Writes at most in the ksets that can't be read, `undefined` if that can't be told; nor can which parts of the volume they are about. */
  readonly unreadableWritesMax: number | undefined;
}

export interface LossOptions {
  /** Highest sequence of the log before the damage; 0 if not known: then nothing behind it can be told from what is older. */
  readonly lastSequence: number;
  /** No sequence at or above it was ever used. */
  readonly sequenceLimit: number;
  /** Keys that were staged when the program died count. */
  readonly takeStaged: boolean;
  readonly limits: KeyLimits;
  /** By cache_seg_id; a key below its segment's is no longer in use. */
  readonly isStale: (cacheSegId: number, segGen: number) => boolean;
  /** Segments that hold data of the log before the damage: they are not looked through. */
  readonly dataSegments: ReadonlySet<number>;
  /** A place that the log is known to have reached. */
  readonly durable?: LogPosition;
  readonly tell?: TellProgress | undefined;
}

/** `walk` ended damaged. */
export function findLoss(log: LogSource, walk: LogWalk, options: LossOptions): LogLoss {
  const ksets = findKsets(log, walk, options);
  const ranges = new VolumeRanges();
  let writes = 0;
  const add = (key: KeyCursor): void => {
    if (!isOnlyCopy(key, options)) return;
    writes++;
    ranges.add(key.off, key.len);
  };
  for (const kset of ksets) forEachKeyOf(log, kset, add);
  const loose = new VolumeRanges();
  const unreadableWritesMax = readGaps(log, walk, ksets, options, (key) => {
    add(key);
    if (isOnlyCopy(key, options)) loose.add(key.off, key.len);
  });
  const merged = ranges.merged();
  const damage = walk.damage ?? 'the log is damaged';
  return { at: walk.end, damage, ksets, writes, ranges: merged, bytes: bytesOf(merged), loose: loose.merged(), unreadableWritesMax };
}

/** Whether a key found behind the damage is of a write that the backing device does not have. */
export function isOnlyCopy(key: KeyCursor, { limits, isStale }: Pick<LossOptions, 'limits' | 'isStale'>): boolean {
  return !key.isClean && validateKey(key, limits) === undefined && !isStale(key.cacheSegId, key.segGen);
}

function findKsets(log: LogSource, walk: LogWalk, options: LossOptions): FoundKset[] {
  const { cacheSegId, segOff } = walk.end;
  if (options.lastSequence === 0 || cacheSegId >= log.segmentCount) return [];
  const found = ksetsOfSegment(log, cacheSegId, segOff, options);
  const before = new Set<number>(walk.segments);
  for (let id = 0; id < log.segmentCount; id++) {
    options.tell?.('looking behind the damage', id * SEGMENT_BYTES, log.segmentCount * SEGMENT_BYTES);
    if (before.has(id) || options.dataSegments.has(id) || !hasKsetAtStart(log, id as CacheSegId, options)) continue;
    for (const kset of ksetsOfSegment(log, id as CacheSegId, 0, options)) found.push(kset);
  }
  found.sort((a, b) => a.sequence - b.sequence);
  const last = found.at(-1);
  if (!options.takeStaged || last === undefined) return found;
  const segments = [...new Set([...walk.segments, ...found.map((kset) => kset.cacheSegId)])];
  const end = last.isLast
    ? { cacheSegId: last.keys as CacheSegId, segOff: 0 as LogPosition['segOff'] }
    : { cacheSegId: last.cacheSegId, segOff: (last.segOff + last.sizeBytes) as LogPosition['segOff'] };
  for (const kset of findStagedKsets(log, { end, segments, lastSequence: last.sequence }).ksets) {
    found.push({ ...kset, sizeBytes: KSET_HEADER_BYTES + (kset.isLast ? 0 : kset.keys * KEY_BYTES), isStaged: !kset.isLast });
  }
  return found;
}

function hasKsetAtStart(log: LogSource, id: CacheSegId, options: LossOptions): boolean {
  return nextKset(log, id, 0, SEGMENT_START_BYTES, new KsetHeader(), options) !== undefined;
}

function ksetsOfSegment(log: LogSource, id: CacheSegId, from: number, options: LossOptions): FoundKset[] {
  const found: FoundKset[] = [];
  const header = new KsetHeader();
  for (let segOff = from; ;) {
    const at = nextKset(log, id, segOff, LOG_OFFSET_MAX, header, options);
    if (at === undefined) return found;
    const { sequence, isLast, nextCacheSegId, keyNum, sizeBytes } = header;
    found.push({ cacheSegId: id, segOff: at, keys: isLast ? nextCacheSegId : keyNum, isLast, sequence, sizeBytes, isStaged: false });
    segOff = at + sizeBytes;
  }
}

/** Where the next kset that counts starts, from `from` to `to`; it is in `header` then. */
function nextKset(log: LogSource, id: CacheSegId, from: number, to: number, header: KsetHeader, options: LossOptions): number | undefined {
  const { bytes, view, base } = log.data(id);
  const magicAt = base + KSET_HEADER_LAYOUT.magic;
  const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, magicAt + to + MAGIC.length);
  for (let segOff = from; segOff <= to; segOff += LOG_ALIGNMENT_BYTES) {
    segOff = haystack.indexOf(MAGIC, magicAt + segOff) - magicAt;
    if (segOff < from) return undefined;
    if (segOff % LOG_ALIGNMENT_BYTES !== 0) {
      segOff -= segOff % LOG_ALIGNMENT_BYTES;
      continue;
    }
    header.load(view, base + segOff);
    if (header.sequence <= options.lastSequence || header.sequence >= options.sequenceLimit) continue;
    if (ksetProblem(bytes, base, segOff, header) !== undefined) continue;
    if (header.isLast ? header.nextCacheSegId < log.segmentCount : isOfThisPlace(view, base, id, segOff, header)) return segOff;
  }
  return undefined;
}

function isOfThisPlace(view: DataView, base: number, id: CacheSegId, segOff: number, header: KsetHeader): boolean {
  for (let index = 0; index < header.keyNum; index++) {
    const at = base + segOff + KSET_HEADER_BYTES + index * KEY_BYTES;
    if (view.getUint32(at + KEY_RESERVED_OFFSET, true) !== stagedKeyCheck(view, at, header.sequence, id, segOff)) return false;
  }
  return true;
}

/** Goes through what lies between the ksets that are whole. Returns how many writes at most can't be read there, `undefined` if that can't be told. */
function readGaps(
  log: LogSource,
  walk: LogWalk,
  ksets: readonly FoundKset[],
  options: LossOptions,
  onKey: (key: KeyCursor) => void,
): number | undefined {
  const { durable, lastSequence } = options;
  let { cacheSegId, segOff }: { cacheSegId: number; segOff: number } = walk.end;
  if (cacheSegId >= log.segmentCount) return undefined;
  const gap = (end: number, sequence: number): number => readGap(log, cacheSegId as CacheSegId, segOff, end, sequence, onKey);
  if (ksets.length === 0) {
    if (durable?.cacheSegId === cacheSegId && durable.segOff > segOff) return gap(durable.segOff, lastSequence);
    gap(Math.min(segOff + KSET_BYTES_MAX, SEGMENT_DATA_BYTES), lastSequence);
    return undefined;
  }
  let unreadable = 0;
  let sequence = lastSequence;
  for (const kset of ksets) {
    if (kset.cacheSegId === cacheSegId) unreadable += gap(kset.segOff, sequence);
    else unreadable += gap(SEGMENT_DATA_BYTES - LAST_KSET_BYTES, sequence) + keysIn(kset.segOff);
    cacheSegId = kset.isLast ? kset.keys : kset.cacheSegId;
    segOff = kset.isLast ? 0 : kset.segOff + kset.sizeBytes;
    ({ sequence } = kset);
  }
  return unreadable;
}

/**
 * Reads what is left of the ksets from `start` to `end`: keys whose check word is right are whole, though their kset is not. Returns how many more there
 * may have been. `lastSequence`: of the kset before.
 */
function readGap(
  log: LogSource,
  id: CacheSegId,
  start: number,
  end: number,
  lastSequence: number,
  onKey: (key: KeyCursor) => void,
): number {
  const { view, base } = log.data(id);
  const header = new KsetHeader();
  const key = new KeyCursor();
  let unreadable = 0;
  let before = lastSequence;
  for (let segOff = start; ;) {
    const slots = Math.min(KSET_KEYS_MAX, keysIn(end - segOff - KSET_HEADER_BYTES));
    if (slots <= 0) return unreadable + keysIn(end - segOff);
    header.load(view, base + segOff);
    const whole: number[] = [];
    const sequence = [header.sequence, before + 1].find((candidate) => {
      if (candidate < before || candidate === 0) return false;
      for (let index = 0; index < slots; index++) {
        const at = base + segOff + KSET_HEADER_BYTES + index * KEY_BYTES;
        if (view.getUint32(at + KEY_RESERVED_OFFSET, true) === stagedKeyCheck(view, at, candidate, id, segOff)) whole.push(index);
      }
      return whole.length > 0;
    });
    if (sequence === undefined) return unreadable + keysIn(end - segOff);
    for (const index of whole) {
      key.load(view, base + segOff + KSET_HEADER_BYTES + index * KEY_BYTES);
      onKey(key);
    }
    const keys = header.keyNum > whole.at(-1)! && header.keyNum <= slots ? header.keyNum : whole.at(-1)! + 1;
    unreadable += keys - whole.length;
    segOff += KSET_HEADER_BYTES + keys * KEY_BYTES;
    before = sequence;
  }
}

function keysIn(bytes: number): number {
  return Math.max(0, Math.floor(bytes / KEY_BYTES));
}
