// Whether loop devices can be tested here, and one that is gone when the test is over.

import * as fs from 'node:fs';
import type { ExecutionContext } from 'ava';
import { attachLoop, detachLoop, listLoops, type AttachLoopOptions, type SeenLoop } from '../../src/device/loop-device.js';
import { PcacheError } from '../../src/errors.js';
import { abortConnection } from '../../src/fuse/connection.js';
import { readMounts } from '../../src/fuse/mountinfo.js';
import { isRoot } from './tmp.js';

/** Why not; undefined if they can. */
export const noLoopDevices = !isRoot ? 'needs root' : !fs.existsSync('/dev/loop-control') ? 'no /dev/loop-control' : undefined;

export function attachedLoop(t: ExecutionContext, file: string, options: AttachLoopOptions = {}): string {
  const device = attachLoop(file, options);
  t.teardown(() => detachIfOver(device, file));
  return device;
}

/** Of a volume that was taken away while a device is over it, what the kernel tells of its path. */
export const TAKEN_AWAY = '/volume.img';

/** Detaches the device if it is still over one of these files, deleted or not: by now it may be somebody else's. */
export function detachIfOver(device: string, ...files: readonly string[]): void {
  const names = files.flatMap((file) => [file, `${file} (deleted)`]);
  const own = listLoops().find((loop) => loop.device === device && names.includes(loop.backingFile));
  if (own !== undefined) detachOwn(own);
}

/**
 * Detaches what is over files and volumes below a folder. To be called while these volumes are still mounted: of a mount that was taken away the kernel no longer
 * tells where it was, and whoever then detaches by name alone may detach what is somebody else's by now.
 */
export function detachBelow(folder: string): void {
  const loops = listLoops().filter(({ backingFile }) => backingFile.startsWith(folder));
  if (loops.length === 0) return;
  // The kernel would wait for answers that a gateway that was stopped does not give.
  for (const { mountpoint, type, deviceMinor } of readMounts()) {
    if (mountpoint.startsWith(folder) && type.startsWith('fuse')) abortConnection(deviceMinor);
  }
  for (const loop of loops) detachOwn(loop);
}

/** Detaches what was seen, unless it has gone meanwhile. */
export function detachOwn(loop: SeenLoop): void {
  try {
    detachLoop(loop);
  } catch (error) {
    if (!(error instanceof PcacheError && error.code === 'not-found')) throw error;
  }
}
