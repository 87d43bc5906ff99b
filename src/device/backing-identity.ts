// A name for a backing device that stays the same across reboots and renames, as far as the system has one. The gateway header keeps it, and `mount`
// refuses a device with another. Written once, so the forms below are part of the media format:
//
// - `file:FSID:INODE:BORN`       regular file; FSID is statfs f_fsid in hexadecimal. ext4, btrfs and tmpfs derive it from their UUID, XFS from the number of
//                                the device it is on (which may change with the order of disks). `dev-MAJOR-MINOR` where a file system has none.
//                                BORN is when the inode was made, SECONDS.NANOSECONDS: ext4 gives the number of a deleted file to the next one that is
//                                made. Without `:BORN` where it is not known, and in what was written before it was part of the name.
// - `block:KIND:VALUE`           the first of dm-uuid, md-uuid, partuuid, wwid, serial that sysfs knows
// - `PARENT+part@START`          a partition without UUID: its disk's identity and first sector
// - `loop-of:IDENTITY+OFFSET`    loop device: identity of its file, and where in it the device starts
// - `block:number:MAJOR:MINOR`   the last resort, stable only as long as the machine finds its devices in the same order

import * as fs from 'node:fs';
import * as path from 'node:path';
import type { DeviceFile } from './device-file.js';
import { majorMinorOf } from './device-number.js';
import { birthTimeOf, fileSystemOf } from './libc.js';
import { systemText } from './system-text.js';
import { errnoOf } from './system-error.js';

/** Identity of an open backing device. `sysfs` is another root than /sys in tests. */
export function backingIdentityOf(file: Pick<DeviceFile, 'fd' | 'kind'>, sysfs = '/sys'): string {
  const stat = fs.fstatSync(file.fd);
  return file.kind === 'file' ? fileIdentity(file.fd, stat) : blockIdentity(majorMinorOf(stat.rdev), sysfs);
}

function fileIdentity(fd: number, stat: fs.Stats): string {
  const { fsid } = fileSystemOf(fd);
  return `file:${/^0+$/.test(fsid) ? `dev-${majorMinorOf(stat.dev).replace(':', '-')}` : fsid}:${stat.ino}${birthOf(fd)}`;
}

/** Empty if it is not known. */
function birthOf(fd: number): string {
  const ns = birthTimeOf(fd);
  if (ns === undefined || ns <= 0n) return '';
  return `:${ns / 1_000_000_000n}.${String(ns % 1_000_000_000n).padStart(9, '0')}`;
}

/** Identity of the block device `MAJOR:MINOR`. */
export function blockIdentity(majorMinor: string, sysfs = '/sys'): string {
  let folder: string;
  try {
    folder = fs.realpathSync(path.join(sysfs, 'dev/block', majorMinor));
  } catch (error) {
    // No sysfs here: all that is known is the number.
    if (errnoOf(error) === undefined) throw error;
    return `block:number:${majorMinor}`;
  }
  return folderIdentity(folder, sysfs) ?? `block:number:${majorMinor}`;
}

function folderIdentity(folder: string, sysfs: string): string | undefined {
  if (systemText(folder, 'partition') !== undefined) {
    const uuid = /^PARTUUID=(\S+)$/m.exec(systemText(folder, 'uevent') ?? '')?.[1];
    if (uuid !== undefined) return `block:partuuid:${uuid.toLowerCase()}`;
    const parent = folderIdentity(path.dirname(folder), sysfs);
    return parent === undefined ? undefined : `${parent}+part@${systemText(folder, 'start') ?? '?'}`;
  }
  const loopFile = systemText(folder, 'loop/backing_file');
  if (loopFile !== undefined) return loopIdentity(loopFile, systemText(folder, 'loop/offset') ?? '0', sysfs);
  const kinds = [
    ['dm-uuid', 'dm/uuid'],
    ['md-uuid', 'md/uuid'],
    ['wwid', 'wwid'],
    ['wwid', 'device/wwid'],
    ['serial', 'serial'],
    ['serial', 'device/serial'],
  ] as const;
  for (const [kind, name] of kinds) {
    const value = systemText(folder, name);
    if (value !== undefined) return `block:${kind}:${value.replaceAll(/\s+/g, '_')}`;
  }
  return undefined;
}

function loopIdentity(file: string, offset: string, sysfs: string): string | undefined {
  let fd: number;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch (error) {
    // Deleted, or in another mount namespace: the loop device's number is all there is.
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
  try {
    const kind = fs.fstatSync(fd).isBlockDevice() ? 'block' : 'file';
    return `loop-of:${backingIdentityOf({ fd, kind }, sysfs)}+${offset}`;
  } finally {
    fs.closeSync(fd);
  }
}
