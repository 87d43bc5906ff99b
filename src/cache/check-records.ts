// Checks everything outside of the log: superblock, the records that are kept twice, the chain, and whom the cache belongs to.
//
// A copy that is all zeros was never written, which is how formatting leaves the second copy; it is no finding. A copy that is neither valid nor zero was torn
// or damaged: a warning while the other copy is good, as no information is lost and the next store of the record replaces it.

import type { CacheDevice } from '../device/device.js';
import { isStoredIdentity } from '../media/backing-identity-match.js';
import type { BackingPrint } from '../media/backing-print.js';
import { CACHE_INFO_BYTES } from '../media/cache-info.js';
import type { GatewayHeader } from '../media/gateway-header.js';
import { readGatewayBackup, readGatewayHeader } from '../media/gateway-header.js';
import {
  CACHE_INFO_OFFSETS,
  GATEWAY_BACKUP_OFFSET,
  GATEWAY_HEADER_BYTES,
  GATEWAY_HEADER_OFFSETS,
  SEGMENT_GENERATION_OFFSETS,
  SEGMENT_INFO_OFFSETS,
  segmentCountOf,
  segmentDeviceOffset,
} from '../media/layout.js';
import type { PhysicalSegmentId } from '../media/layout.js';
import { SEGMENT_GENERATION_BYTES } from '../media/segment-generation.js';
import { SEGMENT_INFO_BYTES, readSegmentInfo } from '../media/segment-info.js';
import { TAIL_BYTES, TAIL_OFFSETS, tailsAreStamped } from '../media/tails.js';
import type { TailName } from '../media/tails.js';
import type { CopyOffsets } from '../media/two-copy-record.js';
import { copyIsValid } from '../media/two-copy-record.js';
import { allZero } from '../media/u64.js';
import { backingChange } from './changed-backing.js';
import type { FindingList } from './check-finding.js';
import type { InspectedMedia } from './inspect-media.js';
import { readRecordedTail } from './recorded-tail.js';

/** What is known of the backing device that the cache is thought to belong to. */
export interface BackingFacts {
  readonly sizeBytes: number;
  readonly identity: string;
  /** As it is now; not there: not known. */
  readonly print?: BackingPrint | undefined;
}

export function checkRecords(device: CacheDevice, media: InspectedMedia, backing: BackingFacts | undefined, list: FindingList): void {
  checkSuperblock(device, media, list);
  checkCacheInfo(device, media, list);
  checkChain(media, list);
  checkSegments(device, media, list);
  checkTail(device, media, 'key_tail', list);
  checkTail(device, media, 'dirty_tail', list);
  checkGatewayHeader(device, media, list);
  if (backing !== undefined) checkBinding(device, media, backing, list);
}

function checkSuperblock(device: CacheDevice, media: InspectedMedia, list: FindingList): void {
  const { superblock } = media;
  if (!superblock.ok) {
    const consequence = media.superblockIsBlank
      ? 'the kernel would take the device for a new one and format it, losing everything in it'
      : 'neither the kernel nor this gateway takes the cache as it is';
    list.add('error', 'superblock', 'superblock', `${superblock.reason}: ${consequence}`);
    return;
  }
  const { segmentCount } = superblock.value;
  const { dataEnd, lostFrom } = device;
  const room = lostFrom === undefined || dataEnd !== undefined ? device.segmentCount : segmentCountOf(lostFrom);
  if (segmentCount > room) {
    const what = `the device has room for ${room} of the ${segmentCount} segments: it was cut short`;
    list.add('error', 'device-size', 'superblock', `${what}, and what was behind is lost`);
  } else if (dataEnd !== undefined && segmentDeviceOffset((segmentCount - 1) as PhysicalSegmentId) >= dataEnd) {
    const what = `nothing of the file was ever written from byte ${dataEnd} on: it was cut and made longer since`;
    list.add('error', 'device-size', 'superblock', `${what}, and what was there is lost`);
  } else if (segmentCount < device.segmentCount) {
    list.add('info', 'device-size', 'superblock', `the device has room for ${device.segmentCount} segments, ${segmentCount} are used`);
  }
}

function checkCacheInfo(device: CacheDevice, media: InspectedMedia, list: FindingList): void {
  const { cacheInfo } = media;
  checkCopies(device.control.bytes, CACHE_INFO_OFFSETS, CACHE_INFO_BYTES, 'cache_info', list);
  if (!cacheInfo.ok) {
    const consequence = 'the kernel would format the cache and lose its dirty data, this gateway refuses it';
    list.add('error', 'record', 'cache_info', `${cacheInfo.reason}: ${consequence}`);
    return;
  }
  const { value } = cacheInfo;
  if (!value.initialised) list.add('error', 'cache-info', 'cache_info', 'not marked as initialised: the kernel would format the cache');
  if (value.mode !== 'writeback') list.add('error', 'cache-info', 'cache_info', `cache mode ${value.mode}: only writeback is supported`);
  if (value.otherFlags !== 0) list.add('warning', 'cache-info', 'cache_info', `unknown flags 0x${value.otherFlags.toString(16)}`);
  if (value.segmentCount < media.deviceSegmentCount) {
    const unused = media.deviceSegmentCount - value.segmentCount;
    list.add('info', 'cache-info', 'cache_info', `${unused} segments of the device are not part of the cache`);
  }
}

/** Reports each copy that is neither valid nor blank, if the other is good. */
function checkCopies(bytes: Uint8Array, offsets: CopyOffsets, sizeBytes: number, place: string, list: FindingList): void {
  const valid = offsets.map((offset) => copyIsValid(bytes, offset, sizeBytes));
  if (!valid.includes(true)) return;
  for (const [index, offset] of offsets.entries()) {
    if (valid[index] === true || allZero(bytes, offset, sizeBytes)) continue;
    list.add('warning', 'record-copy', `${place} copy ${index}`, 'bad CRC; the other copy is good: nothing is lost');
  }
}

function checkChain({ chain, segmentCount }: InspectedMedia, list: FindingList): void {
  if (chain.problem === undefined) return;
  const known = chain.physicalOf.length;
  const rest =
    known < segmentCount
      ? `${segmentCount - known} of the ${segmentCount} segments can't be found, and what is in them can't be reached`
      : 'the check goes on as if the segments followed each other on the device';
  list.add('error', 'chain', 'segment chain', `${chain.problem}: the cache can't be mounted; ${rest}`);
}

function checkSegments(device: CacheDevice, media: InspectedMedia, list: FindingList): void {
  for (const [cacheSegId, physical] of media.chain.physicalOf.entries()) {
    const { bytes } = device.segment(physical);
    const place = cacheSegId === (physical as number) ? `segment ${cacheSegId}` : `segment ${cacheSegId} (${physical} on the device)`;
    checkCopies(bytes, SEGMENT_INFO_OFFSETS, SEGMENT_INFO_BYTES, `${place}: segment_info`, list);
    const info = readSegmentInfo(bytes, media.deviceSegmentCount);
    if (!info.ok) list.add('error', 'record', place, `${info.reason}: the way to the next segment is lost`);
    checkCopies(bytes, SEGMENT_GENERATION_OFFSETS, SEGMENT_GENERATION_BYTES, `${place}: generation`, list);
    const generation = media.generations[cacheSegId]!;
    if (!generation.ok) {
      list.add('error', 'generation', place, `${generation.reason}: it can't be told which keys are older than what the segment holds`);
    }
  }
}

export const HEADER_LOST =
  'lost, though this gateway has written to the cache: which backing device the cache belongs to is not known any more';

const TAIL_LOSS: Readonly<Record<TailName, string>> = {
  key_tail: 'where the log starts is lost, and with it what is cached and already on the backing device',
  dirty_tail: 'it is lost which part of the cache the backing device does not have yet',
};

function checkTail(device: CacheDevice, media: InspectedMedia, name: TailName, list: FindingList): void {
  checkCopies(device.control.bytes, TAIL_OFFSETS[name], TAIL_BYTES, name, list);
  const tail = name === 'key_tail' ? media.keyTail : media.dirtyTail;
  if (tail.ok) return;
  const recorded = media.keyTail.ok || media.dirtyTail.ok ? undefined : readRecordedTail(media);
  const way = recorded?.ok === true ? '; but the gateway header says where dirty_tail was, and a repair from there loses nothing' : '';
  list.add('error', 'tail', name, `${tail.blank ? 'both copies are zeros' : tail.reason}: ${TAIL_LOSS[name]}${way}`);
}

function checkGatewayHeader(device: CacheDevice, media: InspectedMedia, list: FindingList): void {
  const { gatewayHeader } = media;
  const place = 'gateway header';
  if (gatewayHeader.ok && gatewayHeader.fromBackup === true) {
    const consequence = 'its backup beside the superblock is used: nothing is lost, but damage to the newest ksets could not be noticed';
    list.add('warning', 'record-copy', place, `neither of its two copies is valid; ${consequence}`);
  } else if (gatewayHeader.ok) {
    for (const [index, offset] of GATEWAY_HEADER_OFFSETS.entries()) {
      // Alone in an empty page, the copy speaks for itself.
      const page = new Uint8Array(2 * GATEWAY_HEADER_BYTES);
      page.set(device.control.bytes.subarray(offset, offset + GATEWAY_HEADER_BYTES), offset);
      const copy = readGatewayHeader(page);
      if (copy.ok) continue;
      list.add('warning', 'record-copy', `${place} copy ${index}`, `${copy.reason}; the other copy is good: nothing is lost`);
    }
    const { bytes } = device.control;
    if (readGatewayBackup(bytes) === undefined && !allZero(bytes, GATEWAY_BACKUP_OFFSET, GATEWAY_HEADER_BYTES)) {
      list.add('warning', 'record-copy', `${place}: backup`, 'not valid; the header itself is good: nothing is lost');
    }
  } else if (gatewayHeader.kind === 'absent' && tailsAreStamped(device.control.bytes)) {
    list.add('error', 'gateway-header', place, HEADER_LOST);
  } else if (gatewayHeader.kind === 'absent') {
    const consequence = 'the kernel made the cache; which backing device it belongs to is not recorded';
    list.add('info', 'gateway-header', place, `none: ${consequence}`);
  } else if (gatewayHeader.kind === 'newer') {
    list.add('error', 'gateway-header', place, `${gatewayHeader.reason}: use the version of pcache that wrote it`);
  } else {
    const consequence = 'which backing device the cache belongs to is lost, and so are keys that were staged but not flushed';
    list.add('error', 'gateway-header', place, `${gatewayHeader.reason}: ${consequence}`);
  }
}

function checkBinding(device: CacheDevice, { gatewayHeader }: InspectedMedia, backing: BackingFacts, list: FindingList): void {
  const header: GatewayHeader | undefined = gatewayHeader.ok ? gatewayHeader.value : undefined;
  if (header === undefined || header.volumeBytes === 0) {
    list.add('info', 'binding', 'backing device', 'the cache is not bound to a backing device: whether it is this one can not be told');
    return;
  }
  if (header.volumeBytes !== backing.sizeBytes) {
    const sizes = `the cache belongs to one of ${header.volumeBytes} bytes, this one has ${backing.sizeBytes}`;
    list.add('error', 'binding', 'backing device', `${sizes}: mount and recover refuse it`);
  }
  if (!isStoredIdentity(header.backingIdentity, backing.identity)) {
    const names = `the cache belongs to another one (${header.backingIdentity}, this is ${backing.identity})`;
    list.add('error', 'binding', 'backing device', `${names}: unless this is the same data in another place, the cache is useless with it`);
    return;
  }
  const change = backingChange(header, device.control.bytes, () => backing.print);
  if (change !== undefined) {
    list.add('error', 'backing-changed', 'backing device', `it ${change.text}: mount refuses it`);
  }
}
