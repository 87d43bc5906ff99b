// One producer or consumer of a ring. A producer pushes (id, 0), (id, 1), ... and waits by yielding when the ring is full; a consumer pops
// until it has seen the stop tuple (-1, 0), and posts everything it got, in order. With a count of 0 it waits once and posts whether there
// was something.

import { parentPort, workerData } from 'node:worker_threads';
import { IntRing } from '../../src/shared/int-ring.js';
import type { IntRingState } from '../../src/shared/int-ring.js';

const { ring: state, producer, count } = workerData as { ring: IntRingState; producer: number; count: number };
const ring = IntRing.attach(state);
const tuple = new Int32Array(2);

if (producer >= 0) {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < count; i++) {
    tuple[0] = producer;
    tuple[1] = i;
    while (!ring.push(tuple)) Atomics.wait(pause, 0, 0, 0.01);
  }
  parentPort?.postMessage([]);
} else if (count === 0) {
  parentPort?.postMessage(ring.waitNotEmpty(Infinity));
} else {
  const got: number[] = [];
  for (;;) {
    if (!ring.pop(tuple)) {
      ring.waitNotEmpty(20_000);
      continue;
    }
    if (tuple[0] === -1) break;
    got.push(tuple[0]!, tuple[1]!);
  }
  parentPort?.postMessage(got);
}
