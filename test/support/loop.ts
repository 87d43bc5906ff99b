// Whether loop devices can be tested here, and one that is gone when the test is over.

import * as fs from 'node:fs';
import type { ExecutionContext } from 'ava';
import { attachLoop, detachLoop, type AttachLoopOptions } from '../../src/device/loop-device.js';
import { isRoot } from './tmp.js';

/** Why not; undefined if they can. */
export const noLoopDevices = !isRoot ? 'needs root' : !fs.existsSync('/dev/loop-control') ? 'no /dev/loop-control' : undefined;

export function attachedLoop(t: ExecutionContext, file: string, options: AttachLoopOptions = {}): string {
  const device = attachLoop(file, options);
  t.teardown(() => {
    detachLoop(device);
  });
  return device;
}
