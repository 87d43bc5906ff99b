// Opens a cache: reads the media, replays the log into new shared memory, and claims the cache for this gateway. Runs alone, before any
// other thread uses the device.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { isStoredIdentity } from '../media/backing-identity-match.js';
import type { BackingPrint } from '../media/backing-print.js';
import type { GatewayHeader } from '../media/gateway-header.js';
import { newGatewayHeader, writeGatewayHeader } from '../media/gateway-header.js';
import {
  KSET_HEADER_BYTES,
  PAGE_BYTES,
  SECTOR_BYTES,
  SEGMENT_DATA_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENTS_OFFSET,
  VOLUME_BYTES_MAX,
  VOLUME_BYTES_MIN,
} from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { createCounters } from '../shared/counters.js';
import { backingChange, changedBackingError } from './changed-backing.js';
import { KsetLog } from './kset-log.js';
import { readCacheMedia } from './cache-media.js';
import type { CacheMedia } from './cache-media.js';
import { CacheRecords } from './cache-records.js';
import { CacheTree } from './cache-tree.js';
import { indexArenaBytes } from './index-arena.js';
import { replay } from './replay.js';
import type { Replay } from './replay.js';
import type { ReplayHelpers } from './replay-helper.js';
import { SegmentTable } from './segment-table.js';
import { SEQUENCE_CLAIM } from './sequence-claim.js';
import {
  HeadWord,
  NumberWord,
  SEALED_RING_ENTRIES,
  SealedFlag,
  SealedWord,
  SegmentState,
  Word,
  headCountFor,
  sharedFloat64,
  sharedInt32,
} from './shared-state.js';
import type { CacheShared } from './shared-state.js';
import { storingAnew } from './store-anew.js';
import type { TellProgress } from './tell-progress.js';
import { tellingWalk } from './tell-progress.js';
import { requireDataWritten } from './unwritten-data.js';

export interface OpenOptions {
  readonly volumeBytes: number;
  /** Of the backing device, see `device/backing-identity`. */
  readonly backingIdentity: string;
  /** Of the backing device, as it is now; asked for only if there is one to compare it with. Without it, a change meanwhile is not noticed. */
  readonly backingPrint?: (() => BackingPrint | undefined) | undefined;
  /** Accept a backing device of another identity (but the same size) and remember it; or one that was written to since the cache was closed. */
  readonly adopt: boolean;
  /** The boot of this host (/proc/sys/kernel/random/boot_id): 36 characters. */
  readonly bootId: string;
  /** Data heads wanted: threads that write. */
  readonly writers: number;
  /** Threads that count. */
  readonly counterSlices: number;
  /** Changes nothing on the media; nothing may be written through the cache. */
  readonly readOnly: boolean;
  /** Of a cache without a gateway header: 16 random bytes, and the time, for a new one. */
  readonly newUuid: Uint8Array;
  readonly nowMs: number;
  /** Milliseconds from a monotonic clock. */
  readonly clock: () => number;
  /** Threads that may help to replay a long log. Default: none. */
  readonly helpers?: ReplayHelpers | undefined;
  /** Take data for zeros where nothing of the file was ever written. */
  readonly acceptsHoles?: boolean;
  /** Of simulations: see `CacheShared.segmentDataBytes`. */
  readonly segmentDataBytes?: number;
  /** Hears how far the replay of the log is. */
  readonly tell?: TellProgress | undefined;
}

export interface OpenedCache {
  readonly shared: CacheShared;
  readonly media: CacheMedia;
  readonly replay: Replay;
}

/**
 * Throws PcacheError `not-a-cache`, `damaged`, `unsupported`, `mismatch` (another backing device or size, or one that was
 * written to since); then nothing was changed.
 * `io` if the device fails.
 */
export function openCache(device: CacheDevice, options: OpenOptions): OpenedCache {
  const { volumeBytes } = options;
  if (volumeBytes % SECTOR_BYTES !== 0 || volumeBytes < VOLUME_BYTES_MIN || volumeBytes > VOLUME_BYTES_MAX) {
    throw new PcacheError('usage', `a volume of ${volumeBytes} bytes: it must be a multiple of 512, from 512 bytes to 16 TiB`);
  }
  let media = readCacheMedia(device);
  requireItsBackingDevice(media.gatewayHeader, options);
  let opened = replayInto(device, media, options);
  const raised = opened.replayed.raisedGenerations;
  if (raised.size > 0) {
    media = { ...media, generations: media.generations.map((generation, segment) => raised.get(segment) ?? generation) };
    opened = replayInto(device, media, options);
  }
  const { shared, segments, replayed } = opened;
  if (options.acceptsHoles !== true) requireDataWritten(device, media, replayed.unclosed);
  requireUnchangedBacking(device, media.gatewayHeader, replayed.dirtyBytes, options);
  countFree(shared);
  setPositions(shared, media, replayed, options);
  if (!options.readOnly) {
    claim(storingAnew(device), shared, segments, media, replayed, options);
    const records = new CacheRecords(shared, segments, device);
    for (const segment of raised.keys()) records.storeGeneration(segment as CacheSegId, { stamped: false });
  }
  return { shared, media, replay: replayed };
}

function replayInto(
  device: CacheDevice,
  media: CacheMedia,
  options: OpenOptions,
): { shared: CacheShared; segments: SegmentTable; replayed: Replay } {
  const shared = createShared(device, media, options);
  const segments = new SegmentTable(shared, device);
  const tree = CacheTree.attach(shared.tree, shared.generationLow, shared.liveSectors, shared.corruptSectors);
  const takeStaged = media.gatewayHeader?.state === 'open' && media.gatewayHeader.bootId === options.bootId;
  const walkOptions = tellingWalk(media.walkOptions, options.tell, 'replaying the log', media.log, media.keyTail);
  return { shared, segments, replayed: replay({ ...media, walkOptions }, shared, tree, segments, takeStaged, options.helpers) };
}

function requireItsBackingDevice(header: GatewayHeader | undefined, options: OpenOptions): void {
  if (header === undefined || header.volumeBytes === 0) return;
  if (header.volumeBytes !== options.volumeBytes) {
    throw new PcacheError(
      'mismatch',
      `the cache belongs to a backing device of ${header.volumeBytes} bytes, this one has ${options.volumeBytes}`,
      {
        hint: 'If it is the right one and was resized: give it its size back, run pcache recover with --adopt, resize it again, and format the cache.',
      },
    );
  }
  if (!isStoredIdentity(header.backingIdentity, options.backingIdentity) && !options.adopt) {
    throw new PcacheError(
      'mismatch',
      `the cache belongs to another backing device (${header.backingIdentity}, this is ${options.backingIdentity})`,
      {
        hint: 'If this is the same data in another place, mount it with -o adopt.',
      },
    );
  }
}

function requireUnchangedBacking(device: CacheDevice, header: GatewayHeader | undefined, dirtyBytes: number, options: OpenOptions): void {
  if (options.adopt) return;
  const change = backingChange(header, device.control.bytes, options.backingPrint);
  if (change !== undefined) throw changedBackingError(change, dirtyBytes, '-o adopt');
}

function createShared(device: CacheDevice, media: CacheMedia, options: OpenOptions): CacheShared {
  const segmentCount = media.physicalOf.length;
  const headCount = headCountFor(options.writers, segmentCount);
  const uuid = media.gatewayHeader?.uuid ?? options.newUuid;
  const shared: CacheShared = {
    volumeBytes: options.volumeBytes,
    segmentCount,
    ...(options.segmentDataBytes === undefined ? {} : { segmentDataBytes: options.segmentDataBytes }),
    dataCrc: media.cacheInfo.dataCrc,
    lostFrom: device.lostFrom ?? Infinity,
    readOnly: options.readOnly,
    headCount,
    uuid: Buffer.from(uuid)
      .toString('hex')
      .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    words: sharedInt32(Word.count),
    numbers: sharedFloat64(NumberWord.count),
    physicalOf: sharedInt32(segmentCount),
    state: sharedInt32(segmentCount),
    refs: sharedInt32(segmentCount),
    pins: sharedInt32(segmentCount),
    generationLow: sharedInt32(segmentCount),
    generationHigh: sharedInt32(segmentCount),
    liveSectors: sharedInt32(segmentCount),
    corruptSectors: sharedInt32(segmentCount),
    heads: sharedInt32(headCount * HeadWord.stride),
    sealed: sharedInt32(SEALED_RING_ENTRIES * SealedWord.stride),
    tree: CacheTree.createState(options.volumeBytes, indexArenaBytes(device.sizeBytes)),
    counters: createCounters(options.counterSlices),
  };
  shared.physicalOf.set(media.physicalOf);
  for (const [segment, generation] of media.generations.entries()) {
    shared.generationLow[segment] = (generation % 2 ** 32) | 0;
    shared.generationHigh[segment] = Math.floor(generation / 2 ** 32);
  }
  for (let head = 0; head < headCount; head++) shared.heads[head * HeadWord.stride + HeadWord.segment] = -1;
  shared.words[Word.nextLogSegment] = -1;
  shared.words[Word.gcPercent] = media.cacheInfo.gcPercent;
  return shared;
}

function countFree(shared: CacheShared): void {
  let free = 0;
  let unreferenced = 0;
  for (let segment = 0; segment < shared.segmentCount; segment++) {
    if (shared.state[segment] === SegmentState.free) free++;
    if (shared.state[segment] === SegmentState.data && shared.refs[segment] === 0) unreferenced++;
  }
  shared.words[Word.freeSegments] = free;
  shared.words[Word.emptySegments] = unreferenced;
}

function setPositions(shared: CacheShared, media: CacheMedia, replayed: Replay, options: OpenOptions): void {
  const { words, numbers } = shared;
  words[Word.keyTailSegment] = media.keyTail.cacheSegId;
  words[Word.keyTailOffset] = media.keyTail.segOff;
  words[Word.dirtyTailSegment] = media.dirtyTail.cacheSegId;
  words[Word.dirtyTailOffset] = media.dirtyTail.segOff;
  words[Word.durableSegment] = replayed.walk.end.cacheSegId;
  words[Word.durableOffset] = replayed.walk.end.segOff;
  words[Word.openSegment] = replayed.end.cacheSegId;
  words[Word.openOffset] = replayed.end.segOff;
  // What comes next is behind the opening of the cache, which is as good as a flush: everything replayed is durable by then.
  words[Word.barrierPending] = 1;
  words[Word.lastSealedHasBarrier] = 1;
  const sequence = Math.max(
    replayed.lastSequence + 1,
    (media.gatewayHeader ?? newGatewayHeader(options.newUuid, options.nowMs)).sequenceLimit,
  );
  numbers[NumberWord.openSequence] = sequence;
  numbers[NumberWord.lastSealedSequence] = sequence - 1;
  numbers[NumberWord.durableSequence] = sequence - 1;
  const isWrittenBack = replayed.end.cacheSegId === media.dirtyTail.cacheSegId && replayed.end.segOff === media.dirtyTail.segOff;
  numbers[NumberWord.writtenSequence] = isWrittenBack ? sequence - 1 : 0;
  numbers[NumberWord.dirtyBytes] = replayed.dirtyBytes;
}

/**
 * The first changes to the media: what was read becomes durable, staged ksets are closed, the log gets its end, then the gateway header. With it
 * this gateway says how far the log is known to reach, and last stamps the tails, as a sign that the kernel has not moved them since.
 */
function claim(
  device: CacheDevice,
  shared: CacheShared,
  segments: SegmentTable,
  media: CacheMedia,
  replayed: Replay,
  options: OpenOptions,
): void {
  const limit = shared.numbers[NumberWord.openSequence]! + SEQUENCE_CLAIM;
  const fields = {
    volumeBytes: options.volumeBytes,
    backingIdentity: options.backingIdentity,
    bootId: options.bootId,
    sequenceLimit: limit,
    state: 'open' as const,
  };
  const records = new CacheRecords(shared, segments, device);
  persistWhatWasRead(device, segments, media, replayed);
  // Staged keys are checked against the boot and the sequences of the run that staged them: closing them comes before the header is replaced.
  closeStaged(device, shared, replayed, options.clock);
  // So does the log's end: staged keys of an earlier boot may stand there without their payload, and this boot's header would vouch for them.
  const { bytes } = segments.view(replayed.end.cacheSegId);
  const at = SEGMENT_DATA_OFFSET + replayed.end.segOff;
  bytes.fill(0, at, at + KSET_HEADER_BYTES);
  device.persist(segments.deviceOffset(replayed.end.cacheSegId, replayed.end.segOff), KSET_HEADER_BYTES);
  if (media.gatewayHeader === undefined) {
    const control = device.control.bytes;
    const header = { ...newGatewayHeader(options.newUuid, options.nowMs), ...fields };
    // Both copies: with one alone, damage to it would look like a cache that only the kernel has used.
    const first = writeGatewayHeader(control, header, undefined);
    writeGatewayHeader(control, header, first);
    device.persist(0, PAGE_BYTES);
  }
  records.storeGatewayHeader(fields);
  records.storeKeyTail(media.keyTail.cacheSegId, media.keyTail.segOff);
  records.storeDirtyTail(media.dirtyTail.cacheSegId, media.dirtyTail.segOff);
  shared.numbers[NumberWord.sequenceLimit] = limit;
}

/**
 * The program before this one may have died between a store and its persist, or lived on after a persist had failed (see store-anew.ts). What was read is
 * all seen, but not all durable: records and kset headers are made so before anything is built on them. (A kset before dirty_tail was durable before
 * writeback took it.)
 */
function persistWhatWasRead(device: CacheDevice, segments: SegmentTable, media: CacheMedia, replayed: Replay): void {
  if (media.gatewayHeader?.state === 'clean') return;
  const { walk } = replayed;
  const first = walk.segments.indexOf(media.dirtyTail.cacheSegId);
  for (const [index, segment] of walk.segments.entries()) {
    if (index < first) continue;
    const start = index === first ? media.dirtyTail.segOff : 0;
    const end = segment === walk.end.cacheSegId ? walk.end.segOff : SEGMENT_DATA_BYTES;
    if (end > start) device.persist(segments.deviceOffset(segment, start), end - start);
  }
  device.persist(0, SEGMENTS_OFFSET);
}

function closeStaged(device: CacheDevice, shared: CacheShared, replayed: Replay, clock: () => number): void {
  if (replayed.unclosed.length === 0) return;
  const { words, numbers } = shared;
  const firstWithKeys = replayed.unclosed.find((kset) => !kset.isLast);
  for (const [index, kset] of replayed.unclosed.entries()) {
    const at = index * SealedWord.stride;
    shared.sealed[at + SealedWord.segment] = kset.cacheSegId;
    shared.sealed[at + SealedWord.offset] = kset.segOff;
    shared.sealed[at + SealedWord.keys] = kset.keys;
    // A flush may have returned after the last whole kset, and its mark was to go to the next. (After a later one none has returned.)
    const before = kset === firstWithKeys ? SealedFlag.barrierBefore : 0;
    shared.sealed[at + SealedWord.flags] = kset.isLast ? SealedFlag.last : before;
    shared.sealed[at + SealedWord.sequenceLow] = kset.sequence | 0;
    shared.sealed[at + SealedWord.sequenceHigh] = Math.floor(kset.sequence / 2 ** 32);
  }
  words[Word.sealedTail] = replayed.unclosed.length;
  // The header after the last of them must be zero before its own is written.
  const end = replayed.end;
  const segments = new SegmentTable(shared, device);
  const log = new KsetLog(shared, segments, device, clock);
  const { bytes } = segments.view(end.cacheSegId);
  bytes.fill(0, SEGMENT_DATA_OFFSET + end.segOff, SEGMENT_DATA_OFFSET + end.segOff + KSET_HEADER_BYTES);
  while (log.commitStep() > 0);
  // Their sequences are below those of this run.
  numbers[NumberWord.durableSequence] = numbers[NumberWord.openSequence]! - 1;
}
