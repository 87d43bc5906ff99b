// Replay: builds the cache tree and the segment table from the log. Changes nothing on the media.
//
// Every key between key_tail and key_head holds a reference on its data segment, stale or not; a key whose generation is below its
// segment's is stale and not indexed. Every segment seen, log or data, is in use.
//
// A key whose generation is *above* its segment's shows that the segment's record is an older one: the key's counts. Replay then says so, and is
// done again with the higher generations, which may make keys stale that it has taken.
//
// After the valid ksets come the staged keys of ksets that the program had not closed when it died. They count only if the machine has
// not been restarted since (the caller knows): then memory, and so every payload, is as it was.

import { SECTOR_BYTES, SEGMENT_DATA_OFFSET, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { KeyCursor, validateKey } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import type { LogPosition } from '../media/log-position.js';
import { walkLog } from '../media/log-walk.js';
import type { LogWalk } from '../media/log-walk.js';
import { PcacheError } from '../errors.js';
import type { CacheMedia } from './cache-media.js';
import type { CacheTree } from './cache-tree.js';
import { ExtentFlag, packPlace } from './extent.js';
import { IndexBuilder, NOT_CACHED } from './index-builder.js';
import type { SegmentTable } from './segment-table.js';
import { SegmentState } from './shared-state.js';
import { findStagedKsets, forEachKeyOf } from './staged-ksets.js';
import type { StagedKset } from './staged-ksets.js';
import type { CacheShared } from './shared-state.js';

export interface Replay {
  readonly walk: LogWalk;
  /** Ksets after `walk.end` that have to be closed, in order. */
  readonly unclosed: readonly StagedKset[];
  /** Where the next kset goes. */
  readonly end: LogPosition;
  readonly lastSequence: number;
  readonly stagedKeys: number;
  /** There were more, acknowledged and not flushed; another program, the kernel, used the cache since and has freed their segments. */
  readonly stagedKeysLost: boolean;
  /** The same because of damage, and what shows it; undefined if nothing does. What came before is taken. */
  readonly stagedDamage: string | undefined;
  /** Bytes of keys after dirty_tail that are not CLEAN. */
  readonly dirtyBytes: number;
  /** Keys that break a rule of the format, or whose payload does not match its CRC. */
  readonly corruptKeys: number;
  /** By cache_seg_id: generations that keys have and the segments' records don't. If there are any, nothing else counts: replay again with these. */
  readonly raisedGenerations: ReadonlyMap<number, number>;
}

export function replay(media: CacheMedia, shared: CacheShared, tree: CacheTree, segments: SegmentTable, takeStaged: boolean): Replay {
  const indexer = new Indexer(media, shared, tree, segments);
  const { dirtyTail } = media;
  let isDirty = false;
  const walk = walkLog(media.log, media.keyTail, media.walkOptions, {
    onKset(kset) {
      isDirty ||= kset.cacheSegId === dirtyTail.cacheSegId && kset.segOff === dirtyTail.segOff;
    },
    onKey(key) {
      indexer.add(key, isDirty);
    },
  });
  for (const segment of walk.segments) indexer.useForLog(segment);
  if (walk.ending === 'damaged') {
    throw damaged(`the log is damaged in segment ${walk.end.cacheSegId} at offset ${walk.end.segOff}: ${walk.damage ?? ''}`);
  }
  const none = { ksets: [], keys: 0, end: walk.end, lastSequence: walk.lastSequence, isCut: false, damage: undefined };
  const staged = takeStaged ? findStagedKsets(media.log, walk) : none;
  for (const kset of staged.ksets) {
    if (kset.isLast) indexer.useForLog(kset.keys as CacheSegId);
    forEachKeyOf(media.log, kset, (key) => indexer.add(key, true));
  }
  indexer.finish();
  const problem = indexer.raisedGenerations.size > 0 ? undefined : indexer.problem();
  if (problem !== undefined) throw damaged(problem);
  return {
    walk,
    unclosed: staged.ksets,
    end: staged.end,
    lastSequence: staged.lastSequence,
    stagedKeys: staged.keys,
    stagedKeysLost: staged.isCut,
    stagedDamage: staged.damage,
    dirtyBytes: indexer.dirtyBytes,
    corruptKeys: indexer.corruptKeys,
    raisedGenerations: indexer.raisedGenerations,
  };
}

function indexIsFull(): PcacheError {
  return new PcacheError('no-space', 'replay: the index needs more memory than there is');
}

function damaged(what: string): PcacheError {
  return new PcacheError('damaged', what, { hint: 'pcache check says what is affected.' });
}

class Indexer {
  dirtyBytes = 0;
  corruptKeys = 0;
  readonly raisedGenerations = new Map<number, number>();
  /** A segment of which a key is stale, though this gateway frees no segment before key_tail has passed all its keys; -1 if there is none. */
  #reusedSegment = -1;
  /** By cache_seg_id: whether a key that is not stale has its data there. */
  readonly #isReferred: Uint8Array;
  readonly #media: CacheMedia;
  readonly #shared: CacheShared;
  readonly #builder: IndexBuilder;
  readonly #segments: SegmentTable;
  readonly #limits: { volumeBytes: number; segmentCount: number };

  constructor(media: CacheMedia, shared: CacheShared, tree: CacheTree, segments: SegmentTable) {
    this.#media = media;
    this.#shared = shared;
    this.#builder = new IndexBuilder(tree);
    this.#segments = segments;
    this.#isReferred = new Uint8Array(shared.segmentCount);
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
    const generation = this.#media.generations[segment]!;
    if (key.segGen < generation) {
      if (this.#media.ownGenerations[segment] === true) this.#reusedSegment = segment;
      return;
    }
    if (key.segGen > generation) {
      this.raisedGenerations.set(segment, Math.max(key.segGen, this.raisedGenerations.get(segment) ?? 0));
    }
    this.#isReferred[segment] = 1;
    if (isDirty && !key.isClean) this.dirtyBytes += key.len;
    let flags = key.isClean ? ExtentFlag.clean : 0;
    if (shared.dataCrc && !this.#payloadIsGood(key)) {
      this.corruptKeys++;
      // What is clean, or written back, is on the backing device too: forget the copy. What is not exists nowhere else: answer EIO for it.
      flags = key.isClean || !isDirty ? NOT_CACHED : ExtentFlag.corrupt;
    }
    this.#index(key, segment, flags);
  }

  /** What can't be, now that every key has been taken. */
  problem(): string | undefined {
    if (this.#reusedSegment !== -1 && this.#media.walkOptions.durable !== undefined) {
      return `key_tail is an older one: it is before keys whose segment (${this.#reusedSegment}) was reused since`;
    }
    const segment = this.#isReferred.findIndex((isReferred, id) => isReferred !== 0 && this.#shared.state[id] === SegmentState.log);
    return segment === -1 ? undefined : `keys of the log say that their data is in segment ${segment}, which holds the log`;
  }

  #index(key: KeyCursor, segment: CacheSegId, flags: number): void {
    const subtree = Math.floor(key.off / SUBTREE_BYTES);
    const sector = (key.off - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
    const sectors = key.len / SECTOR_BYTES;
    const place = packPlace(segment, key.cacheSegOff / SECTOR_BYTES);
    if (!this.#builder.add(subtree, sector, sectors, place, this.#shared.generationLow[segment]!, flags)) throw indexIsFull();
  }

  /** All keys were added. */
  finish(): void {
    if (!this.#builder.finish()) throw indexIsFull();
  }

  #payloadIsGood(key: KeyCursor): boolean {
    const { bytes } = this.#segments.view(key.cacheSegId as CacheSegId);
    const at = SEGMENT_DATA_OFFSET + key.cacheSegOff;
    return pcacheCrcOfRange(bytes, at, at + key.len) === key.dataCrc;
  }
}
