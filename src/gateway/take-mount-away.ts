// The end of a mount whose engine can't or won't serve any more.

import { PcacheError } from '../errors.js';
import { abortAfter } from '../fuse/connection.js';
import { unmountFuse } from '../fuse/mount.js';

/**
 * Takes the mount out of sight and ends its FUSE connection: whoever still has the volume open gets errors instead of waiting for answers that nobody
 * is going to give. Throws PcacheError if it may not.
 */
export function takeMountAway(mountpoint: string, connection: number): void {
  const unmount = (): void => void unmountFuse(mountpoint, { lazy: true });
  try {
    abortAfter(connection, unmount);
  } catch (error) {
    if (!(error instanceof PcacheError && error.code === 'not-found')) throw error;
    // Somebody else has ended the connection, or nobody here can.
    unmount();
  }
}
