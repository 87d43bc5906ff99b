// A child of mapped-cache-device.test: adopts the device behind its descriptor 3 and stores in it; says so, then waits for its input to end.

import * as fs from 'node:fs';
import { adoptCacheDevice } from '../../src/device/mapped-cache-device.js';
import type { CacheDeviceHandle } from '../../src/device/mapped-cache-device.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';

const device = adoptCacheDevice({ ...(JSON.parse(process.argv[2]!) as CacheDeviceHandle), fd: 3 });
device.segment(1 as PhysicalSegmentId).bytes[100] = 44;
fs.writeSync(1, 'stored\n');
fs.readSync(0, new Uint8Array(1));
device.close();
