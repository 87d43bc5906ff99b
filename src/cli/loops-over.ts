// Loop devices over a mounted volume, and what to do about them when the volume is gone: they give errors from then on, and nobody else says which they were.

import { join } from 'node:path';
import { listLoops, type LoopDevice } from '../device/loop-device.js';

/**
 * Of a mount that is still there: once it is taken away the kernel does not know any more where their files were.
 * @param mountpoint as `mountPointName` gives it
 */
export function loopsOver(mountpoint: string): LoopDevice[] {
  return listLoops().filter(({ backingFile }) => backingFile === mountpoint || backingFile === join(mountpoint, 'volume.img'));
}

/**
 * What is said of those that a dead mount leaves. They are not detached: whose they are is not known, and neither is whether somebody waits for what comes of a
 * file system on them.
 */
export function orphanText(devices: readonly string[]): string {
  const are = devices.length === 1 ? 'is' : 'are';
  const it = devices.length === 1 ? 'it' : 'them';
  return `${devices.join(', ')} ${are} still attached to the dead volume and only ${devices.length === 1 ? 'gives' : 'give'} errors: unmount what is on ${it}, then losetup --detach ${devices.join(' ')}`;
}
