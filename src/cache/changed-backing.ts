// Whether the backing device was written to while the cache was closed: what is cached is older then, and the two together are no volume that ever was.
//
// No proof, no refusal: the gateway header must say that the cache was closed in order, with a print of the backing device, and the kernel must not have
// used the cache since, which writes back and leaves the header alone. So after a crash nothing is compared.

import type { BackingDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import type { BackingPrint } from '../media/backing-print.js';
import { CUT_PRINT, isCutPrint, recordsCrc } from '../media/backing-print.js';
import type { GatewayHeader } from '../media/gateway-header.js';
import { exactSize } from '../media/size-text.js';
import type { BackingFacts } from './check-records.js';

export interface BackingChange {
  /** What became of it, to follow its name. */
  readonly text: string;
  /** It was cut while the cache was open. */
  readonly isCut: boolean;
}

/**
 * What is known of a change of the backing device since the cache was closed, or of a cut before that; `undefined` if nothing is. `control`: device bytes
 * from 0. `now`: asked only if there is something to compare.
 */
export function backingChange(
  header: GatewayHeader | undefined,
  control: Uint8Array,
  now: (() => BackingPrint | undefined) | undefined,
): BackingChange | undefined {
  if (header?.state !== 'clean' || header.backingPrint === undefined || now === undefined) return undefined;
  const then = header.backingPrint;
  if (then.recordsCrc !== recordsCrc(control)) return undefined;
  if (isCutPrint(then)) {
    return { text: 'was cut while it was in use, and what it lost can not be told, though it has its length again', isCut: true };
  }
  const print = now();
  if (print === undefined) return undefined;
  if (then.bytes === print.bytes && then.crc !== print.crc)
    return written(`its first ${exactSize(print.bytes)} are not what they were then`);
  // A file may have been used as a loop device, or the other way round: then there is one time only.
  if (then.changed === undefined || print.changed === undefined) return undefined;
  const { seconds, nanoseconds } = print.changed;
  if (then.changed.seconds === seconds && then.changed.nanoseconds === nanoseconds) return undefined;
  return written(`it was last changed at ${timeText(print.changed)}, not at ${timeText(then.changed)} as then`);
}

function written(how: string): BackingChange {
  return { text: `was written to after the cache was closed: ${how}; what the cache holds may be older than that`, isCut: false };
}

/** The refusal. `adoptWith`: how the user says that the cache is to be used all the same. */
export function changedBackingError(change: BackingChange, dirtyBytes: number, adoptWith: string): PcacheError {
  return new PcacheError('mismatch', `the backing device ${change.text}`, { hint: waysOut(change, dirtyBytes, adoptWith) });
}

function waysOut({ isCut }: BackingChange, dirtyBytes: number, adoptWith: string): string {
  if (isCut) {
    const first = 'Bring its content back from a copy first.';
    return dirtyBytes === 0
      ? `${first} Nothing is dirty: pcache format of the cache empties it; ${adoptWith} uses it as it is.`
      : `${first} Then pcache recover with --adopt writes the ${dirtyBytes} bytes that only the cache has to it, and pcache format empties the cache; ${adoptWith} uses both as they are.`;
  }
  return dirtyBytes === 0
    ? `Nothing is dirty, so pcache format of the cache empties it and loses nothing; if the data is the same and only its time was set, use it with ${adoptWith}.`
    : `${dirtyBytes} bytes that only the cache has would go over what is newer: use it all the same with ${adoptWith}, then check what is on the volume; or drop them, with pcache format --force of the cache.`;
}

/** For `OpenOptions`: `undefined` if it can't be read, which is no reason not to open. */
export function printNow(backing: BackingDevice): BackingPrint | undefined {
  return printOf(backing, false);
}

/** All that is known of it without the cache. */
export function factsOf(backing: BackingDevice): BackingFacts {
  return { sizeBytes: backing.sizeBytes, identity: backing.identity, print: printNow(backing) };
}

/**
 * For the header of a cache that is being closed: `undefined` if it can't be taken, which is no reason not to close. Durable before it is
 * returned. A device that `isFailing` is not worth a wait. CUT_PRINT for one that was cut.
 */
export function printAtClose(backing: BackingDevice, isFailing = false): BackingPrint | undefined {
  if (isCut(backing, isFailing)) return CUT_PRINT;
  return isFailing ? undefined : printOf(backing, true);
}

/** A device that fails is not asked. */
function isCut(backing: BackingDevice, isFailing: boolean): boolean {
  if (isFailing) return (backing.lostBytes ?? 0) > 0;
  try {
    backing.requireWhole?.();
    return false;
  } catch (error) {
    if (error instanceof PcacheError) return true;
    throw error;
  }
}

function printOf(backing: BackingDevice, durable: boolean): BackingPrint | undefined {
  try {
    return backing.print?.({ durable });
  } catch (error) {
    if (error instanceof PcacheError) return undefined;
    throw error;
  }
}

/** As ISO 8601 has it, with nanoseconds; in seconds if that is no time of any calendar. */
export function timeText({ seconds, nanoseconds }: NonNullable<BackingPrint['changed']>): string {
  const date = new Date(seconds * 1000);
  const fraction = String(nanoseconds).padStart(9, '0');
  return Number.isNaN(date.getTime()) ? `${seconds}.${fraction} s` : date.toISOString().replace('.000Z', `.${fraction}Z`);
}
