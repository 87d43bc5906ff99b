// The first thing an administrator wants to know, in one sentence: is my data safe? From the last status alone; pure.

import { flushOutcome } from '../gateway/flush-outcome.js';
import type { StatusSnapshot } from '../gateway/status.js';
import { bytesText, countText, durationText } from './figures.js';
import type { Style } from './text.js';

export interface Verdict {
  readonly text: string;
  readonly style: Extract<Style, 'good' | 'warn' | 'bad'>;
}

/** The worst that is so comes first. */
export function verdictOf(status: StatusSnapshot): Verdict {
  const { state, dirty_bytes: dirtyBytes, persistence } = status;
  const dirty = bytesText(dirtyBytes);
  if (state === 'cache-error') return { text: 'The cache device fails: what was written since its last flush may be lost', style: 'bad' };
  if (status.corrupt_keys > 0 && dirtyBytes > 0) {
    return { text: `Damaged data in the cache (${countText(status.corrupt_keys, 'key')}): pcache check names its ranges`, style: 'bad' };
  }
  if (state === 'backing-error') {
    const held = dirtyBytes === 0 ? '' : `: ${dirty} are only in the cache`;
    return { text: `The backing device fails${held}`, style: 'bad' };
  }
  if (dirtyBytes === 0) return { text: 'All data is on the backing device', style: 'good' };
  if (state === 'cache-full')
    return { text: `The cache is full: writers wait for the backing device (${dirty} are only in the cache)`, style: 'warn' };
  return persistence === 'memory'
    ? { text: `${dirty} are only in the cache, which is memory: don't cut the power`, style: 'warn' }
    : { text: `${dirty} are only in the cache: don't pull the cache device`, style: 'warn' };
}

/** Of a volume whose supervisor and engine are both dead: what is dirty now nobody knows. */
export function deadText(mountpoint: string): string {
  return `The gateway is dead: pcache umount ${mountpoint}, then mount again`;
}

/** What is to become of a volume that was told to end while it was in use. */
export const UNMOUNT_WANTED_TEXT = 'will unmount when its users are gone';

/** What a flush has come to that has not failed: `dirtyBytes` were dirty when it began, and `after` is the status at its end. */
export function flushedNotice(dirtyBytes: number, after: StatusSnapshot, tookSeconds: number): Verdict {
  const { writtenBytes, isDamaged } = flushOutcome(dirtyBytes, after);
  const written =
    writtenBytes === 0
      ? 'nothing was dirty'
      : `${bytesText(writtenBytes)} written back in ${tookSeconds < 1 ? 'less than a second' : durationText(tookSeconds)}`;
  if (!isDamaged) return { text: `Flushed: ${written}`, style: 'good' };
  const stays = `damaged data stays in the cache (${countText(after.corrupt_keys, 'key')}): pcache check names its ranges`;
  return { text: writtenBytes === 0 ? `Not flushed: ${stays}` : `Flushed: ${written}, but ${stays}`, style: 'bad' };
}

/** When the dirty data of now will be on the backing device. */
export function cleanText(status: StatusSnapshot): string {
  if (status.dirty_bytes === 0) return 'clean';
  if (status.writeback_paused) return 'paused';
  return status.clean_in_s === null ? 'not known yet' : `in ${durationText(status.clean_in_s)}`;
}

/** How long ago the oldest write was made that only the cache has. */
export function oldestText(status: StatusSnapshot, nowMs: number): string {
  const { dirty_since_ms: since } = status;
  return since === null ? '-' : `${durationText((nowMs - since) / 1000)} ago`;
}
