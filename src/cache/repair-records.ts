// Repairs of everything outside of the log: bad copies of records that are kept twice, and records that are lost but follow from others that are whole.
// What follows from nothing is not made up: it is refused, with a reason.

import type { InspectedMedia } from './inspect-media.js';
import { inspectMedia, isStale } from './inspect-media.js';
import type { RepairDraft } from './repair-draft.js';
import { CACHE_INFO_BYTES, writeCacheInfo } from '../media/cache-info.js';
import type { KeyCursor } from '../media/cache-key.js';
import { validateKey } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import type { PhysicalSegmentId } from '../media/layout.js';
import {
  CACHE_INFO_OFFSETS,
  GC_PERCENT_DEFAULT,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
  SEGMENT_INFO_OFFSETS,
  SUPERBLOCK_OFFSET,
  segmentDeviceOffset,
} from '../media/layout.js';
import { walkLog } from '../media/log-walk.js';
import { SEGMENT_GENERATION_BYTES } from '../media/segment-generation.js';
import type { SegmentInfo } from '../media/segment-info.js';
import { SEGMENT_INFO_BYTES, readSegmentInfo, writeSegmentInfo } from '../media/segment-info.js';
import { SUPERBLOCK_BYTES, encodeSuperblock } from '../media/superblock.js';
import { TAIL_BYTES, TAIL_OFFSETS } from '../media/tails.js';
import { CUT_ADVICE } from './unwritten-data.js';
import type { CopyOffsets, RecordRead } from '../media/two-copy-record.js';
import { NO_COPY, copyIsValid } from '../media/two-copy-record.js';
import { allZero } from '../media/u64.js';

const NOTHING_LOST = 'nothing is lost: no data of the volume is concerned';

/** Everything but tails, generations and the gateway header. */
export function repairStructure(draft: RepairDraft): void {
  const { control } = draft.device;
  repairCopies(draft, 'cache_info', 0, control.bytes, CACHE_INFO_OFFSETS, CACHE_INFO_BYTES);
  repairCopies(draft, 'key_tail', 0, control.bytes, TAIL_OFFSETS.key_tail, TAIL_BYTES);
  repairCopies(draft, 'dirty_tail', 0, control.bytes, TAIL_OFFSETS.dirty_tail, TAIL_BYTES);
  for (let id = 0; id < draft.device.segmentCount; id++) repairSegmentCopies(draft, id as PhysicalSegmentId);
  repairCacheInfo(draft);
  repairChain(draft);
  repairSuperblock(draft);
}

function repairSegmentCopies(draft: RepairDraft, id: PhysicalSegmentId): void {
  const { bytes } = draft.device.segment(id);
  const base = segmentDeviceOffset(id);
  const place = `segment ${id} of the device`;
  repairCopies(draft, `${place}: segment_info`, base, bytes, SEGMENT_INFO_OFFSETS, SEGMENT_INFO_BYTES);
  repairCopies(draft, `${place}: generation`, base, bytes, SEGMENT_GENERATION_OFFSETS, SEGMENT_GENERATION_BYTES);
}

/** A copy that is neither valid nor blank becomes what the good one is. `bytes` starts at `base` on the device. */
function repairCopies(draft: RepairDraft, name: string, base: number, bytes: Uint8Array, offsets: CopyOffsets, sizeBytes: number): void {
  const valid = offsets.map((offset) => copyIsValid(bytes, offset, sizeBytes));
  const good = valid.indexOf(true);
  const bad = valid.indexOf(false);
  if (good < 0 || bad < 0 || allZero(bytes, offsets[bad]!, sizeBytes)) return;
  draft.change(base + offsets[bad]!, sizeBytes, () => bytes.copyWithin(offsets[bad]!, offsets[good]!, offsets[good]! + sizeBytes));
  draft.step({
    place: `${name} copy ${bad}`,
    why: 'one of its two copies has a bad CRC',
    what: `rewrite it from the good copy ${good}`,
    consequence: NOTHING_LOST,
  });
}

/** Both copies, one after the other, of a record that has no good one. `write` stores copy 0. */
function writeBothCopies(
  draft: RepairDraft,
  base: number,
  bytes: Uint8Array,
  offsets: CopyOffsets,
  sizeBytes: number,
  write: () => void,
): void {
  draft.change(base + offsets[0], sizeBytes, write);
  draft.change(base + offsets[1], sizeBytes, () => bytes.copyWithin(offsets[1], offsets[0], offsets[0] + sizeBytes));
}

function repairCacheInfo(draft: RepairDraft): void {
  const media = inspectMedia(draft.device);
  if (media.cacheInfo.ok) return;
  const why = media.cacheInfo.reason;
  const place = 'cache_info';
  const refuse = (reason: string): void => {
    const advice = 'without it the cache can\'t be used; see "pcache dump" for what is left';
    draft.refuse({ place, why: `${why}; ${reason}`, advice });
  };
  if (!media.superblock.ok) {
    refuse('the superblock, which would say how many segments there are, is lost as well');
    return;
  }
  const { segmentCount } = media.superblock.value;
  const infos = segmentInfos(draft, segmentCount);
  if (infos === undefined || !infos.every((info, id) => info.ok && isLinear(info.value, id, segmentCount))) {
    refuse('the segments do not all follow each other on the device, so where they start is not known for sure');
    return;
  }
  const dataCrc = findDataCrc(draft, media);
  if (dataCrc === undefined) {
    refuse('whether its data have checksums can not be told for sure');
    return;
  }
  const { bytes } = draft.device.control;
  const value = {
    firstSegment: 0 as PhysicalSegmentId,
    segmentCount,
    dataCrc,
    initialised: true,
    mode: 'writeback' as const,
    gcPercent: GC_PERCENT_DEFAULT,
    otherFlags: 0,
  };
  writeBothCopies(draft, 0, bytes, CACHE_INFO_OFFSETS, CACHE_INFO_BYTES, () => writeCacheInfo(bytes, value, NO_COPY));
  draft.step({
    place,
    why,
    what: `rewrite it: ${segmentCount} segments in their order on the device, data CRC ${dataCrc ? 'on' : 'off'}, as the rest of the cache shows`,
    consequence: `nothing is lost; gc_percent is ${GC_PERCENT_DEFAULT} again`,
  });
}

/** Whether payloads have a CRC, from the keys of the log; `undefined` if they don't agree. */
function findDataCrc(draft: RepairDraft, media: InspectedMedia): boolean | undefined {
  let keys = 0;
  let withCrc = 0;
  let matching = 0;
  const limits = { volumeBytes: Number.MAX_SAFE_INTEGER, segmentCount: media.segmentCount };
  const start = media.keyTail.ok ? media.keyTail.value : media.dirtyTail.ok ? media.dirtyTail.value : undefined;
  if (start === undefined) return undefined;
  walkLog(
    media.log,
    start,
    {},
    {
      onKey(key: KeyCursor) {
        if (validateKey(key, limits) !== undefined || isStale(media, key.cacheSegId, key.segGen)) return;
        keys++;
        if (key.dataCrc === 0) return;
        withCrc++;
        const { bytes } = draft.device.segment(media.chain.physicalOf[key.cacheSegId]!);
        const at = SEGMENT_DATA_OFFSET + key.cacheSegOff;
        if (pcacheCrcOfRange(bytes, at, at + key.len) === key.dataCrc) matching++;
      },
    },
  );
  if (keys === 0) return undefined;
  if (withCrc === 0) return false;
  return matching > 0 ? true : undefined;
}

function isLinear(info: SegmentInfo, id: number, segmentCount: number): boolean {
  return info.next === (id === segmentCount - 1 ? undefined : id + 1);
}

/** Of all segments of the device; `undefined` if the device is too short for them. */
function segmentInfos(draft: RepairDraft, segmentCount: number): RecordRead<SegmentInfo>[] | undefined {
  if (segmentCount > draft.device.segmentCount) return undefined;
  return Array.from({ length: segmentCount }, (_, id) => {
    return readSegmentInfo(draft.device.segment(id as PhysicalSegmentId).bytes, segmentCount);
  });
}

/**
 * The links between segments. Every program formats a cache so that its segments follow each other on the device. If all links that can be
 * read say so, the others did as well; that the chain covers the device leaves them no other place.
 */
function repairChain(draft: RepairDraft): void {
  const media = inspectMedia(draft.device);
  const { chain, segmentCount, deviceSegmentCount } = media;
  if (chain.problem === undefined || !media.cacheInfo.ok) return;
  const place = 'segment chain';
  const infos = segmentInfos(draft, deviceSegmentCount);
  if (infos === undefined) {
    draft.refuse({
      place,
      why: `the device has room for ${draft.device.segmentCount} of ${deviceSegmentCount} segments: it was cut short, and what was behind is lost`,
      advice: CUT_ADVICE,
    });
    return;
  }
  const known = infos.flatMap((info, id) => (info.ok ? [isLinear(info.value, id, deviceSegmentCount)] : []));
  const first: number = media.cacheInfo.value.firstSegment;
  if (first !== 0 || segmentCount !== deviceSegmentCount || known.includes(false) || known.length === 0) {
    const why = `${chain.problem}; the segments do not follow each other on the device, so the lost link can not be told for sure`;
    draft.refuse({ place, why, advice: 'what is dirty in the segments behind it can not be saved by this program' });
    return;
  }
  for (const [id, info] of infos.entries()) {
    if (info.ok) continue;
    const next = id === segmentCount - 1 ? undefined : ((id + 1) as PhysicalSegmentId);
    const { bytes } = draft.device.segment(id as PhysicalSegmentId);
    const base = segmentDeviceOffset(id as PhysicalSegmentId);
    writeBothCopies(draft, base, bytes, SEGMENT_INFO_OFFSETS, SEGMENT_INFO_BYTES, () => writeSegmentInfo(bytes, { next }, NO_COPY));
    draft.step({
      place: `segment ${id} of the device: segment_info`,
      why: info.reason,
      what: next === undefined ? 'rewrite it as the last of the chain' : `rewrite it: segment ${next} follows, as all other links show`,
      consequence: NOTHING_LOST,
    });
  }
}

function repairSuperblock(draft: RepairDraft): void {
  const media = inspectMedia(draft.device);
  if (media.superblock.ok) return;
  const { reason } = media.superblock;
  const doubt = doubtAboutSegments(draft, media, reason);
  if (doubt !== undefined || !media.cacheInfo.ok) {
    const advice = 'do not format the device: that would remove what is left';
    draft.refuse({ place: 'superblock', why: `${reason}; ${doubt ?? ''}`, advice });
    return;
  }
  const { segmentCount } = media.cacheInfo.value;
  const { bytes } = draft.device.control;
  draft.change(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES, () => encodeSuperblock(bytes, { flags: 0, segmentCount }));
  draft.step({
    place: 'superblock',
    why: reason,
    what: `rewrite it: ${segmentCount} segments, as cache_info and the chain of segments agree`,
    consequence: NOTHING_LOST,
  });
}

/** Why the number of segments does not follow from the rest of the cache; `undefined` if it does. */
function doubtAboutSegments(draft: RepairDraft, { cacheInfo, chain }: InspectedMedia, reason: string): string | undefined {
  if (reason.includes('big-endian')) return 'such caches are not supported';
  if (!cacheInfo.ok) return 'cache_info, which would say how many segments there are, is lost as well';
  if (chain.problem !== undefined) return `the segments, which would show how many there are, are not whole (${chain.problem})`;
  const last = readSegmentInfo(draft.device.segment(chain.physicalOf.at(-1)!).bytes, draft.device.segmentCount);
  if (!last.ok || last.value.next !== undefined) return 'the chain of segments goes on behind its end';
  const isFirstOfDevice = chain.physicalOf.every((physical) => physical < cacheInfo.value.segmentCount);
  return isFirstOfDevice ? undefined : 'not all of its segments are among the first of the device';
}
