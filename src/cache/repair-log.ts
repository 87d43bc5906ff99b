// Repairs of a damaged log. Damage before dirty_tail costs nothing: the log is let begin at dirty_tail. Damage behind it costs what stands behind the damage:
// the log is cut there, so that the volume goes back to its state before the first write that can't be read.
//
// A cut must last. What stood behind it is overwritten with zeros: no later walk may take it for the log's continuation, or for proof that something
// is missing, not even after the kernel has used the cache in between, whose ksets have no sequence. The highest sequence that was ever used stays in
// the gateway header, so no later kset gets one of theirs.

import type { InspectedMedia } from './inspect-media.js';
import { inspectMedia, isStale } from './inspect-media.js';
import { readRecordedTail } from './recorded-tail.js';
import { storeHeader } from './repair-header.js';
import type { RepairDraft } from './repair-draft.js';
import type { LogLoss } from './salvage-log.js';
import { findLoss } from './salvage-log.js';
import { findStagedKsets, forEachKeyOf } from './staged-ksets.js';
import type { TellProgress } from './tell-progress.js';
import { tellingWalk } from './tell-progress.js';
import type { KeyCursor } from '../media/cache-key.js';
import { validateKey } from '../media/cache-key.js';
import { KsetHeader, ksetIsValid } from '../media/kset.js';
import type { CacheSegId } from '../media/layout.js';
import {
  KSET_HEADER_BYTES,
  SEGMENT_DATA_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
  VOLUME_BYTES_MAX,
  segmentDeviceOffset,
} from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import { samePosition } from '../media/log-position.js';
import type { LogWalk, LogWalkOptions } from '../media/log-walk.js';
import { logWalkOptions, walkLog } from '../media/log-walk.js';
import { SEGMENT_GENERATION_BYTES, writeSegmentGeneration } from '../media/segment-generation.js';
import type { TailName } from '../media/tails.js';
import { TAIL_BYTES, TAIL_LAYOUT, TAIL_OFFSETS, tailStamp, writeTail } from '../media/tails.js';
import type { Current } from '../media/two-copy-record.js';
import { NO_COPY, chooseCopy, nextCopy, sealCopy } from '../media/two-copy-record.js';

type Tail = Pick<Current<LogPosition>, 'value' | 'stamp'>;

// Everything before dirty_tail is on the backing device, and the log, written back from its start, ends with the newest bytes everywhere.
const ALL_CLEAN =
  'nothing is lost: what stands before is on the backing device; it is no longer cached, so reading it is slow the first time';
const ALL_DIRTY =
  'nothing is lost: everything in the log is written to the backing device once more, which holds older bytes until that is done';
const FROM_HEADER = 'put both where the gateway header says that dirty_tail was, which what stands there confirms';
const FROM_HEADER_LOSES =
  'nothing is lost: what stands before is on the backing device, if no longer cached; what follows is written to it once more if it was before, and until ' +
  'that is done some of it is older there';
const BOTH_TAILS_ADVICE =
  'the backing device alone has everything up to some flush; what was written later, to the cache only, can not be told from what is old';

/** How the log of inspected media is to be walked from key_tail. */
export function walkOptionsOf({ keyTail, dirtyTail, gatewayHeader }: InspectedMedia): LogWalkOptions {
  const header = gatewayHeader.ok ? gatewayHeader.value : undefined;
  if (keyTail.ok) return logWalkOptions(keyTail, dirtyTail.ok ? dirtyTail : undefined, header);
  return header === undefined ? {} : { sequenceLimit: header.sequenceLimit };
}

/** What is lost behind the damage with which `walk` ended. `bootId`: of the running system, or undefined. */
export function lossOf(media: InspectedMedia, walk: LogWalk, bootId: string | undefined, tell?: TellProgress): LogLoss {
  const header = media.gatewayHeader.ok ? media.gatewayHeader.value : undefined;
  const boundBytes = header?.volumeBytes ?? 0;
  return findLoss(media.log, walk, {
    lastSequence: walk.lastSequence === 0 ? headerAt(media, walk.end).sequence : walk.lastSequence,
    sequenceLimit: header?.sequenceLimit ?? Number.MAX_SAFE_INTEGER,
    takeStaged: header?.state === 'open' && header.bootId === bootId,
    limits: { volumeBytes: boundBytes === 0 ? VOLUME_BYTES_MAX : boundBytes, segmentCount: media.log.segmentCount },
    isStale: (cacheSegId, segGen) => isStale(media, cacheSegId, segGen),
    dataSegments: dataSegmentsOf(media, walk),
    tell,
    ...(header?.durable === undefined ? {} : { durable: header.durable.position }),
  });
}

/** Segments that keys before the damage refer to: what looks like a kset there is somebody's data. */
function dataSegmentsOf(media: InspectedMedia, walk: LogWalk): Set<number> {
  const segments = new Set<number>();
  const start = media.keyTail.ok ? media.keyTail.value : media.dirtyTail.ok ? media.dirtyTail.value : undefined;
  if (start === undefined) return segments;
  walkLog(media.log, start, {}, { onKey: (key) => segments.add(key.cacheSegId) });
  for (const id of walk.segments) segments.delete(id);
  return segments;
}

/** What stands at a place of the log, be it valid or not. */
function headerAt(media: InspectedMedia, { cacheSegId, segOff }: LogPosition): KsetHeader {
  const header = new KsetHeader();
  if (cacheSegId >= media.log.segmentCount) return header;
  const { view, base } = media.log.data(cacheSegId);
  header.load(view, base + segOff);
  return header;
}

/** The sequence of the kset at a place, 0 if the kernel wrote it; `undefined` if there is no valid one. */
function sequenceAt(media: InspectedMedia, { cacheSegId, segOff }: LogPosition): number | undefined {
  if (cacheSegId >= media.log.segmentCount) return undefined;
  const { bytes, view, base } = media.log.data(cacheSegId);
  const header = new KsetHeader();
  return ksetIsValid(bytes, view, base, segOff, header) ? header.sequence : undefined;
}

/** Whether a tail's stamp says that it belongs to another kset than the one that stands there. */
function isOlder(media: InspectedMedia, tail: Tail): boolean {
  const sequence = sequenceAt(media, tail.value);
  return tail.stamp !== undefined && sequence !== undefined && sequence !== 0 && tailStamp(tail.value, sequence) !== tail.stamp;
}

/** Tails are there by now, or nothing is done. */
export function repairLog(draft: RepairDraft, bootId: string | undefined): void {
  const media = inspectMedia(draft.device);
  const { keyTail, dirtyTail } = media;
  if (!keyTail.ok || !dirtyTail.ok || media.chain.problem !== undefined) return;
  const recorded = readRecordedTail(media);
  let comesToRecorded = false as boolean;
  let reusedSegment = -1;
  const walk = walkLog(media.log, keyTail.value, tellingWalk(walkOptionsOf(media), draft.tell, 'planning', media.log, keyTail.value), {
    onKset: (kset) => (comesToRecorded ||= recorded.ok && samePosition(recorded.value, kset)),
    onKey: ({ cacheSegId, segGen }) => {
      if (media.ownGenerations[cacheSegId] === true && isStale(media, cacheSegId, segGen)) reusedSegment = cacheSegId;
    },
  });
  if (walk.ending === 'end' && reusedSegment === -1) return;
  const checksStamps = walkOptionsOf(media).startStamp !== undefined;
  const keyTailIsOlder = checksStamps && isOlder(media, keyTail);
  const dirtyTailIsOlder = checksStamps && isOlder(media, dirtyTail);
  const dirtySequence = sequenceAt(media, dirtyTail.value);
  if (recorded.ok && recorded.isWhole && checksStamps) {
    // One line holds both tails: if key_tail is an older version of itself, dirty_tail is one too. Otherwise it must not show that the log went further.
    const isBefore = dirtyTailIsOlder || (dirtySequence !== undefined && dirtySequence < recorded.sequence);
    const isThere = walkLog(media.log, recorded.value, { dirtyTail: dirtyTail.value }).dirtyTailPassed;
    // In a cache that was closed, the log ends at the durable place, and dirty_tail is not behind it.
    const isClosed = media.gatewayHeader.ok && media.gatewayHeader.value.state === 'clean';
    const isOlderLine = keyTailIsOlder || reusedSegment !== -1 || (isClosed && !isThere);
    if (isOlderLine || (!comesToRecorded && (isBefore || isThere))) {
      takeRecordedTail(
        draft,
        walk.damage ?? `key_tail is an older one: it is before keys whose segment (${reusedSegment}) was reused since`,
      );
      return;
    }
  }
  if (walk.ending === 'end') return;
  const isBeforeTheLog = !walk.dirtyTailPassed && dirtySequence !== undefined && dirtySequence !== 0 && dirtySequence <= walk.lastSequence;
  if (keyTailIsOlder && (dirtyTailIsOlder || dirtySequence === undefined)) {
    const why = 'both are older than the log: where it starts, and what of it is already on the backing device, can not be told';
    if (takeRecordedTail(draft, why)) cutIfNeeded(draft, bootId);
  } else if (isBeyondDurable(media, walk)) {
    draft.refuse({
      place: placeOf(walk.end),
      why: `${walk.damage ?? ''}; whether the log or the gateway header is older than the other can not be told`,
      advice: 'pcache recover --dry-run says what could be written to the backing device',
    });
  } else if (!keyTailIsOlder && (dirtyTailIsOlder || isBeforeTheLog)) {
    takeAllForDirty(draft, walk, keyTail);
    cutIfNeeded(draft, bootId);
  } else if (keyTailIsOlder || !walk.dirtyTailPassed) {
    beginAtDirtyTail(draft, media, walk, dirtyTail);
    cutIfNeeded(draft, bootId);
  } else {
    cut(draft, media, walk, bootId);
  }
}

/** The log comes to the place that the header names, with later ksets than the header knows. */
function isBeyondDurable({ gatewayHeader }: InspectedMedia, walk: LogWalk): boolean {
  const durable = gatewayHeader.ok ? gatewayHeader.value.durable : undefined;
  return durable !== undefined && samePosition(walk.end, durable.position) && walk.lastSequence > durable.sequence;
}

function cutIfNeeded(draft: RepairDraft, bootId: string | undefined): void {
  const media = inspectMedia(draft.device);
  if (!media.keyTail.ok) return;
  const walk = walkLog(media.log, media.keyTail.value, walkOptionsOf(media));
  if (walk.ending === 'damaged') cut(draft, media, walk, bootId);
}

function takeAllForDirty(draft: RepairDraft, walk: LogWalk, keyTail: Tail): void {
  copyTail(draft, keyTail, 'dirty_tail');
  draft.step({
    place: 'dirty_tail',
    why: walk.damage ?? '',
    what: 'take the whole log for not written back',
    consequence: ALL_DIRTY,
  });
}

function beginAtDirtyTail(draft: RepairDraft, media: InspectedMedia, walk: LogWalk, dirtyTail: Tail): void {
  moveDurablePlace(draft, media, dirtyTail, walk.lastSequence);
  copyTail(draft, dirtyTail, 'key_tail');
  draft.step({
    place: placeOf(walk.end),
    why: walk.damage ?? '',
    what: 'let the log begin at dirty_tail, behind the damage',
    consequence: ALL_CLEAN,
  });
}

/**
 * The place that the log is known to have reached may lie before its new start, dirty_tail: it is where the log ends now, then. That it lies before is certain
 * if what stands at dirty_tail is newer.
 */
function moveDurablePlace(draft: RepairDraft, media: InspectedMedia, dirtyTail: Tail, lastSequence: number): void {
  const durable = media.gatewayHeader.ok ? media.gatewayHeader.value.durable : undefined;
  const first = sequenceAt(media, dirtyTail.value);
  if (durable === undefined || first === undefined || first <= durable.sequence) return;
  const rest = walkLog(media.log, dirtyTail.value, { dirtyTail: dirtyTail.value, lastSequence });
  storeHeader(draft, { sequence: Math.max(rest.lastSequence, durable.sequence), position: rest.end });
}

/** Gives a tail, in both copies, the place and the stamp of another. */
function copyTail(draft: RepairDraft, from: Tail, name: TailName): void {
  const { bytes, view } = draft.device.control;
  for (let copy = 0; copy < 2; copy++) {
    const current = chooseCopy(bytes, TAIL_OFFSETS[name], TAIL_BYTES);
    const { index, seq } = nextCopy(current);
    const at = TAIL_OFFSETS[name][index];
    draft.change(at, TAIL_BYTES, () => {
      view.setUint32(at + TAIL_LAYOUT.cache_seg_id, from.value.cacheSegId, true);
      view.setUint32(at + TAIL_LAYOUT.seg_off, from.value.segOff, true);
      sealCopy(bytes, at, TAIL_BYTES, seq, from.stamp);
    });
  }
}

/** The tails. If one of them is lost, the other takes its place. */
export function repairTails(draft: RepairDraft): void {
  const media = inspectMedia(draft.device);
  const { keyTail, dirtyTail } = media;
  if (keyTail.ok && dirtyTail.ok) return;
  if (!keyTail.ok && !dirtyTail.ok) {
    takeRecordedTail(draft, 'both are lost: where the log starts, and what of it is already on the backing device, can not be told');
  } else if (dirtyTail.ok) {
    moveDurablePlace(draft, media, dirtyTail, 0);
    copyTail(draft, dirtyTail, 'key_tail');
    const why = keyTail.ok ? '' : keyTail.reason;
    draft.step({ place: 'key_tail', why, what: 'let the log begin at dirty_tail', consequence: ALL_CLEAN });
  } else if (keyTail.ok) {
    copyTail(draft, keyTail, 'dirty_tail');
    draft.step({ place: 'dirty_tail', why: dirtyTail.reason, what: 'take the whole log for not written back', consequence: ALL_DIRTY });
  }
}

/** Puts both tails where the gateway header says; refuses if it can't. `why`: what is wrong with both. Returns whether it did. */
function takeRecordedTail(draft: RepairDraft, why: string): boolean {
  const place = 'key_tail and dirty_tail';
  const recorded = readRecordedTail(inspectMedia(draft.device));
  if (!recorded.ok) {
    draft.refuse({ place, why: `${why}; ${recorded.reason}`, advice: BOTH_TAILS_ADVICE });
    return false;
  }
  // A cut-off between the two leaves both as damaged as they were, or one of them good.
  copyTail(draft, recorded, 'dirty_tail');
  copyTail(draft, recorded, 'key_tail');
  draft.step({ place, why, what: FROM_HEADER, consequence: FROM_HEADER_LOSES });
  return true;
}

function cut(draft: RepairDraft, media: InspectedMedia, walk: LogWalk, bootId: string | undefined): void {
  const loss = lossOf(media, walk, bootId, draft.tell);
  for (const { cacheSegId, start, end } of zeroRanges(loss)) {
    const { bytes, base } = media.log.data(cacheSegId);
    const deviceOffset = segmentDeviceOffset(media.chain.physicalOf[cacheSegId]!) + SEGMENT_DATA_OFFSET + start;
    draft.change(deviceOffset, end - start, () => bytes.fill(0, base + start, base + end));
  }
  // The log ends here, with no sequence below the limit behind: what was cut off can't come back.
  const limit = media.gatewayHeader.ok ? media.gatewayHeader.value.sequenceLimit : 0;
  if (limit > 1) {
    storeHeader(draft, { sequence: limit - 1, position: walk.end });
    restampTails(draft, media, walk.end, limit);
  }
  draft.step({
    place: placeOf(walk.end),
    why: loss.damage,
    what: 'end the log here, and give up what stands behind',
    consequence: 'the volume goes back to its state before the first write behind this place',
    loss,
  });
}

/** A tail at the new end of the log belongs to the kset that will stand there next. */
function restampTails(draft: RepairDraft, media: InspectedMedia, end: LogPosition, nextSequence: number): void {
  const { bytes } = draft.device.control;
  for (const [name, tail] of [
    ['key_tail', media.keyTail],
    ['dirty_tail', media.dirtyTail],
  ] as const) {
    if (!tail.ok || tail.stamp === undefined || !samePosition(tail.value, end)) continue;
    for (let copy = 0; copy < 2; copy++) {
      const current = chooseCopy(bytes, TAIL_OFFSETS[name], TAIL_BYTES);
      const { index } = nextCopy(current);
      draft.change(TAIL_OFFSETS[name][index], TAIL_BYTES, () => writeTail(bytes, name, end, current, nextSequence));
    }
  }
}

/** From the first to the last of the lost ksets of each segment, the place of the cut last: until its header is zero, the log is as damaged as it was. */
function zeroRanges(loss: LogLoss): { cacheSegId: CacheSegId; start: number; end: number }[] {
  const ranges = new Map<CacheSegId, { start: number; end: number }>();
  for (const { cacheSegId, segOff, sizeBytes } of loss.ksets) {
    const known = ranges.get(cacheSegId);
    const end = Math.min(segOff + sizeBytes + KSET_HEADER_BYTES, SEGMENT_DATA_BYTES);
    ranges.set(cacheSegId, { start: Math.min(known?.start ?? segOff, segOff), end: Math.max(known?.end ?? 0, end) });
  }
  const { cacheSegId, segOff } = loss.at;
  const here = ranges.get(cacheSegId);
  ranges.delete(cacheSegId);
  const all = [...ranges].map(([id, range]) => ({ cacheSegId: id, ...range }));
  return [...all, { cacheSegId, start: segOff, end: Math.max(here?.end ?? 0, segOff + KSET_HEADER_BYTES) }];
}

/**
 * Generations that are lost, or below those of the segment's own keys. A segment is given a new generation only when no key of the log refers to it any
 * more, so that of the newest key in the log is the segment's. One that no key refers to may have any that was never used: one above all.
 */
export function repairGenerations(draft: RepairDraft, bootId: string | undefined): void {
  const media = inspectMedia(draft.device);
  if (!media.keyTail.ok || media.chain.problem !== undefined) return;
  const newest = new Array<number>(media.segmentCount).fill(-1);
  const limits = { volumeBytes: VOLUME_BYTES_MAX, segmentCount: media.segmentCount };
  const add = (key: KeyCursor): void => {
    if (validateKey(key, limits) === undefined) newest[key.cacheSegId] = Math.max(newest[key.cacheSegId]!, key.segGen);
  };
  const walk = walkLog(media.log, media.keyTail.value, walkOptionsOf(media), { onKey: add });
  if (walk.ending === 'damaged') return;
  const header = media.gatewayHeader.ok ? media.gatewayHeader.value : undefined;
  if (header?.state === 'open' && header.bootId === bootId) {
    for (const kset of findStagedKsets(media.log, walk).ksets) forEachKeyOf(media.log, kset, add);
  }
  const highest = media.generations.reduce((most, generation, id) => Math.max(most, generation.ok ? generation.value : 0, newest[id]!), 0);
  for (const [id, generation] of media.generations.entries()) {
    const ofKeys = newest[id]!;
    if (generation.ok && generation.value >= ofKeys) continue;
    writeGeneration(draft, media, id, ofKeys >= 0 ? ofKeys : highest + 1);
    draft.step({
      place: `segment ${id}: generation`,
      why: generation.ok ? `it is ${generation.value}, older than the segment's own keys` : generation.reason,
      what: ofKeys >= 0 ? `rewrite it: ${ofKeys}, as the newest of its keys in the log says` : 'rewrite it: no key of the log refers to it',
      consequence: 'nothing is lost: which keys are older than the segment is known again',
    });
  }
}

function writeGeneration(draft: RepairDraft, media: InspectedMedia, id: number, generation: number): void {
  const physical = media.chain.physicalOf[id]!;
  const { bytes } = draft.device.segment(physical);
  const [first, second] = SEGMENT_GENERATION_OFFSETS;
  const base = segmentDeviceOffset(physical);
  draft.change(base + first, SEGMENT_GENERATION_BYTES, () => writeSegmentGeneration(bytes, generation, NO_COPY, { stamped: true }));
  draft.change(base + second, SEGMENT_GENERATION_BYTES, () => bytes.copyWithin(second, first, first + SEGMENT_GENERATION_BYTES));
}

export function placeOf({ cacheSegId, segOff }: LogPosition): string {
  return `log at ${cacheSegId}:${segOff}`;
}
