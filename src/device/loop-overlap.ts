// Whether the same bytes are in use under another name: a file and a loop device over it, or two loop devices over one file. No lock of the kernel
// connects these, and two caches over one file would each overwrite what the other wrote back.
//
// Invariants:
// - Looks after the caller has its own lock. So of two users who come at once by different names, at least one sees the other.
// - Nothing is kept open or locked, and no file is touched that lies on a file system of a network or of a program, which may not answer, unless the
//   caller's own file is on it.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { PcacheError } from '../errors.js';
import { majorMinorOf } from './device-number.js';
import { errno } from './errno-codes.js';
import { flock } from './libc.js';
import { LOCK_NB, LOCK_SH } from './linux-constants.js';
import { systemText } from './system-text.js';
import { errnoOf } from './system-error.js';

const MAY_NOT_ANSWER = /^(fuse|nfs|cifs|smb|9p|ceph|afs|glusterfs)/;
/** Loop devices over loop devices over ...; nobody means more. */
const LAYERS_MAX = 8;

/** A range of a file or of a block device. */
interface Layer {
  /** Of a block device its number, of a file those of its file system and inode. */
  readonly key: string;
  readonly name: string;
  readonly kind: 'file' | 'block';
  readonly startBytes: number;
  readonly endBytes: number;
}

/** Throws PcacheError `in-use`, as `PATH: WHY`, if somebody else uses the bytes of `file` through a loop device or below one. */
export function requireNotUsedByOtherName(file: { path: string; fd: number; kind: 'file' | 'block'; sizeBytes: number }): void {
  const stat = fs.fstatSync(file.fd);
  const own: Layer = { key: keyOf(stat), name: file.path, kind: file.kind, startBytes: 0, endBytes: file.sizeBytes };
  const layers = [own, ...layersBelow(own, stat.dev)];
  for (const layer of layers.slice(1)) {
    if (isUsed(layer)) throw new PcacheError('in-use', `${file.path}: in use: what is below it, ${layer.name}, is in use itself`);
  }
  for (const loop of loopNames()) {
    const number = systemText(`/sys/block/${loop}`, 'dev');
    if (number === undefined) continue;
    const top: Layer = { key: `block ${number}`, name: `/dev/${loop}`, kind: 'block', startBytes: 0, endBytes: sizeOf(loop) };
    if (layers.some(({ key }) => key === top.key)) continue;
    const below = layersBelow(top, stat.dev);
    const shared = layers.find((layer) => below.some((each) => overlaps(layer, each)));
    if (shared !== undefined && isUsed(top)) {
      const over = shared === own ? 'it' : `the same ${shared.name}`;
      throw new PcacheError('in-use', `${file.path}: in use: ${top.name} over ${over} is mounted, or held by another pcache`);
    }
  }
}

function keyOf(stat: fs.Stats): string {
  return stat.isBlockDevice() ? `block ${majorMinorOf(stat.rdev)}` : `file ${stat.dev}:${stat.ino}`;
}

function overlaps(a: Layer, b: Layer): boolean {
  return a.key === b.key && a.startBytes < b.endBytes && b.startBytes < a.endBytes;
}

/** What is below a block device: the disk of a partition, the file of a loop device, and so on down. */
function layersBelow(top: Layer, ownDevice: number): Layer[] {
  const layers: Layer[] = [];
  let layer = top;
  while (layer.kind === 'block' && layers.length < LAYERS_MAX) {
    const folder = folderOf(layer.key.slice('block '.length));
    if (folder === undefined) break;
    const startSector = systemText(folder, 'partition') === undefined ? undefined : Number(systemText(folder, 'start'));
    // The kernel itself keeps users of a disk and of its partitions apart, so the disk is a layer only for the sake of what is below it.
    const disk = startSector === undefined ? folder : path.dirname(folder);
    const below = belowOf(path.basename(disk), ownDevice);
    if (below === undefined) break;
    const startBytes = below.startBytes + (startSector ?? 0) * 512 + layer.startBytes;
    layer = { ...below, startBytes, endBytes: startBytes + layer.endBytes - layer.startBytes };
    layers.push(layer);
  }
  return layers;
}

/** The part of its file that a loop device shows; undefined if it is none, or its file can't be looked at. */
function belowOf(loop: string, ownDevice: number): Layer | undefined {
  const folder = `/sys/block/${loop}`;
  const file = systemText(folder, 'loop/backing_file');
  if (file === undefined) return undefined;
  const mount = mountOf(file);
  if (mount !== undefined && MAY_NOT_ANSWER.test(mount.type) && mount.device !== majorMinorOf(ownDevice)) return undefined;
  try {
    const stat = fs.statSync(file);
    const startBytes = Number(systemText(folder, 'loop/offset') ?? 0);
    const kind = stat.isBlockDevice() ? 'block' : 'file';
    return { key: keyOf(stat), name: file, kind, startBytes, endBytes: startBytes + sizeOf(loop) };
  } catch (error) {
    // Deleted, or in another mount namespace.
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

function sizeOf(disk: string): number {
  return Number(systemText(`/sys/block/${disk}`, 'size') ?? 0) * 512;
}

function loopNames(): string[] {
  try {
    return fs.readdirSync('/sys/block').filter((name) => /^loop\d+$/.test(name));
  } catch (error) {
    // No sysfs here.
    if (errnoOf(error) === undefined) throw error;
    return [];
  }
}

function folderOf(majorMinor: string): string | undefined {
  try {
    return fs.realpathSync(`/sys/dev/block/${majorMinor}`);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

/** The mount that a path is on, by its name alone. */
function mountOf(file: string): { device: string; type: string } | undefined {
  let best: { device: string; type: string; length: number } | undefined;
  for (const line of (systemText('/proc/self', 'mountinfo') ?? '').split('\n')) {
    // 36 35 98:0 /root /mountpoint options ... - type source options
    const [before, after] = line.split(' - ');
    const fields = before!.split(' ');
    const point = fields[4]?.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
    if (point === undefined || after === undefined) continue;
    const isOn = file === point || file.startsWith(point.endsWith('/') ? point : `${point}/`);
    // Of two on one mount point the later one is on top.
    if (isOn && point.length >= (best?.length ?? 0)) best = { device: fields[2]!, type: after.split(' ')[0]!, length: point.length };
  }
  return best;
}

/** A block device that is held exclusively, or a file that another pcache has locked. What can't be opened can't be told. */
function isUsed({ name, kind }: Layer): boolean {
  const exclusively = kind === 'block' ? fs.constants.O_EXCL : 0;
  let fd: number;
  try {
    fd = fs.openSync(name, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK | exclusively);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return errnoOf(error) === errno.EBUSY;
  }
  try {
    if (kind === 'file') flock(fd, LOCK_SH | LOCK_NB);
    return false;
  } catch (error) {
    if (errnoOf(error) !== errno.EAGAIN) throw error;
    return true;
  } finally {
    fs.closeSync(fd);
  }
}
