// A miss worker's thread: answers READs that need the backing device, one at a time, from start to end.

import type { RequestSlot } from '../fuse/request-slots.js';
import { COUNTER } from '../shared/counters.js';
import { PcacheError } from '../errors.js';
import { errnoFor } from './errno-of.js';
import { DataThread } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { answer, serveLane } from './lane.js';
import { noteRequestError } from './request-errors.js';
import { threadStart } from './thread-messages.js';
import { VolumeIo } from './volume-io.js';

const thread = new DataThread(threadStart() as DataThreadStart);
const io = new VolumeIo(thread.cache, thread.backing, {
  waitForRoom() {
    throw new PcacheError('internal', 'a read waits for room');
  },
});

function answerRead(slot: RequestSlot): void {
  let result = slot.reopen();
  if (result === 0) {
    const { request } = slot;
    const length = Math.max(0, Math.min(request.sizeBytes, thread.shared.cache.volumeBytes - request.offsetBytes));
    const { counters } = thread.cache;
    try {
      io.read(request.offsetBytes, length, slot.payload, 0);
      slot.iovec.add(slot.payloadAddress, length);
      counters[COUNTER.reads]! += 1;
      counters[COUNTER.read_bytes]! += length;
      result = length;
    } catch (error) {
      counters[COUNTER.read_errors]! += 1;
      noteRequestError(`read of ${length} bytes at ${request.offsetBytes}`, error);
      result = -errnoFor(error);
    }
  }
  answer(thread, slot, result);
}

serveLane(thread, thread.misses, (tuple) => answerRead(thread.slots.slot(tuple[0]!)));
