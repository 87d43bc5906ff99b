// Times the requests of one thread: says which of them are reads, writes and flushes of the volume. Whatever else is asked of the mount is not timed.
// Requests that end with an error are timed like the others.

import type { RequestTimer } from '../fuse/request-timer.js';
import type { RequestSlot } from '../fuse/request-slots.js';
import { LATENCY_PLACE, LatencyRecorder } from '../shared/latency.js';
import type { LatencyState } from '../shared/latency.js';
import { METRICS_NODEID, STATS_NODEID } from './node-ids.js';

export class RequestTimes implements RequestTimer {
  readonly #recorder: LatencyRecorder;

  /** `thread`: its slice of the histograms. */
  constructor(state: LatencyState, thread: number) {
    this.#recorder = new LatencyRecorder(state, thread);
  }

  get isTiming(): boolean {
    return this.#recorder.isTiming;
  }

  arrive(): void {
    this.#recorder.arrive();
  }

  answered(slot: RequestSlot): void {
    if (this.#recorder.isTiming) this.#recorder.finish(placeOf(slot));
  }

  /** The request goes to another thread with its slot: called before it does. */
  handOn(slotIndex: number): void {
    this.#recorder.handOn(slotIndex);
  }

  /** One that was handed on to this thread was answered; before its slot is given back. */
  answeredLater(slot: RequestSlot): void {
    this.#recorder.finishSlot(slot.index, placeOf(slot));
  }
}

function placeOf({ row, request }: RequestSlot): number {
  if (request.nodeid === STATS_NODEID || request.nodeid === METRICS_NODEID) return LATENCY_PLACE.other;
  switch (row?.name) {
    case 'READ':
      return LATENCY_PLACE.read;
    case 'WRITE':
      return LATENCY_PLACE.write;
    case 'FSYNC':
      return LATENCY_PLACE.flush;
    default:
      return LATENCY_PLACE.other;
  }
}
