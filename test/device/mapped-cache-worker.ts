// A worker of mapped-cache-device.test: attaches a device by its handle and stores in it.

import { workerData } from 'node:worker_threads';
import { attachCacheDevice } from '../../src/device/mapped-cache-device.js';
import type { CacheDeviceHandle } from '../../src/device/mapped-cache-device.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';

const device = attachCacheDevice(workerData as CacheDeviceHandle);
device.segment(2 as PhysicalSegmentId).bytes[7] = 42;
device.control.bytes[9] = 43;
device.persist(0, 16);
device.close();
