// The conformance suite on /dev/fuse, with files in memory: with answers that are sent together where there are several, and one by one.

import test from 'ava';
import { conformance } from './conformance.js';
import { MemoryMount, whyNoFuse } from './memory-mount.js';

const SIZE_BYTES = 16 << 20;

for (const isEager of [true, false]) {
  conformance(test, {
    name: isEager ? 'dev-fuse' : 'dev-fuse, one by one',
    skip: whyNoFuse(),
    start: async () => {
      const mount = await MemoryMount.start({ sizeBytes: SIZE_BYTES, isEager });
      return {
        mountpoint: mount.mountpoint,
        volumePath: mount.volumePath,
        sizeBytes: SIZE_BYTES,
        stop: async () => {
          const ends = await mount.stop();
          if (mount.errors.length > 0) throw new Error(mount.errors.join('; '));
          if (ends.some((end) => end !== 'unmounted')) throw new Error(`workers ended: ${ends.join(', ')}`);
        },
      };
    },
  });
}
