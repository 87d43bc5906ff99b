// Bugs to plant: each is one that a promise rules out. They are patched into the product's classes, or laid over its devices, inside the simulated
// threads or the judge alone; the product knows nothing of them.

import { Cache } from '../../src/cache/cache.js';
import { CacheTree } from '../../src/cache/cache-tree.js';
import { ExtentFlag, SUBTREE_SECTORS } from '../../src/cache/extent.js';
import { ExtentCursor } from '../../src/cache/extent-cursor.js';
import { KsetLog } from '../../src/cache/kset-log.js';
import { LogCursor } from '../../src/cache/log-cursor.js';
import { Reader } from '../../src/cache/reader.js';
import { SegmentTable } from '../../src/cache/segment-table.js';
import { SegmentState, Word } from '../../src/cache/shared-state.js';
import type { CacheShared } from '../../src/cache/shared-state.js';
import { Writer } from '../../src/cache/writer.js';
import type { BackingDevice, CacheDevice } from '../../src/device/device.js';
import { WritebackWriter } from '../../src/gateway/writeback-writer.js';
import { KsetHeader } from '../../src/media/kset.js';
import {
  CACHE_CTRL_OFFSET,
  DIRTY_TAIL_OFFSETS,
  KSET_HEADER_BYTES,
  PAGE_BYTES,
  SECTOR_BYTES,
  SEGMENT_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENTS_OFFSET,
} from '../../src/media/layout.js';
import type { CacheSegId } from '../../src/media/layout.js';
import { PcacheError } from '../../src/errors.js';
import { signal } from '../../src/shared/event-word.js';
import { layerOver, layerOverBacking } from './model-rig.js';
import { SimWord, type SimTurns } from './sim-turns.js';

export const simBugs = {
  // 1: reads see what was acknowledged.
  'a miss fills over a newer write': 1,
  'a segment is reused under its readers': 1,
  'the subtree is not locked': 1,
  'a read leaves placeholders where it found data that is freed just then': 1,
  'a fill does not look again at what is left of its placeholder': 1,
  'a read lets go of its segments before it has copied them': 1,
  'a segment is pinned without a look at its generation': 1,
  'a segment is pinned after the look at its generation': 1,
  'part of a sector is written over a newer write': 1,
  // 2: survives the death of the process.
  'a write is acknowledged before its key is staged': 2,
  // 3: survives loss of power after a flush.
  'payload is not persisted': 3,
  'ksets are not persisted': 3,
  'headers are persisted before the payload': 3,
  'a flush is answered before its kset is durable': 3,
  'a persist that failed counts as done': 3,
  'the gateway header is not persisted': 4,
  'the header names a place before it is durable': 4,
  // 4: a prefix.
  'a stale kset is accepted': 4,
  'key_tail and generations are not persisted': 4,
  'key_tail is not persisted': 4,
  'key_tail is stored after the generation of what it frees': 4,
  // 5: the backing device alone.
  'dirty_tail is stored before the backing device is flushed': 5,
  'a batch crosses a barrier': 5,
  'a flush is submitted while writes of the batch are in flight': 5,
  'a flush of the backing device that failed counts as done': 5,
  'dirty_tail is not persisted': 5,
  // 6 and 7.
  'damaged payload is served': 6,
  'a flush is answered before the header names its place': 6,
  'the header is told of a flush within a second only': 6,
  'any backing device is accepted': 7,
} as const;

export type SimBug = keyof typeof simBugs;

type Kind = 'header' | 'key_tail' | 'dirty_tail' | 'generation' | 'log' | 'payload' | 'other';

function kindOf(shared: Pick<CacheShared, 'physicalOf' | 'state'>, offset: number): Kind {
  if (offset < PAGE_BYTES) return 'header';
  if (offset >= CACHE_CTRL_OFFSET && offset < DIRTY_TAIL_OFFSETS[0]) return 'key_tail';
  if (offset >= DIRTY_TAIL_OFFSETS[0] && offset < SEGMENTS_OFFSET) return 'dirty_tail';
  if (offset < SEGMENTS_OFFSET) return 'other';
  if ((offset - SEGMENTS_OFFSET) % SEGMENT_BYTES < SEGMENT_DATA_OFFSET) return 'generation';
  const state = shared.state[shared.physicalOf.indexOf(Math.floor((offset - SEGMENTS_OFFSET) / SEGMENT_BYTES))];
  return state === SegmentState.data || state === SegmentState.draining ? 'payload' : 'log';
}

export interface Planted {
  readonly device: CacheDevice;
  readonly backing: BackingDevice;
}

/** Classes that a bug may be patched into. */
const PATCHED = [Cache, CacheTree, ExtentCursor, Reader, SegmentTable, KsetLog, LogCursor, Writer, KsetHeader, WritebackWriter].map(
  ({ prototype }) => prototype,
);

/** Remembers the product's classes as they are; what it returns makes them so again. */
export function rememberClasses(): () => void {
  const before = PATCHED.map((prototype) => Object.getOwnPropertyDescriptors(prototype));
  return () => {
    for (const [index, prototype] of PATCHED.entries()) Object.defineProperties(prototype, before[index]!);
  };
}

/** For one life of one simulated thread: the devices with what is laid over them; the product's classes are patched (see `rememberClasses`). */
export function plantInThread(
  bug: SimBug | undefined,
  role: 'user' | 'log' | 'background',
  device: CacheDevice,
  backing: BackingDevice,
  shared: CacheShared,
  turns: SimTurns,
): Planted {
  const plain = { device, backing };
  const losing = (...kinds: Kind[]): Planted => ({
    device: layerOver(device, {
      persist(offset, length) {
        if (!kinds.includes(kindOf(shared, offset))) device.persist(offset, length);
      },
    }),
    backing,
  });
  switch (bug) {
    case 'payload is not persisted':
      return losing('payload');
    case 'ksets are not persisted':
      return losing('log');
    case 'key_tail and generations are not persisted':
      return losing('key_tail', 'generation');
    case 'key_tail is not persisted':
      return losing('key_tail');
    case 'key_tail is stored after the generation of what it frees':
      return { device: keyTailLast(device, shared), backing };
    case 'dirty_tail is not persisted':
      return losing('dirty_tail');
    case 'the header names a place before it is durable':
      return role === 'log' ? { device: placeFirst(device, shared), backing } : plain;
    case 'a stale kset is accepted':
      return { device: endLost(device, shared), backing };
    case 'headers are persisted before the payload':
      return { device: payloadLast(device, shared), backing };
    case 'a persist that failed counts as done':
      return { device: layerOver(device, { persist: (offset, length) => ignoringErrors(() => device.persist(offset, length)) }), backing };
    case 'a flush of the backing device that failed counts as done':
      return { device, backing: layerOverBacking(backing, { flush: () => ignoringErrors(() => backing.flush()) }) };
    case 'dirty_tail is stored before the backing device is flushed':
      return tailFirst(device, backing, shared);
    default:
      if (bug !== undefined) patchClasses(bug, role, turns);
      return plain;
  }
}

function ignoringErrors(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof PcacheError) || error.code !== 'io') throw error;
  }
}

/** Payload becomes durable only after the headers that speak of it: the log is persisted twice for each batch. */
function payloadLast(device: CacheDevice, shared: CacheShared): CacheDevice {
  const late: (readonly [number, number])[] = [];
  let logPersists = 0;
  return layerOver(device, {
    persist(offset, length) {
      const kind = kindOf(shared, offset);
      if (kind === 'payload') {
        if (late.length === 0) logPersists = 0;
        late.push([offset, length]);
        return;
      }
      device.persist(offset, length);
      if (kind !== 'log' || late.length === 0 || ++logPersists < 2) return;
      for (const [at, bytes] of late.splice(0)) device.persist(at, bytes);
    },
  });
}

/** Ksets become durable only after the header that names their end. */
function placeFirst(device: CacheDevice, shared: CacheShared): CacheDevice {
  const late: (readonly [number, number])[] = [];
  return layerOver(device, {
    persist(offset, length) {
      const kind = kindOf(shared, offset);
      if (kind === 'log') {
        late.push([offset, length]);
        return;
      }
      device.persist(offset, length);
      if (kind === 'header') for (const [at, bytes] of late.splice(0)) device.persist(at, bytes);
    },
  });
}

/** The zeros behind the log are not made durable. (A second line of defence: with them alone, no stale kset is ever met.) */
function endLost(device: CacheDevice, shared: CacheShared): CacheDevice {
  return layerOver(device, {
    persist(offset, length) {
      const isLog = kindOf(shared, offset) === 'log';
      device.persist(offset, isLog && length > KSET_HEADER_BYTES ? length - KSET_HEADER_BYTES : length);
    },
  });
}

/** key_tail becomes durable only after the next generation. */
function keyTailLast(device: CacheDevice, shared: CacheShared): CacheDevice {
  let late: readonly [number, number] | undefined;
  return layerOver(device, {
    persist(offset, length) {
      const kind = kindOf(shared, offset);
      if (kind === 'key_tail') {
        late = [offset, length];
        return;
      }
      device.persist(offset, length);
      if (kind !== 'generation' || late === undefined) return;
      device.persist(...late);
      late = undefined;
    },
  });
}

function tailFirst(device: CacheDevice, backing: BackingDevice, shared: CacheShared): Planted {
  let isOwed = false;
  return {
    backing: layerOverBacking(backing, { flush: () => void (isOwed = true) }),
    device: layerOver(device, {
      persist(offset, length) {
        device.persist(offset, length);
        if (!isOwed || kindOf(shared, offset) !== 'dirty_tail') return;
        isOwed = false;
        backing.flush();
      },
    }),
  };
}

/* eslint-disable @typescript-eslint/unbound-method -- methods are taken from prototypes and called with the `this` they are called with */
function patchClasses(bug: SimBug, role: 'user' | 'log' | 'background', turns: SimTurns): void {
  if (bug === 'a miss fills over a newer write' && role === 'user') patchFill();
  if (bug === 'a segment is reused under its readers' && role === 'background') SegmentTable.prototype.isPinned = () => false;
  if (bug === 'a read leaves placeholders where it found data that is freed just then' && role === 'user') patchPlaceholders();
  if (bug === 'a fill does not look again at what is left of its placeholder' && role === 'user') patchSecondLook();
  if (bug === 'a read lets go of its segments before it has copied them' && role === 'user') patchUnpin();
  if (bug === 'a segment is pinned without a look at its generation') patchPin(undefined);
  if (bug === 'a segment is pinned after the look at its generation') patchPin(turns);
  if (bug === 'part of a sector is written over a newer write' && role === 'user') {
    Writer.prototype.commitSector = function (this: Writer, volumeOffset, source, waiting) {
      return this.write(volumeOffset, SECTOR_BYTES, source, 0, waiting) === SECTOR_BYTES ? 'done' : 'no-room';
    };
  }
  if (bug === 'the subtree is not locked') {
    CacheTree.prototype.lock = () => undefined;
    CacheTree.prototype.unlock = () => undefined;
  }
  if (bug === 'a flush is answered before its kset is durable' && role === 'user') KsetLog.prototype.isFlushed = () => true;
  if (bug === 'a flush is answered before the header names its place') {
    KsetLog.prototype.isFlushed = KsetLog.prototype.isDurable;
    const { commitStep } = Cache.prototype;
    Cache.prototype.commitStep = function (this: Cache) {
      const committed = this.log.commitStep() > 0;
      signal(this.shared.words, Word.flushedEvent);
      return commitStep.call(this) || committed;
    };
  }
  if (bug === 'the header is told of a flush within a second only') {
    KsetLog.prototype.isFlushed = KsetLog.prototype.isDurable;
    Cache.prototype.commitStep = function (this: Cache) {
      const committed = this.log.commitStep() > 0;
      signal(this.shared.words, Word.flushedEvent);
      return committed;
    };
  }
  if (bug === 'a batch crosses a barrier' && role === 'background') {
    const { loadKset } = LogCursor.prototype;
    LogCursor.prototype.loadKset = function (this: LogCursor) {
      loadKset.call(this);
      this.header.isBarrier = false;
      this.header.isBarrierBefore = false;
    };
  }
  if (bug === 'a flush is submitted while writes of the batch are in flight' && role === 'background') {
    WritebackWriter.prototype.isWritten = function (this: WritebackWriter) {
      return this.isSubmitted;
    };
  }
  if (bug === 'a write is acknowledged before its key is staged' && role === 'user') patchAppend(turns);
}

/** A fill takes whatever it finds for its own placeholder. */
function patchFill(): void {
  const { nextPlaceholder } = CacheTree.prototype;
  const { dropPlaceholders } = Writer.prototype;
  let isDropping = false;
  CacheTree.prototype.nextPlaceholder = function (this: CacheTree, subtree, sector, sectors, token, cursor: ExtentCursor) {
    if (isDropping) return nextPlaceholder.call(this, subtree, sector, sectors, token, cursor);
    this.find(subtree, sector, sectors, cursor);
    return cursor.next();
  };
  Writer.prototype.dropPlaceholders = function (this: Writer, volumeOffset, lengthBytes, token) {
    isDropping = true;
    try {
      dropPlaceholders.call(this, volumeOffset, lengthBytes, token);
    } finally {
      isDropping = false;
    }
  };
}

/** Whatever looks like a gap when all was found gets a placeholder, be it pinned and not missing. */
function patchPlaceholders(): void {
  const { beginAt } = Reader.prototype;
  const { unlock, insertPlaceholder } = CacheTree.prototype;
  let found: { subtree: number; sector: number; sectors: number } | undefined;
  let token = -1;
  Reader.prototype.beginAt = function (this: Reader, subtree, sector, sectors, placeholders) {
    // Of a range over two subtrees, the first is enough.
    found = placeholders ? { subtree, sector, sectors: Math.min(sectors, SUBTREE_SECTORS - sector) } : undefined;
    token = -1;
    try {
      beginAt.call(this, subtree, sector, sectors, placeholders);
    } finally {
      found = undefined;
    }
  };
  CacheTree.prototype.insertPlaceholder = function (this: CacheTree, subtree, sector, sectors, given) {
    token = given;
    return insertPlaceholder.call(this, subtree, sector, sectors, given);
  };
  CacheTree.prototype.unlock = function (this: CacheTree, subtree) {
    if (found?.subtree === subtree && token !== -1) insertPlaceholder.call(this, subtree, found.sector, found.sectors, token);
    unlock.call(this, subtree);
  };
}

/** What was a placeholder when room was sought for it is taken for one still when the bytes are in place. */
function patchSecondLook(): void {
  const { nextPlaceholder, unlock } = CacheTree.prototype;
  const { reserve } = SegmentTable.prototype;
  const { fill } = Writer.prototype;
  let isFilling = false;
  let hasRoom = false;
  Writer.prototype.fill = function (this: Writer, ...range: Parameters<Writer['fill']>) {
    isFilling = true;
    try {
      fill.apply(this, range);
    } finally {
      isFilling = hasRoom = false;
    }
  };
  SegmentTable.prototype.reserve = function (this: SegmentTable, head, wantedBytes, waiting) {
    const isThere = reserve.call(this, head, wantedBytes, waiting);
    hasRoom = isFilling && isThere;
    return isThere;
  };
  CacheTree.prototype.nextPlaceholder = function (this: CacheTree, subtree, sector, sectors, token, cursor: ExtentCursor) {
    if (!hasRoom) return nextPlaceholder.call(this, subtree, sector, sectors, token, cursor);
    this.find(subtree, sector, sectors, cursor);
    return cursor.next();
  };
  CacheTree.prototype.unlock = function (this: CacheTree, subtree) {
    hasRoom = false;
    unlock.call(this, subtree);
  };
}

function patchUnpin(): void {
  const { beginAt, end } = Reader.prototype;
  Reader.prototype.beginAt = function (this: Reader, subtree, sector, sectors, placeholders) {
    beginAt.call(this, subtree, sector, sectors, placeholders);
    const { kinds, volumeOffsets, lengths, segments, segmentOffsets, count } = this.pieces;
    const pieces = Array.from({ length: count }, (_, at) => {
      return [kinds[at]!, volumeOffsets[at]!, lengths[at]!, segments[at]! as CacheSegId, segmentOffsets[at]!] as const;
    });
    end.call(this);
    for (const piece of pieces) this.pieces.add(...piece);
  };
  Reader.prototype.end = function (this: Reader) {
    this.pieces.clear();
  };
}

/** @param turns given if the generation is compared: before the segment is pinned, and not again after */
function patchPin(turns: SimTurns | undefined): void {
  const { pin } = SegmentTable.prototype;
  SegmentTable.prototype.pin = function (this: SegmentTable, segment, generationLow) {
    if (turns !== undefined) {
      if ((this.generation(segment) | 0) !== generationLow) return false;
      if (turns.pick(5) === 0) turns.waitForEvent(-1, 0, turns.random() * turns.words[SimWord.stallMs]!);
    }
    return pin.call(this, segment, this.generation(segment) | 0);
  };
}

/** Now and then a key is staged only with the next one. */
function patchAppend(turns: SimTurns): void {
  const { append } = KsetLog.prototype;
  let late: Parameters<KsetLog['append']> | undefined;
  KsetLog.prototype.append = function (this: KsetLog, ...key: Parameters<KsetLog['append']>) {
    if (late !== undefined && append.apply(this, late)) late = undefined;
    if (late !== undefined || turns.pick(8) > 0) return append.apply(this, key);
    late = key;
    return true;
  };
}

/** Of the ksets that the present opening has come by, for the bug that accepts stale ones. */
let highestSequence = 0;

/** The judge opens the cache anew. */
export function beginOpening(): void {
  highestSequence = 0;
}

/** Bugs of the opening, for the judge: patched into its classes (see `rememberClasses`). */
export function plantInJudge(bug: SimBug | undefined): void {
  if (bug === 'a stale kset is accepted') {
    const { load } = KsetHeader.prototype;
    KsetHeader.prototype.load = function (this: KsetHeader, view, byteOffset) {
      load.call(this, view, byteOffset);
      if (!this.magicMatches) return;
      // As the kernel's, which have no sequence: it counts.
      if (this.sequence <= highestSequence) this.sequence = 0;
      else highestSequence = this.sequence;
    };
  }
  if (bug === 'damaged payload is served') {
    const { insert } = CacheTree.prototype;
    CacheTree.prototype.insert = function (this: CacheTree, subtree, sector, sectors, segment, dataSector, generation, flags) {
      return insert.call(this, subtree, sector, sectors, segment, dataSector, generation, flags & ~ExtentFlag.corrupt);
    };
  }
}
/* eslint-enable @typescript-eslint/unbound-method */
