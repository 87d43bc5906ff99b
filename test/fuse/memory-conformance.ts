// The conformance suite on a MemoryMount: what the mount's transport does is all that differs.

import test from 'ava';
import { conformance } from './conformance.js';
import { MemoryMount, type MemoryMountOptions } from './memory-mount.js';

const SIZE_BYTES = 16 << 20;

/** @param skip why it can't run on this machine; undefined if it can */
export function memoryConformance(name: string, skip: string | undefined, options: Omit<MemoryMountOptions, 'sizeBytes'>): void {
  conformance(test, {
    name,
    skip,
    start: async () => {
      const mount = await MemoryMount.start({ sizeBytes: SIZE_BYTES, ...options });
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
