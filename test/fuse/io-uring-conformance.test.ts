// The conformance suite on FUSE over io_uring, with files in memory.

import test from 'ava';
import { conformance } from './conformance.js';
import { MemoryMount, whyNoFuse } from './memory-mount.js';
import { whyNoRings } from '../../src/fuse/ring-support.js';

const SIZE_BYTES = 16 << 20;

conformance(test, {
  name: 'io-uring',
  skip: whyNoFuse() ?? whyNoRings(),
  start: async () => {
    const mount = await MemoryMount.start({ sizeBytes: SIZE_BYTES, ioUring: true });
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
