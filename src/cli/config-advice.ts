// What speaks against a configuration that is right in itself: what it names isn't there yet, or the cache is in memory and nothing is written back at the end.

import { existsSync, statSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { RAMFS_MAGIC, TMPFS_MAGIC } from '../device/linux-constants.js';
import { parseMountOptions } from '../gateway/mount-options.js';
import type { MountConfig } from './config-text.js';

export type Places = Pick<MountConfig, 'cache' | 'backing' | 'mountpoint'>;

/** What is not there now, and may come before the mount does: KEY: PATH does not exist, and what makes it. */
export function missingOf(places: Places): string[] {
  const makes = {
    cache: `pcache format ${places.cache} --size 8G creates it`,
    backing: undefined,
    mountpoint: `mkdir -p ${places.mountpoint} does`,
  };
  return (['cache', 'backing', 'mountpoint'] as const).flatMap((key) => {
    if (existsSync(places[key])) return [];
    return [`${key}: ${places[key]} does not exist${makes[key] === undefined ? '' : ` (${makes[key]})`}`];
  });
}

/** What becomes of dirty data in a cache that is in memory, if the configuration does not say that it is written back. */
export function lossOf({ cache, options }: Pick<MountConfig, 'cache' | 'options'>): string[] {
  if (!isInMemory(cache) || parseMountOptions(options).flushOnStop) return [];
  return [
    `cache: ${cache} is in memory: a restart of the machine loses what is not written back; flush_on_stop: true below options writes it back whenever the mount ends in order`,
  ];
}

/** Whether this cache, or one that is made there, does not outlive the machine's next start. */
export function isInMemory(cache: string): boolean {
  const stats = statSync(cache, { throwIfNoEntry: false });
  const place = stats === undefined ? dirname(cache) : cache;
  // What is in /dev itself is a device, and says nothing of where its data is.
  if (stats?.isFile() === false || place === '/dev' || !existsSync(place)) return false;
  const { type } = statfsSync(place);
  return type === TMPFS_MAGIC || type === RAMFS_MAGIC;
}
