// What is said of the loop devices that a dead volume leaves: they give errors from then on, and nobody else says which they were.

import { loopWithUses, loopsOver, orphanLoops } from '../gateway/loop-use.js';

/** What comes before a dead mount is cleaned up, or nothing. `mountpoint`: as `mountPointName` gives it. */
export function deadLoopsHint(path: string, mountpoint: string): string {
  const devices = loopsOver(mountpoint).map(({ device }) => loopWithUses(device));
  return devices.length === 0 ? '' : `First unmount what is on ${devices.join('; ')}; pcache loop detach ${path}. Then `;
}

/** Where nothing is mounted: a sentence about loop devices over volumes that were taken away, one of which may be the one asked for; or nothing. */
export function orphanHint(): string {
  return orphanLoops()
    .map(
      ({ device }) =>
        ` Left of a volume that was taken away in use: ${loopWithUses(device)}. Unmount what is on it, then pcache loop detach ${device}.`,
    )
    .join('');
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
