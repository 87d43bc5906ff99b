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
//
// Helpers, where there are any and the log is long, look at keys and their payload, and say what subtrees become (shared-replay.ts). With them or without, and
// whatever they do, the outcome is the same.

import { KEY_BYTES, KSET_HEADER_BYTES, SECTOR_BYTES, SEGMENT_DATA_OFFSET, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { KeyCursor, validateKey } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { logBytesFrom } from '../media/log-length.js';
import type { LogPosition } from '../media/log-position.js';
import { walkLog } from '../media/log-walk.js';
import type { LogWalk } from '../media/log-walk.js';
import { PcacheError } from '../errors.js';
import type { CacheMedia } from './cache-media.js';
import type { CacheTree } from './cache-tree.js';
import { ExtentFlag, firstSector, flagsOf, packPlace, sectorCount, segmentOf } from './extent.js';
import { IndexBuilder, NOT_CACHED } from './index-builder.js';
import type { ReplayHelpers } from './replay-helper.js';
import type { SegmentTable } from './segment-table.js';
import { SharedReplay } from './shared-replay.js';
import type { KeyTaker } from './shared-replay.js';
import { SegmentState } from './shared-state.js';
import { findStagedKsets, forEachKeyOf } from './staged-ksets.js';
import type { StagedKset } from './staged-ksets.js';
import type { CacheShared } from './shared-state.js';
import { payloadEnd } from './unwritten-data.js';

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

/** Of a log that counts as so many keys helpers are asked, by measurement: it takes a seventh of a second. With data CRC a key with 4 KiB counts as three. */
const SHARED_FROM_KEYS = 300_000;
const KEYS_PER_KEY_WITH_PAYLOAD = 3;

/** Throws PcacheError `damaged`, `no-space`. With helpers, it then waits until these have let go of the cache. */
export function replay(
  media: CacheMedia,
  shared: CacheShared,
  tree: CacheTree,
  segments: SegmentTable,
  takeStaged: boolean,
  helpers?: ReplayHelpers,
): Replay {
  const indexer = new Indexer(media, shared, tree, segments, helpers);
  let isDone = false;
  try {
    const replayed = replayWith(indexer, media, takeStaged);
    isDone = true;
    return replayed;
  } finally {
    indexer.dismissHelpers(isDone);
  }
}

function replayWith(indexer: Indexer, media: CacheMedia, takeStaged: boolean): Replay {
  const { dirtyTail } = media;
  let isDirty = false;
  const walk = walkLog(media.log, media.keyTail, media.walkOptions, {
    onKset({ cacheSegId, segOff, header }) {
      isDirty ||= cacheSegId === dirtyTail.cacheSegId && segOff === dirtyTail.segOff;
      if (!header.isLast) indexer.addKset(cacheSegId, segOff, header.keyNum, isDirty);
    },
  });
  indexer.addRest();
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

class Indexer implements KeyTaker {
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
  readonly #together: SharedReplay | undefined;
  readonly #key = new KeyCursor();

  constructor(media: CacheMedia, shared: CacheShared, tree: CacheTree, segments: SegmentTable, helpers: ReplayHelpers | undefined) {
    this.#media = media;
    this.#shared = shared;
    this.#builder = new IndexBuilder(tree);
    this.#segments = segments;
    this.#isReferred = new Uint8Array(shared.segmentCount);
    this.#limits = { volumeBytes: shared.volumeBytes, segmentCount: shared.segmentCount };
    if (helpers === undefined) return;
    const keys = logBytesFrom(media.log, media.keyTail) / KEY_BYTES;
    const isLong = keys * (shared.dataCrc ? KEYS_PER_KEY_WITH_PAYLOAD : 1) >= (helpers.fromKeys ?? SHARED_FROM_KEYS);
    if (isLong) this.#together = new SharedReplay(media, shared, tree, this.#builder, this, helpers);
  }

  useForLog(segment: CacheSegId): void {
    this.#shared.state[segment] = SegmentState.log;
  }

  /** All keys of a kset; with helpers perhaps later, in `addRest` at the latest. */
  addKset(cacheSegId: CacheSegId, segOff: number, keys: number, isDirty: boolean): void {
    if (this.#together !== undefined) {
      this.#together.addKset(cacheSegId, segOff, keys, isDirty);
      return;
    }
    const { view, base } = this.#media.log.data(cacheSegId);
    const key = this.#key;
    for (let index = 0; index < keys; index++) {
      key.load(view, base + segOff + KSET_HEADER_BYTES + index * KEY_BYTES);
      this.add(key, isDirty);
    }
  }

  /** Returns when the keys of all ksets have been added. */
  addRest(): void {
    this.#together?.drain();
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
    if ((shared.dataCrc || shared.lostFrom !== Infinity) && !this.#payloadIsGood(key)) {
      this.corruptKeys++;
      // What is clean, or written back, is on the backing device too: forget the copy. What is not exists nowhere else: answer EIO for it.
      flags = key.isClean || !isDirty ? NOT_CACHED : ExtentFlag.corrupt;
    }
    this.#index(key, segment, flags);
  }

  addPlain(subtree: number, range: number, place: number, isDirty: boolean): void {
    const segment = segmentOf(place);
    const shared = this.#shared;
    shared.state[segment] = SegmentState.data;
    shared.refs[segment]! += 1;
    this.#isReferred[segment] = 1;
    const sectors = sectorCount(range);
    const flags = flagsOf(range);
    if (isDirty && flags === 0) this.dirtyBytes += sectors * SECTOR_BYTES;
    if (!this.#builder.add(subtree, firstSector(range), sectors, place, shared.generationLow[segment]!, flags)) throw indexIsFull();
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
    const isStored = this.#together === undefined ? this.#builder.finish() : this.#together.finish();
    if (!isStored) throw indexIsFull();
  }

  /** They have nothing to do any more. If the cache is not going to be used, because it fails, it waits until they are gone. */
  dismissHelpers(isDone: boolean): void {
    if (isDone) this.#together?.dismiss();
    else this.#together?.close();
  }

  #payloadIsGood(key: KeyCursor): boolean {
    if (!this.#shared.dataCrc) return payloadEnd(this.#shared.physicalOf[key.cacheSegId]!, key) <= this.#shared.lostFrom;
    const { bytes } = this.#segments.view(key.cacheSegId as CacheSegId);
    const at = SEGMENT_DATA_OFFSET + key.cacheSegOff;
    return pcacheCrcOfRange(bytes, at, at + key.len) === key.dataCrc;
  }
}
