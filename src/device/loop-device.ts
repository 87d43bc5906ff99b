// Loop devices: a block device over the volume's file.
//
// Never call this in a process that serves the file itself: the kernel opens and reads the file meanwhile, and would wait for an answer that the
// blocked thread can't give. `pcache loop attach` is a process of its own.
//
// Layout of struct loop_config (linux/loop.h, 5.8 and later): fd u32 @0, block_size u32 @4, then struct loop_info64 @8, in which lo_offset u64 @24,
// lo_sizelimit u64 @32, lo_flags u32 @52, lo_file_name 64 bytes @56; 304 bytes in all.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { PcacheError } from '../errors.js';
import { attempt } from './device-file.js';
import { errno } from './errno-codes.js';
import { ioctl } from './libc.js';
import { loopNamed, type LoopDevice } from './loop-list.js';
import { errnoOf, systemErrorFrom } from './system-error.js';

export { listLoops, type LoopDevice } from './loop-list.js';

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CLR_FD = 0x4c01;
const LOOP_CONFIG_BYTES = 304;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_DIRECT_IO = 16;
const FILE_NAME_BYTES = 64;

// Another process may take the free device first; nobody loses this race often.
const ATTACH_ATTEMPTS = 32;
const DETACH_WAIT_MS = 2000;
const DETACH_PAUSE_MS = 20;

/** A loop device and the file that it was over when somebody looked. */
export type SeenLoop = Pick<LoopDevice, 'device' | 'backingFile'>;

export interface AttachLoopOptions {
  /** Ask for direct I/O on the file; `listLoops` tells whether the kernel could. Default true. */
  directIo?: boolean;
  readOnly?: boolean;
  /** Logical sector size, a power of two from 512 to 4096. Default 512. */
  sectorBytes?: number;
}

/** Attaches a file to a free loop device and returns `/dev/loopN`. Needs root. Throws PcacheError `permission`, `not-found` or what the kernel says. */
export function attachLoop(file: string, options: AttachLoopOptions = {}): string {
  const readOnly = options.readOnly ?? false;
  const fd = attempt(file, () => fs.openSync(file, readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR));
  try {
    const config = Buffer.alloc(LOOP_CONFIG_BYTES);
    config.writeUInt32LE(fd, 0);
    config.writeUInt32LE(options.sectorBytes ?? 512, 4);
    config.writeUInt32LE((readOnly ? LO_FLAGS_READ_ONLY : 0) | ((options.directIo ?? true) ? LO_FLAGS_DIRECT_IO : 0), 8 + 52);
    // Only for show; the kernel wants a terminating zero.
    config.write(path.resolve(file), 8 + 56, FILE_NAME_BYTES - 1);
    for (let left = ATTACH_ATTEMPTS; left > 0; left--) {
      const device = `/dev/loop${freeLoopNumber()}`;
      if (configure(device, file, config)) return device;
    }
    throw new PcacheError('busy', `${file}: loop device: all that were free were taken by others`);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * Detaches a loop device from the file that it was seen over, and from nothing else: the device of that name may be somebody else's by now. `deferred`: it is
 * still in use (mounted, or open) and the kernel detaches it when its last user closes it. Throws PcacheError `not-found` if nothing is attached to it any more,
 * or another file is.
 * @param loop as `listLoops` told it
 * @param waits whether to wait for users who only have a look; false where it is known that there are others
 */
export function detachLoop(loop: SeenLoop, { waits }: { waits: boolean } = { waits: true }): 'detached' | 'deferred' {
  const { device, backingFile } = loop;
  const name = path.basename(device);
  const fd = attempt(device, () => fs.openSync(device, fs.constants.O_RDONLY));
  try {
    // From here on it can be detached by others, but not given to anybody: what is open keeps it until it is closed.
    const now = loopNamed(name);
    if (now !== undefined && now.backingFile !== backingFile) {
      throw new PcacheError('not-found', `${device}: not over ${backingFile} any more`);
    }
    ioctl(fd, LOOP_CLR_FD, 0);
  } catch (error) {
    if (errnoOf(error) === errno.ENXIO) throw new PcacheError('not-found', `${device}: nothing is attached`, { errno: errno.ENXIO });
    throw error instanceof PcacheError && error.code === 'not-found' ? error : systemErrorFrom(`${device}: detach`, error);
  } finally {
    fs.closeSync(fd);
  }
  // udev opens the device for a moment after every change, which defers the end of it for that moment.
  for (let waitedMs = 0; waitedMs < DETACH_WAIT_MS; waitedMs += DETACH_PAUSE_MS) {
    const left = loopNamed(name);
    // What is there without `autoclear` was attached since.
    if (left?.backingFile !== backingFile || !left.autoclear) return 'detached';
    if (!waits) break;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, DETACH_PAUSE_MS);
  }
  return 'deferred';
}

function freeLoopNumber(): number {
  const control = attempt('/dev/loop-control', () => fs.openSync('/dev/loop-control', fs.constants.O_RDWR));
  try {
    return attempt('/dev/loop-control', () => ioctl(control, LOOP_CTL_GET_FREE, 0));
  } finally {
    fs.closeSync(control);
  }
}

/** False if another process has taken the device meanwhile. */
function configure(device: string, file: string, config: Uint8Array): boolean {
  const fd = attempt(device, () => fs.openSync(device, fs.constants.O_RDWR));
  try {
    ioctl(fd, LOOP_CONFIGURE, config);
    return true;
  } catch (error) {
    if (errnoOf(error) === errno.EBUSY) return false;
    throw systemErrorFrom(`${file}: attach to ${device}`, error);
  } finally {
    fs.closeSync(fd);
  }
}
