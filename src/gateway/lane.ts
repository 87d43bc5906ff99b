// What the workers of the lanes have in common: taking requests from their ring until they are told to stop, and answering them.

import { PcacheError } from '../errors.js';
import { sendAnswer } from '../fuse/answer.js';
import type { RequestSlot } from '../fuse/request-slots.js';
import type { IntRing } from '../shared/int-ring.js';
import { GatewayWord } from './gateway-shared.js';
import type { DataThread } from './gateway-shared.js';
import { noteRequestError } from './request-errors.js';
import { tellMain } from './thread-messages.js';

/** Bounded, so that an order to stop is seen even if its wake-up went to somebody else. */
const WAIT_MS = 1000;

/** The life of a lane's worker: `serve` gets each tuple, in memory that is reused. What is in the ring when the order to stop comes is still served. */
export function serveLane(thread: DataThread, lane: IntRing, serve: (tuple: Int32Array) => void): void {
  const tuple = new Int32Array(lane.width);
  tellMain({ type: 'ready' });
  while (true) {
    if (lane.pop(tuple)) serve(tuple);
    else if (thread.isSet(GatewayWord.stopLanes)) break;
    else lane.waitNotEmpty(WAIT_MS);
  }
  thread.end();
  tellMain({ type: 'ended' });
}

/** Answers a request that was handed on, and gives its slot back. */
export function answer(thread: DataThread, slot: RequestSlot, result: number): void {
  const name = slot.row?.name ?? 'request';
  const failure = sendAnswer(slot, result);
  thread.times.answeredLater(slot);
  if (failure !== 0) noteRequestError(name, new PcacheError('io', `answer refused by the kernel: errno ${-failure}`, { errno: -failure }));
  thread.slots.give(slot);
}
