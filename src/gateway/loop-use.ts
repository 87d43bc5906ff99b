// Loop devices over a volume, and who uses them, in the words of messages. Invariant: only /proc and /sys are read, so a volume that is dead can't hang this.

import { lstatSync, readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { listLoops, type LoopDevice } from '../device/loop-list.js';
import { errnoOf } from '../device/system-error.js';
import { readMounts } from '../fuse/mountinfo.js';
import { whoUses } from '../fuse/who-uses.js';

const VOLUME_FILE = 'volume.img';

/**
 * Of a mount that is still there, dead or alive: once it is taken away the kernel does not know any more where their files were.
 * @param mountpoint as `mountPointName` gives it
 */
export function loopsOver(mountpoint: string): LoopDevice[] {
  return listLoops().filter(({ backingFile }) => backingFile === mountpoint || backingFile === join(mountpoint, VOLUME_FILE));
}

/**
 * Those over the volume of a mount that was taken away while they used it. Which mount that was, and whether its gateway is dead, nobody can tell; the volume
 * that was mounted on a file is not known from other files.
 */
export function orphanLoops(): LoopDevice[] {
  // The path is then that in the mount, without what was above.
  const path = `/${VOLUME_FILE}`;
  const orphans = listLoops().filter(({ backingFile }) => backingFile === path || backingFile === `${path} (deleted)`);
  return orphans.length > 0 && lstatSync(path, { throwIfNoEntry: false }) === undefined ? orphans : [];
}

/**
 * What a loop device or a partition of it is to others, each as what follows "it is": `mounted on /mnt`, `swap space`, `part of /dev/mapper/vg-lv`. Of mounts, those
 * in this process's namespace.
 */
export function loopHolds(device: string): string[] {
  const name = basename(device);
  const own = `/sys/block/${name}`;
  const parts = [own, ...namesIn(own).flatMap((each) => (each.startsWith(`${name}p`) ? [join(own, each)] : []))];
  const numbers = new Set(parts.flatMap((part) => textOf(join(part, 'dev')) ?? []));
  const devices = new Set(parts.map((part) => `/dev/${basename(part)}`));
  const places = readMounts()
    .filter(({ deviceMajor, deviceMinor, source }) => numbers.has(`${deviceMajor}:${deviceMinor}`) || devices.has(source))
    .map(({ mountpoint }) => mountpoint);
  const swaps = (textOf('/proc/swaps') ?? '').split('\n').some((line) => devices.has(line.split(/\s/)[0]!));
  const holders = parts.flatMap((part) => namesIn(join(part, 'holders')));
  return [
    ...(places.length > 0 ? [`mounted on ${[...new Set(places)].join(' and ')}`] : []),
    ...(swaps ? ['swap space'] : []),
    ...holders.map((holder) => `part of ${nameOfHolder(holder)}`),
  ];
}

/** As `loopHolds`, and the processes that have it open: `open in dd (123)`. Empty if nobody can be seen. */
export function loopUses(device: string): string[] {
  const openIn = whoUses(device, [process.pid]).map((user) =>
    user.kind === 'process' ? `open in ${user.command} (${user.pid})` : `under ${user.device}`,
  );
  return [...loopHolds(device), ...openIn];
}

/** `/dev/loop0, which is mounted on /mnt`, or the device alone if nothing is known of it. */
export function loopWithUses(device: string): string {
  const uses = loopHolds(device);
  return uses.length === 0 ? device : `${device}, which is ${uses.join(', ')}`;
}

function nameOfHolder(holder: string): string {
  const mapped = textOf(`/sys/block/${holder}/dm/name`);
  return mapped === undefined ? `/dev/${holder}` : `/dev/mapper/${mapped}`;
}

function namesIn(folder: string): string[] {
  return orNothing(() => readdirSync(folder)) ?? [];
}

function textOf(file: string): string | undefined {
  return orNothing(() => readFileSync(file, 'utf8').trimEnd());
}

/** A device may go between two looks; then there is nothing to say about it. */
function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
