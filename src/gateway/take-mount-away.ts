// The end of a mount whose engine can't or won't serve any more.

import { PcacheError } from '../errors.js';
import { abortConnection } from '../fuse/connection.js';
import { unmountFuse } from '../fuse/mount.js';

/**
 * Takes the mount out of sight and ends its FUSE connection: whoever still has the volume open gets errors instead of waiting for answers that nobody
 * is going to give. Throws PcacheError if it may not.
 */
export function takeMountAway(mountpoint: string, connection: number): void {
  unmountFuse(mountpoint, { lazy: true });
  try {
    abortConnection(connection);
  } catch (error) {
    // Without users the connection ended with the mount.
    if (!(error instanceof PcacheError && error.code === 'not-found')) throw error;
  }
}
