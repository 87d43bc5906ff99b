// A worker of file-backing-device.test and backing-ring.test: writes single sectors of its own through its own object for the device, one after the other
// or, with `depth`, so many at a time.

import { workerData } from 'node:worker_threads';
import { openBackingQueue, type BackingQueue } from '../../src/device/backing-queue.js';
import { attachBackingDevice, type BackingDeviceHandle } from '../../src/device/file-backing-device.js';

const { handle, remainder, depth } = workerData as { handle: BackingDeviceHandle; remainder: number; depth?: number };
const device = attachBackingDevice(handle);
const queue = depth === undefined ? undefined : openBackingQueue(device, depth);
const sector = new Uint8Array(512).fill(remainder + 1);
for (let round = 0; round < 3; round++) {
  for (let index = remainder; index < handle.sizeBytes / 512; index += 4) {
    if (queue === undefined) device.write(index * 512, sector, 0, 512);
    else while (!queue.submitWrite(index, index * 512, sector, 0, 512)) takeOne(queue);
  }
  while (queue !== undefined && queue.inFlight > 0) takeOne(queue);
}
queue?.close();
device.close();

function takeOne(from: BackingQueue): void {
  from.wait(1);
  if (!from.next()) throw new Error('nothing completes');
  if (from.completedError !== undefined) throw from.completedError;
}
