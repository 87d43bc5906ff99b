// The public interface: a cache as a program sees it, without FUSE. A program that wants a volume that others can use mounts it (`pcache mount`).
//
// - `openCache` is the interface for programs: promises, threads of its own, background writeback.
// - `openVolume` is for scripts that do one thing after another and have no event loop to keep free: every call blocks.
//
//     import { openCache } from 'pcache-gateway';
//     await using volume = await openCache({ cachePath: '/fast/cache.pmem', backingPath: '/slow/disk.img' });
//     await volume.write(4096, bytes);
//     await volume.flush();

export { PcacheError } from './errors.js';
export type { PcacheErrorCode } from './errors.js';
export { createCache } from './library/create-cache.js';
export type { CreateCacheOptions } from './library/messages.js';
export { openCache } from './library/open-cache.js';
export type { CachedVolume, CacheState, CacheStats, CallOptions, OpenCacheOptions } from './library/open-cache.js';
export { openVolume } from './library/sync-volume.js';
export type { OpenVolumeOptions, Volume } from './library/sync-volume.js';
export type { CounterTotals } from './shared/counters.js';
