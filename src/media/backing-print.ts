// The print of a backing device: how it can be told that somebody wrote to it. A file has a time of change that any write moves on; of a block device the
// start is looked at, where every file system, partition table and volume manager changes something when it is used. The gateway header keeps the print
// that was taken when the cache was closed. It proves a change, and never that there was none.

import type { CopyOffsets } from './two-copy-record.js';
import { CACHE_INFO_BYTES } from './cache-info.js';
import { pcacheCrc } from './crc32c.js';
import { CACHE_INFO_OFFSETS } from './layout.js';
import { TAIL_BYTES, TAIL_OFFSETS } from './tails.js';

/** So much of the start of the backing device, or all of a smaller one. */
export const PRINT_BYTES_MAX = 256 * 1024;

export interface BackingPrint {
  /** How many bytes from the start `crc` is of: 1 to PRINT_BYTES_MAX. */
  readonly bytes: number;
  /** CRC of the format, as everywhere on the media. */
  readonly crc: number;
  /** When a file's content was last changed (mtime, since 1970). Not there: a block device, or a time before 1970. */
  readonly changed?: { readonly seconds: number; readonly nanoseconds: number };
}

/** As the gateway header keeps it. */
export interface StoredPrint extends BackingPrint {
  /** See `recordsCrc`. */
  readonly recordsCrc: number;
}

/**
 * In place of a print: the device was cut while it was used, and what it lost nobody knows. Its time is none that a print has, so a program that does not
 * know this one takes a file with it for changed.
 */
export const CUT_PRINT: BackingPrint = { bytes: 1, crc: 0, changed: { seconds: 1, nanoseconds: 0 } };

export function isCutPrint({ changed }: BackingPrint): boolean {
  return changed?.seconds === CUT_PRINT.changed?.seconds && changed?.nanoseconds === CUT_PRINT.changed?.nanoseconds;
}

export function printIsValid({ bytes, crc, changed }: BackingPrint): boolean {
  const isTime =
    changed === undefined ||
    (Number.isSafeInteger(changed.seconds) &&
      changed.seconds > 0 &&
      Number.isInteger(changed.nanoseconds) &&
      changed.nanoseconds >= 0 &&
      changed.nanoseconds < 1e9);
  return (
    Number.isInteger(bytes) && bytes > 0 && bytes <= PRINT_BYTES_MAX && Number.isInteger(crc) && crc >= 0 && crc <= 0xffffffff && isTime
  );
}

/**
 * CRC over all copies of cache_info and of the tails, as they stand. The kernel stores cache_info whenever it starts a cache, and dirty_tail when it has
 * written something back; so as long as this is the same, the kernel has not used the cache. `control`: device bytes from 0.
 */
export function recordsCrc(control: Uint8Array): number {
  const copiesOf = (offsets: CopyOffsets, sizeBytes: number): Uint8Array[] => offsets.map((at) => control.subarray(at, at + sizeBytes));
  return pcacheCrc(
    Buffer.concat([
      ...copiesOf(CACHE_INFO_OFFSETS, CACHE_INFO_BYTES),
      ...copiesOf(TAIL_OFFSETS.key_tail, TAIL_BYTES),
      ...copiesOf(TAIL_OFFSETS.dirty_tail, TAIL_BYTES),
    ]),
  );
}
