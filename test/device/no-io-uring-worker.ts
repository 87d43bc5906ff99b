// A worker of backing-ring.test: uses a device's queue where io_uring is forbidden.

import { parentPort, workerData } from 'node:worker_threads';
import { openBackingQueue, SynchronousBackingQueue } from '../../src/device/backing-queue.js';
import { attachBackingDevice, type BackingDeviceHandle } from '../../src/device/file-backing-device.js';
import { whyNoIoUring } from '../../src/device/io-uring.js';
import { forbidIoUring } from '../support/forbid-io-uring.js';

forbidIoUring();
const device = attachBackingDevice(workerData as BackingDeviceHandle);
const queue = openBackingQueue(device, 2);
const memory = new Uint8Array(4096).fill(6);
const outcomes = [queue.submitWrite(1, 4096, memory, 0, 4096), queue.submitFlush(2), queue.submitFlush(3)];
queue.wait(2);
const tokens: number[] = [];
while (queue.next()) tokens.push(queue.completedError === undefined ? queue.completedToken : -1);
parentPort!.postMessage({
  errno: whyNoIoUring()?.errno,
  hasRing: device.ring(2) !== undefined,
  isSynchronous: queue instanceof SynchronousBackingQueue,
  outcomes,
  tokens,
});
queue.close();
device.close();
