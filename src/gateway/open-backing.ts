// Opens the backing device of a mount.

import { openBackingDevice, type FileBackingDevice } from '../device/file-backing-device.js';
import { PcacheError } from '../errors.js';

/** As `openBackingDevice`. Where it can't be written, though it can be read, the hint says how to mount it. */
export function openBacking(path: string, { readOnly }: { readOnly: boolean }): FileBackingDevice {
  try {
    return openBackingDevice(path, { readOnly });
  } catch (error) {
    if (readOnly || !(error instanceof PcacheError) || error.code !== 'permission' || !isReadable(path)) throw error;
    throw new PcacheError(error.code, `${error.message}: it can't be opened for writing`, {
      cause: error,
      ...(error.errno === undefined ? {} : { errno: error.errno }),
      hint: 'Mount it with -o ro to read only.',
    });
  }
}

function isReadable(path: string): boolean {
  try {
    openBackingDevice(path, { readOnly: true }).close();
    return true;
  } catch (error) {
    if (error instanceof PcacheError) return false;
    throw error;
  }
}
