// The dirty_tail that the gateway header names, for when those in cache_ctrl are lost: all four copies of them lie in one line of 64 bytes. Both tails may be
// put where it says, and nothing is lost. Why:
//
// - The collector does not let key_tail pass it: it has the header name a later one first. So no log segment from there on was freed, and no data segment
//   that a key from there on refers to: every key is live, and its payload is what it was. (An older key_tail would not do, even if its log segments were
//   kept. Of two writes to one place the later may be in a segment that was freed since, and the earlier not: it would come back.)
// - dirty_tail has been there, so the backing device has everything before it. Of what follows some may be there too: it is written once more, in the
//   order of the log, and ends with the newest. Until then the backing device holds older bytes, as while any log is written back.
// - The header is stored with the durable place: a walk from there must come to that, so the newest ksets are not missed.
//
// All of this holds only if no kernel has used the cache since, which moves the tails without a look at the header. It leaves ksets without a sequence:
// behind the last of ours, and at the start of every segment that its log has come to. And keys from there on are stale if it freed their segments. None of
// these may be there. What stands at the place must be the kset that the header names, or the end of the log; data that took its place is neither.

import { KsetHeader, KSET_MAGIC_HIGH, KSET_MAGIC_LOW, KSET_HEADER_LAYOUT, ksetIsValid } from '../media/kset.js';
import type { CacheSegId, SegmentOffset } from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import { positionProblem, samePosition } from '../media/log-position.js';
import type { LogVisitor } from '../media/log-walk.js';
import { walkLog } from '../media/log-walk.js';
import { tailStamp } from '../media/tails.js';
import type { InspectedMedia } from './inspect-media.js';
import { isStale } from './inspect-media.js';

/**
 * A place for both tails, the stamp that belongs to it, and the sequence of the kset that stands there or will; or why the header gives none. `isWhole`: the
 * log from there on is not damaged, and comes to the durable place.
 */
export type RecordedTail =
  | { readonly ok: true; readonly value: LogPosition; readonly stamp: number; readonly sequence: number; readonly isWhole: boolean }
  | { readonly ok: false; readonly reason: string };

export function readRecordedTail(media: InspectedMedia): RecordedTail {
  const { gatewayHeader, log, chain } = media;
  if (!gatewayHeader.ok) return refused('the gateway header is lost as well');
  const { dirtyTail, durable } = gatewayHeader.value;
  if (dirtyTail === undefined || durable === undefined) return refused('the gateway header does not name a place for them');
  if (chain.problem !== undefined) return refused('the segments are not all known');
  const { position, sequence } = dirtyTail;
  const problem = positionProblem(position.cacheSegId, position.segOff, log.segmentCount);
  if (problem !== undefined) return refused(`the gateway header names a place for them that is none: ${problem}`);
  const at = headerAt(media, position);
  if (
    at.sequence === undefined ? !(samePosition(position, durable.position) && sequence === durable.sequence + 1) : at.sequence !== sequence
  ) {
    return refused('at the place that the gateway header names for them stands something else by now');
  }
  let isForeign = false;
  for (let id = 0; id < log.segmentCount; id++) {
    isForeign ||= headerAt(media, { cacheSegId: id as CacheSegId, segOff: 0 as SegmentOffset }).sequence === 0;
  }
  const visitor: LogVisitor = {
    onKset: ({ header }) => (isForeign ||= header.sequence === 0),
    onKey: (key) => (isForeign ||= isStale(media, key.cacheSegId, key.segGen)),
  };
  const walk = walkLog(log, position, { lastSequence: sequence - 1, durable }, visitor);
  const isWhole = walk.ending === 'end';
  if (isForeign || (isWhole && !headerAt(media, walk.end).mayBeEnd)) {
    return refused('the kernel may have used the cache since the gateway header named a place for them');
  }
  return { ok: true, value: position, stamp: tailStamp(position, sequence), sequence, isWhole };
}

function refused(reason: string): RecordedTail {
  return { ok: false, reason };
}

/** `sequence`: of the valid kset there, `undefined` if there is none. */
function headerAt({ log }: InspectedMedia, { cacheSegId, segOff }: LogPosition): { sequence: number | undefined; mayBeEnd: boolean } {
  const { bytes, view, base } = log.data(cacheSegId);
  const header = new KsetHeader();
  const isValid = ksetIsValid(bytes, view, base, segOff, header);
  const low = view.getUint32(base + segOff + KSET_HEADER_LAYOUT.magic, true);
  const high = view.getUint32(base + segOff + KSET_HEADER_LAYOUT.magic + 4, true);
  // Zeros, which were made durable before the place was, or a kset that is torn or damaged.
  const mayBeEnd = (low === 0 && high === 0) || (low === KSET_MAGIC_LOW && high === KSET_MAGIC_HIGH);
  return { sequence: isValid ? header.sequence : undefined, mayBeEnd };
}
