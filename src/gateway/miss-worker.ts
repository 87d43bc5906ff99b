// A miss worker's thread: answers READs that need the backing device. The first has a ring, and many reads under way (miss-server.ts); where there is no
// io_uring, it and the others each do one at a time, from start to end.

import { setPriority } from 'node:os';
import type { BackingRing } from '../device/backing-ring.js';
import type { RequestSlot } from '../fuse/request-slots.js';
import { COUNTER } from '../shared/counters.js';
import { PcacheError } from '../errors.js';
import { errnoFor } from './errno-of.js';
import { DataThread, GatewayWord } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { answer, serveLane } from './lane.js';
import { MissServer, RING_DEPTH } from './miss-server.js';
import { noteRequestError } from './request-errors.js';
import { tellMain, threadStart } from './thread-messages.js';
import { VolumeIo } from './volume-io.js';

const thread = new DataThread(threadStart() as DataThreadStart);
const { backing, cache, misses, slots } = thread;

/** Misses must not hold up hits: where both want the same processor, a queue worker has it first. For Linux, 0 is the calling thread, not its process. */
const NICE = 5;

function serveWithRing(ring: BackingRing): void {
  setPriority(0, NICE);
  const server = new MissServer({
    cache,
    slots,
    lane: misses,
    ring,
    alignmentBytes: backing.handle.alignment.offsetBytes,
    shouldStop: () => thread.isSet(GatewayWord.stopLanes),
    answer: (slot, result) => answer(thread, slot, result),
    onError: noteRequestError,
  });
  tellMain({ type: 'ready' });
  server.serve();
  ring.close();
  thread.end();
  tellMain({ type: 'ended' });
}

function serveBlocking(): void {
  const io = new VolumeIo(cache, backing, {
    waitForRoom() {
      throw new PcacheError('internal', 'a read waits for room');
    },
  });
  serveLane(thread, misses.requests, (tuple) => answerRead(io, slots.slot(tuple[0]!)));
}

function answerRead(io: VolumeIo, slot: RequestSlot): void {
  let result = slot.reopen();
  if (result === 0) {
    const { request } = slot;
    const length = Math.max(0, Math.min(request.sizeBytes, cache.shared.volumeBytes - request.offsetBytes));
    const { counters } = cache;
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

const ring = misses.claim(() => backing.ring(RING_DEPTH));
if (ring === undefined) serveBlocking();
else serveWithRing(ring);
