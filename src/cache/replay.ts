// Replay: builds the cache tree and the segment table from the log. Changes nothing on the media.
//
// Every key between key_tail and key_head holds a reference on its data segment, stale or not; a key whose generation is below its
// segment's is stale and not indexed. Every segment seen, log or data, is in use.
//
// After the valid ksets come the staged keys of ksets that the program had not closed when it died. They count only if the machine has
// not been restarted since (the caller knows): then memory, and so every payload, is as it was.

import {
  KEY_BYTES,
  KSET_HEADER_BYTES,
  KSET_KEYS_MAX,
  LAST_KSET_BYTES,
  SECTOR_BYTES,
  SEGMENT_DATA_BYTES,
  SEGMENT_DATA_OFFSET,
  SUBTREE_BYTES,
} from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { KeyCursor, validateKey } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { KsetHeader, ksetIsValid } from '../media/kset.js';
import type { LogPosition } from '../media/log-position.js';
import { walkLog } from '../media/log-walk.js';
import type { LogWalk } from '../media/log-walk.js';
import { stagedKeyCheck } from '../media/staged-key.js';
import { PcacheError } from '../errors.js';
import type { CacheMedia } from './cache-media.js';
import type { CacheTree } from './cache-tree.js';
import { ExtentFlag } from './extent.js';
import type { SegmentTable } from './segment-table.js';
import { SegmentState } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

/** A kset that is not part of the log yet: its keys are staged, or it is a LAST. */
export interface UnclosedKset {
  readonly cacheSegId: CacheSegId;
  readonly offset: number;
  /** Number of keys; of a LAST, the segment that the log goes on in. */
  readonly keys: number;
  readonly isLast: boolean;
  readonly sequence: number;
}

export interface Replay {
  readonly walk: LogWalk;
  /** Ksets after `walk.end` that have to be closed, in order. */
  readonly unclosed: readonly UnclosedKset[];
  /** Where the next kset goes. */
  readonly end: LogPosition;
  readonly lastSequence: number;
  readonly stagedKeys: number;
  /** Bytes of keys after dirty_tail that are not CLEAN. */
  readonly dirtyBytes: number;
  /** Keys that break a rule of the format, or whose payload does not match its CRC. */
  readonly corruptKeys: number;
}

export function replay(media: CacheMedia, shared: CacheShared, tree: CacheTree, segments: SegmentTable, takeStaged: boolean): Replay {
  const indexer = new Indexer(media, shared, tree, segments);
  const { dirtyTail } = media;
  let isDirty = false;
  const walk = walkLog(
    media.log,
    media.keyTail,
    {
      dirtyTail,
      ...(media.gatewayHeader === undefined ? {} : { sequenceLimit: media.gatewayHeader.sequenceLimit }),
    },
    {
      onKset(kset) {
        isDirty ||= kset.cacheSegId === dirtyTail.cacheSegId && kset.segOff === dirtyTail.segOff;
      },
      onKey(key) {
        indexer.add(key, isDirty);
      },
    },
  );
  for (const segment of walk.segments) indexer.useForLog(segment);
  if (walk.ending === 'damaged') {
    throw new PcacheError(
      'damaged',
      `the log is damaged in segment ${walk.end.cacheSegId} at offset ${walk.end.segOff}: ${walk.damage ?? ''}`,
      {
        hint: 'pcache check says what is affected.',
      },
    );
  }
  const staged = takeStaged ? indexer.addStaged(walk.end, walk.lastSequence) : undefined;
  return {
    walk,
    unclosed: staged?.unclosed ?? [],
    end: staged?.end ?? walk.end,
    lastSequence: staged?.lastSequence ?? walk.lastSequence,
    stagedKeys: staged?.keys ?? 0,
    dirtyBytes: indexer.dirtyBytes,
    corruptKeys: indexer.corruptKeys,
  };
}

class Indexer {
  dirtyBytes = 0;
  corruptKeys = 0;
  readonly #media: CacheMedia;
  readonly #shared: CacheShared;
  readonly #tree: CacheTree;
  readonly #segments: SegmentTable;
  readonly #limits: { volumeBytes: number; segmentCount: number };

  constructor(media: CacheMedia, shared: CacheShared, tree: CacheTree, segments: SegmentTable) {
    this.#media = media;
    this.#shared = shared;
    this.#tree = tree;
    this.#segments = segments;
    this.#limits = { volumeBytes: shared.volumeBytes, segmentCount: shared.segmentCount };
  }

  useForLog(segment: CacheSegId): void {
    this.#shared.state[segment] = SegmentState.log;
  }

  add(key: KeyCursor, isDirty: boolean): void {
    const problem = validateKey(key, this.#limits);
    if (problem !== undefined) {
      // A kset with a good CRC holds it, so somebody wrote it so: most likely for a larger backing device.
      throw new PcacheError('damaged', `a key of the log is not acceptable: ${problem}`, { hint: 'pcache check names it.' });
    }
    const segment = key.cacheSegId as CacheSegId;
    const shared = this.#shared;
    shared.state[segment] = SegmentState.data;
    shared.refs[segment]! += 1;
    if (key.segGen < this.#media.generations[segment]!) return;
    if (isDirty && !key.isClean) this.dirtyBytes += key.len;
    let flags = key.isClean ? ExtentFlag.clean : 0;
    if (shared.dataCrc && !this.#payloadIsGood(key)) {
      this.corruptKeys++;
      // What is clean, or written back, is on the backing device too: forget the copy. What is not exists nowhere else: answer EIO for it.
      flags = key.isClean || !isDirty ? -1 : ExtentFlag.corrupt;
    }
    this.#index(key, segment, flags);
  }

  #index(key: KeyCursor, segment: CacheSegId, flags: number): void {
    const subtree = Math.floor(key.off / SUBTREE_BYTES);
    const sector = (key.off - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
    const sectors = key.len / SECTOR_BYTES;
    const stored =
      flags === -1
        ? this.#tree.remove(subtree, sector, sectors)
        : this.#tree.insert(subtree, sector, sectors, segment, key.cacheSegOff / SECTOR_BYTES, this.#shared.generationLow[segment]!, flags);
    if (!stored) throw new PcacheError('no-space', 'replay: the index needs more memory than there is');
  }

  #payloadIsGood(key: KeyCursor): boolean {
    const { bytes } = this.#segments.view(key.cacheSegId as CacheSegId);
    const at = SEGMENT_DATA_OFFSET + key.cacheSegOff;
    return pcacheCrcOfRange(bytes, at, at + key.len) === key.dataCrc;
  }

  /** Follows staged ksets from the end of the log; see `KsetLog` for how they lie there. */
  addStaged(from: LogPosition, sequenceBefore: number): { unclosed: UnclosedKset[]; end: LogPosition; lastSequence: number; keys: number } {
    const header = new KsetHeader();
    const key = new KeyCursor();
    const unclosed: UnclosedKset[] = [];
    let { cacheSegId } = from;
    let offset: number = from.segOff;
    let lastSequence = sequenceBefore;
    let total = 0;
    for (;;) {
      const { bytes, view } = this.#segments.view(cacheSegId);
      if (ksetIsValid(bytes, view, SEGMENT_DATA_OFFSET, offset, header)) {
        // Beyond the end of the log only a LAST is whole; or a kset of a batch of which an earlier one is not.
        if (header.sequence <= lastSequence) break;
        if (header.isLast) {
          if (header.nextCacheSegId >= this.#limits.segmentCount || this.#shared.state[header.nextCacheSegId] === SegmentState.log) break;
          unclosed.push({ cacheSegId, offset, keys: header.nextCacheSegId, isLast: true, sequence: header.sequence });
          lastSequence = header.sequence;
          cacheSegId = header.nextCacheSegId as CacheSegId;
          offset = 0;
          this.useForLog(cacheSegId);
          continue;
        }
      }
      if (offset + KSET_HEADER_BYTES + KEY_BYTES + LAST_KSET_BYTES > SEGMENT_DATA_BYTES) break;
      header.load(view, SEGMENT_DATA_OFFSET + offset);
      if (header.sequence <= lastSequence) break;
      const keys = this.#countStaged(view, cacheSegId, offset, header.sequence);
      if (keys === 0) break;
      for (let index = 0; index < keys; index++) {
        key.load(view, SEGMENT_DATA_OFFSET + offset + KSET_HEADER_BYTES + index * KEY_BYTES);
        this.add(key, true);
      }
      total += keys;
      unclosed.push({ cacheSegId, offset, keys, isLast: false, sequence: header.sequence });
      lastSequence = header.sequence;
      offset += KSET_HEADER_BYTES + keys * KEY_BYTES;
    }
    return { unclosed, end: { cacheSegId, segOff: offset as LogPosition['segOff'] }, lastSequence, keys: total };
  }

  #countStaged(view: DataView, cacheSegId: CacheSegId, offset: number, sequence: number): number {
    const base = SEGMENT_DATA_OFFSET + offset + KSET_HEADER_BYTES;
    const room = Math.floor((SEGMENT_DATA_BYTES - LAST_KSET_BYTES - offset - KSET_HEADER_BYTES) / KEY_BYTES);
    const most = Math.min(KSET_KEYS_MAX, room);
    let count = 0;
    while (count < most) {
      const at = base + count * KEY_BYTES;
      if (view.getUint32(at + 36, true) !== stagedKeyCheck(view, at, sequence, cacheSegId, offset)) break;
      count++;
    }
    return count;
  }
}
