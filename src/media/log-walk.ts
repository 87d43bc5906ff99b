// Walks the log from a tail to its end. Every reader of the log (replay, writeback, GC, check, dump) goes through here, so that all agree on what
// is in it. Invariants: nothing is written; each log segment is visited at most once, so the walk ends on any bytes; keys are reported as they
// stand, their fields not checked (`validateKey` is the visitor's).
//
// Where the log ends. A kset counts if its magic, key_num and CRC are good and its sequence, if it has one, is above every sequence before it: a
// lower one is what an earlier use of the segment left there. A kset without a sequence (0) was written by the kernel and counts.
//
// Telling the end from damage. The log is damaged where it ends if
// 1. it ends before dirty_tail, or leads back into itself or out of the cache, or
// 2. a kset that must come later stands further on in the same segment, and proves that the place where the log ends once held a durable kset.
//    A kset says how many before it were perhaps not durable yet when it was written (batchIndex b). A kset is 5,144 bytes at most, so between
//    the end E and a kset at E + d lie at least ceil(d / 5,144), the one at E among them. If that is more than b, the one at E was durable.
//    (Counting by sequence numbers would not do: they jump at each open of the cache.) Not proof are: a kset whose sequence is not above
//    those of the log (an older use of the segment), or not below the limit that was ever used (payload that holds somebody else's ksets).
//    If the log has no sequences, the one in the header at E stands in for them, be the kset damaged or only staged; if that is 0 too, the
//    kernel wrote last, and what lies beyond may be from before the kernel's use of the segment: nothing is proof.
// 3. it does not come to the place that the gateway header says it is known to have reached (`durable`), or
// 4. what stands at a tail is not the kset that the tail's stamp names (an older version of the tail), or sequences leave out a few numbers, as they
//    do at no opening (a log segment that was reused since).
// 3 and 4 hold only while this gateway alone moves key_tail: `logWalkOptions` says when.

import { KeyCursor } from './cache-key.js';
import { BATCH_INDEX_MAX, KSET_MAGIC_LOW, KSET_HEADER_LAYOUT, KsetHeader, ksetProblem } from './kset.js';
import type { CacheSegId, SegmentOffset } from './layout.js';
import { KEY_BYTES, KSET_BYTES_MAX, KSET_HEADER_BYTES } from './layout.js';
import type { DurablePlace, GatewayHeader } from './gateway-header.js';
import type { LogPosition } from './log-position.js';
import { LOG_ALIGNMENT_BYTES, LOG_OFFSET_MAX, positionProblem } from './log-position.js';
import { tailStamp } from './tails.js';
import type { Current } from './two-copy-record.js';

/** A segment's bytes: `view` and `bytes` are the same memory, the segment's data starts at `base` in them and is there in full. */
export interface SegmentData {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly base: number;
}

export interface LogSource {
  /** n_segs of cache_info. */
  readonly segmentCount: number;
  /** Asked only for ids below `segmentCount`. */
  data(cacheSegId: CacheSegId): SegmentData;
}

export interface LogWalkOptions {
  /** A place that the log is known to contain, or to end at. */
  readonly dirtyTail?: LogPosition;
  /** Sequence of the kset before `start`, if known: what follows must be above it. Default 0: not known. */
  readonly lastSequence?: number;
  /** No sequence at or above it was ever used in this cache (gateway header). Default: not known. */
  readonly sequenceLimit?: number;
  /** A place that the log is known to have reached. Only for a walk from key_tail. Default: not known. */
  readonly durable?: DurablePlace;
  /** The stamps of `start` and of dirty_tail, where they are to be checked. */
  readonly startStamp?: number;
  readonly dirtyTailStamp?: number;
  /** Called after each kset and its keys with the bytes of ksets that were walked so far. */
  readonly onAdvance?: (logBytes: number) => void;
}

/**
 * At an opening of the cache the sequence rises to the limit that was claimed, by 2^23 at the least (`cache/sequence-claim`). A smaller gap is
 * none that this gateway leaves.
 */
const OPENING_GAP_MIN = 2 ** 22;

type Tail = Pick<Current<LogPosition>, 'value' | 'stamp'>;

/**
 * What is known of the log before it is walked from key_tail. The durable place and the stamps count only if this gateway wrote the current copy of
 * key_tail: the kernel moves key_tail without a look at either. And only if the header has the place: a version of this program that does not know
 * it moves the log on without a look at the stamps.
 */
export function logWalkOptions(
  keyTail: Tail,
  dirtyTail: Tail | undefined,
  header: Pick<GatewayHeader, 'sequenceLimit' | 'durable'> | undefined,
): LogWalkOptions {
  const common = {
    ...(dirtyTail === undefined ? {} : { dirtyTail: dirtyTail.value }),
    ...(header === undefined ? {} : { sequenceLimit: header.sequenceLimit }),
  };
  if (keyTail.stamp === undefined || header?.durable === undefined) return common;
  const dirtyTailStamp = dirtyTail?.stamp;
  return {
    ...common,
    durable: header.durable,
    startStamp: keyTail.stamp,
    ...(dirtyTailStamp === undefined ? {} : { dirtyTailStamp }),
  };
}

/** The kset that the walk is at. One object for the whole walk: copy what must outlive the call. */
export class WalkedKset {
  cacheSegId = 0 as CacheSegId;
  segOff = 0 as SegmentOffset;
  /** 0 for the first of the walk; LAST ksets are counted too. */
  ordinal = 0;
  readonly header = new KsetHeader();
}

export interface LogVisitor {
  /** Each kset, LAST ones too, before its keys. */
  onKset?(kset: WalkedKset): void;
  /** Each key, in log order. `key` is one object for the whole walk. `index`: place in the kset. */
  onKey?(key: KeyCursor, kset: WalkedKset, index: number): void;
}

export interface LogWalk {
  /** Where the log ends: key_head, if it is no damage. */
  readonly end: LogPosition;
  /** Ksets with keys. */
  readonly ksets: number;
  readonly lastKsets: number;
  readonly keys: number;
  /** The highest sequence seen, or what the options gave; 0 if neither. */
  readonly lastSequence: number;
  /** Log segments in the order of the log, the one where it ends included. */
  readonly segments: readonly CacheSegId[];
  readonly ending: 'end' | 'damaged';
  /** Why it counts as damaged; `undefined` if it doesn't. */
  readonly damage: string | undefined;
  /** What stands at the end instead of a kset, as `ksetProblem` words it. */
  readonly endsWith: string;
  /** True if the walk came to `dirtyTail`, or none was given. */
  readonly dirtyTailPassed: boolean;
}

/** `start`: key_tail, or any later place where a kset starts. Never throws, whatever the media hold. */
export function walkLog(source: LogSource, start: LogPosition, options: LogWalkOptions = {}, visitor: LogVisitor = {}): LogWalk {
  const { dirtyTail, durable, onAdvance } = options;
  const sequenceLimit = options.sequenceLimit ?? Number.MAX_SAFE_INTEGER;
  const kset = new WalkedKset();
  const header = kset.header;
  const key = new KeyCursor();
  const seen = new Uint8Array(source.segmentCount);
  const segments: CacheSegId[] = [];
  let cacheSegId = start.cacheSegId;
  let segOff: number = start.segOff;
  let ksets = 0;
  let lastKsets = 0;
  let keys = 0;
  let lastSequence = options.lastSequence ?? 0;
  let previous = 0;
  let dirtyTailPassed = dirtyTail === undefined;
  let durablePassed = durable === undefined;

  const finish = (damage: string | undefined, endsWith: string): LogWalk => {
    const end: LogPosition = { cacheSegId, segOff: segOff as SegmentOffset };
    const ending = damage === undefined ? 'end' : 'damaged';
    return { end, ksets, lastKsets, keys, lastSequence, segments, ending, damage, endsWith, dirtyTailPassed };
  };

  const startProblem = positionProblem(cacheSegId, segOff, source.segmentCount);
  if (startProblem !== undefined) return finish(`the log can't start there: ${startProblem}`, 'nothing');

  let data = source.data(cacheSegId);
  seen[cacheSegId] = 1;
  segments.push(cacheSegId);
  while (true) {
    const isDirtyTail = dirtyTail?.segOff === segOff && dirtyTail.cacheSegId === cacheSegId;
    if (isDirtyTail) dirtyTailPassed = true;
    if (durable?.position.segOff === segOff && durable.position.cacheSegId === cacheSegId) {
      if (lastSequence > durable.sequence) {
        return finish(
          `the log passes ${placeText(durable.position)} after sequence ${durable.sequence}: other ksets stand there`,
          'a kset',
        );
      }
      durablePassed = true;
      lastSequence = durable.sequence;
    }
    header.load(data.view, data.base + segOff);
    let problem = ksetProblem(data.bytes, data.base, segOff, header);
    if (problem === undefined && header.sequence !== 0 && header.sequence <= lastSequence) {
      problem = `a stale kset: its sequence ${header.sequence} is not above ${lastSequence}`;
    }
    if (problem !== undefined) {
      if (!dirtyTailPassed) return finish(`the log ends before dirty_tail (${problem})`, problem);
      if (!durablePassed && durable !== undefined) {
        return finish(`flushed data is missing (${problem}): the log is known to have reached ${placeText(durable.position)}`, problem);
      }
      const floor = lastSequence === 0 ? header.sequence : lastSequence;
      const proof = floor === 0 ? undefined : findProofOfLoss(data, segOff, floor, sequenceLimit);
      return finish(proof === undefined ? undefined : `a kset is missing (${problem}): ${proof}`, problem);
    }
    const { sequence } = header;
    if (sequence !== 0) {
      if (ksets + lastKsets === 0 && stampDiffers(options.startStamp, start, sequence)) {
        return finish(`key_tail does not belong to the kset ${sequence} that stands there: it is an older one`, 'another kset');
      }
      if (isDirtyTail && stampDiffers(options.dirtyTailStamp, dirtyTail, sequence)) {
        return finish(`dirty_tail does not belong to the kset ${sequence} that stands there: it is an older one`, 'another kset');
      }
      if (durable !== undefined && previous !== 0 && sequence > previous + 1 && sequence - previous < OPENING_GAP_MIN) {
        return finish(`ksets ${previous + 1} to ${sequence - 1} are missing`, 'a later kset');
      }
    }
    previous = sequence;
    kset.cacheSegId = cacheSegId;
    kset.segOff = segOff as SegmentOffset;
    kset.ordinal = ksets + lastKsets;
    if (header.sequence !== 0) lastSequence = header.sequence;
    visitor.onKset?.(kset);
    if (header.isLast) {
      lastKsets++;
      const next = header.nextCacheSegId;
      if (next >= source.segmentCount) return finish(`a LAST kset leads to segment ${next}, which is not in the cache`, 'a LAST kset');
      if (seen[next] !== 0) return finish(`a LAST kset leads back to segment ${next} of the log`, 'a LAST kset');
      cacheSegId = next as CacheSegId;
      segOff = 0;
      data = source.data(cacheSegId);
      seen[cacheSegId] = 1;
      segments.push(cacheSegId);
      continue;
    }
    ksets++;
    keys += header.keyNum;
    if (visitor.onKey !== undefined) {
      let keyAt = data.base + segOff + KSET_HEADER_BYTES;
      for (let index = 0; index < header.keyNum; index++) {
        key.load(data.view, keyAt);
        visitor.onKey(key, kset, index);
        keyAt += KEY_BYTES;
      }
    }
    segOff += header.sizeBytes;
    if (onAdvance !== undefined) onAdvance((ksets + lastKsets) * KSET_HEADER_BYTES + keys * KEY_BYTES);
  }
}

function stampDiffers(stamp: number | undefined, tail: LogPosition, sequence: number): boolean {
  return stamp !== undefined && stamp !== tailStamp(tail, sequence);
}

function placeText({ cacheSegId, segOff }: LogPosition): string {
  return `segment ${cacheSegId}, offset ${segOff}`;
}

/** The lower half only: for a longer one, Node's search would soon go byte by byte. */
const MAGIC = Buffer.alloc(4);
MAGIC.writeUInt32LE(KSET_MAGIC_LOW, 0);

/**
 * Looks beyond `end` in its segment for a kset that proves that one is missing at `end` (see the head of this file); says what it found.
 * Sequences that count are above `floor` and below `sequenceLimit`.
 */
function findProofOfLoss(data: SegmentData, end: number, floor: number, sequenceLimit: number): string | undefined {
  const { bytes, view, base } = data;
  const header = new KsetHeader();
  const magicAt = base + KSET_HEADER_LAYOUT.magic;
  // Most of what is looked through is zeros, or payload; this runs over it at the speed of memory.
  const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let segOff = end;
  for (;;) {
    const found = haystack.indexOf(MAGIC, magicAt + segOff + LOG_ALIGNMENT_BYTES) - magicAt;
    if (found <= segOff || found > LOG_OFFSET_MAX) return undefined;
    segOff = found - (found % LOG_ALIGNMENT_BYTES);
    if (segOff !== found) continue;
    header.load(view, base + segOff);
    const { sequence, batchIndex } = header;
    if (sequence <= floor || sequence >= sequenceLimit || batchIndex === BATCH_INDEX_MAX) continue;
    if (batchIndex >= Math.ceil((segOff - end) / KSET_BYTES_MAX)) continue;
    if (ksetProblem(bytes, base, segOff, header) !== undefined) continue;
    return `the later kset ${sequence} at ${segOff} was written when it was durable`;
  }
}
