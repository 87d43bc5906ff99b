// A process that has a cache open for writing, until its stdin ends.

import { openCacheDevice } from '../../src/device/mapped-cache-device.js';

const device = openCacheDevice(process.argv[2]!);
process.stdout.write('open\n');
process.stdin.on('end', () => {
  device.close();
});
process.stdin.resume();
