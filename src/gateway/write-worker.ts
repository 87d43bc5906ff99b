// The write worker's thread: carries out the writes that could not be at once, in order of arrival. It may wait for room as long as it takes;
// whoever comes meanwhile gets in line behind, so writers are served in order and none is ever failed for want of room.

import { errno } from '../device/errno-codes.js';
import type { RequestSlot } from '../fuse/request-slots.js';
import { COUNTER } from '../shared/counters.js';
import { wait } from '../shared/event-word.js';
import { PcacheError } from '../errors.js';
import { Word } from '../cache/shared-state.js';
import { errnoFor } from './errno-of.js';
import { DataThread, GatewayWord } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { answer, serveLane } from './lane.js';
import { noteRequestError } from './request-errors.js';
import { threadStart } from './thread-messages.js';
import { VolumeIo } from './volume-io.js';

/** Bounded, so that an order to stop is seen even if its wake-up went to somebody else. */
const WAIT_MS = 1000;
/** A FALLOCATE of terabytes must not hold up the writes behind it: after this much it goes to the end of the line. */
const ZERO_STEP_BYTES = 4 * 1024 * 1024;

const thread = new DataThread(threadStart() as DataThreadStart);
const io = new VolumeIo(thread.cache, thread.backing, {
  waitForRoom(seenEpoch) {
    if (thread.isSet(GatewayWord.stopLanes)) throw new PcacheError('closed', 'the volume was unmounted while a write waited for room');
    if (thread.isSet(GatewayWord.cacheFailed)) throw new PcacheError('io', 'no room, and none will come: the cache device fails');
    wait(thread.shared.cache.words, Word.roomEvent, seenEpoch, WAIT_MS);
  },
});
const { counters } = thread.cache;
const tuple = new Int32Array(2);

/** Returns the result to answer with, or undefined if the request goes to the end of the line, with `tuple` saying how far it is. */
function carryOut(slot: RequestSlot, progress: number): number | undefined {
  const { request } = slot;
  const { volumeBytes } = thread.shared.cache;
  if (slot.row?.name === 'WRITE') {
    const length = Math.min(request.sizeBytes, volumeBytes - request.offsetBytes);
    io.write(request.offsetBytes + progress, length - progress, slot.payload, progress);
    counters[COUNTER.writes]! += 1;
    counters[COUNTER.write_bytes]! += length;
    return length;
  }
  const start = request.offsetBytes + progress * ZERO_STEP_BYTES;
  const end = Math.min(request.offsetBytes + request.sizeBytes, volumeBytes);
  io.zero(start, Math.min(ZERO_STEP_BYTES, end - start));
  if (start + ZERO_STEP_BYTES < end) {
    tuple[0] = slot.index;
    tuple[1] = progress + 1;
    thread.writes.push(tuple);
    return undefined;
  }
  counters[COUNTER.discards]! += 1;
  counters[COUNTER.discard_bytes]! += end - request.offsetBytes;
  return 0;
}

function serve(slot: RequestSlot, progress: number): void {
  let result: number | undefined = slot.reopen();
  if (thread.isSet(GatewayWord.stopLanes)) {
    // The session is gone, so nobody waits for this any more; and it might take hours.
    result = -errno.EIO;
  } else if (result === 0) {
    try {
      result = carryOut(slot, progress);
      if (result === undefined) return;
    } catch (error) {
      counters[COUNTER.write_errors]! += 1;
      noteRequestError(`${slot.row?.name ?? 'request'} of ${slot.request.sizeBytes} bytes at ${slot.request.offsetBytes}`, error);
      result = -errnoFor(error);
    }
  }
  answer(thread, slot, result);
}

serveLane(thread, thread.writes, (taken) => serve(thread.slots.slot(taken[0]!), taken[1]!));
