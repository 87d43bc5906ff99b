// A worker of file-backing-device.test: writes single sectors of its own through its own object for the device.

import { workerData } from 'node:worker_threads';
import { attachBackingDevice, type BackingDeviceHandle } from '../../src/device/file-backing-device.js';

const { handle, remainder } = workerData as { handle: BackingDeviceHandle; remainder: number };
const device = attachBackingDevice(handle);
const sector = new Uint8Array(512).fill(remainder + 1);
for (let round = 0; round < 3; round++) {
  for (let index = remainder; index < handle.sizeBytes / 512; index += 4) device.write(index * 512, sector, 0, 512);
}
device.close();
