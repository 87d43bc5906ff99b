// `pcache loop attach|detach`: a block device over a mounted volume, with direct I/O. The loop device opens the volume from this process, never
// from the gateway's, which has to answer meanwhile.

import { join } from 'node:path';
import type { Command } from 'commander';
import { attachLoop, detachLoop, listLoops, type LoopDevice } from '../device/loop-device.js';
import { PcacheError } from '../errors.js';
import { readMounts } from '../fuse/mountinfo.js';
import { loopHolds, loopUses, loopWithUses, loopsOver, orphanLoops } from '../gateway/loop-use.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import type { RuntimeEntry } from '../gateway/runtime-files.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import { addExample, type CommandContext } from './command.js';
import { PCACHE_FILE_SYSTEM_TYPE, addMountPoint, gatewayOf, mountPointMeant, runningEntryOf, type ConfigDirOption } from './gateway-of.js';
import type { Output } from './output.js';

interface Detached {
  readonly device: string;
  readonly state: 'detached' | 'deferred';
  /** What keeps it, as `loopUses` says. */
  readonly used_by: readonly string[];
}

export function define(command: Command, { output }: CommandContext): void {
  command.description('Puts a loop device over a mounted volume, so that it can be used like a disk: mkfs, mount, LVM. Needs root.');
  const attach = addMountPoint(command.command('attach'))
    .summary('attach a loop device')
    .description('Attaches a loop device with direct I/O to the volume and prints its name. Refused if one is attached already.')
    .action(async (pathOrName: string, { configDir }: ConfigDirOption) => {
      const { entry, client } = await gatewayOf(pathOrName, configDir);
      const status = statusOfAnswer(await client.request({ op: 'status' }).finally(() => client.close()), ['read_only']);
      refuseBeside(loopsOver(entry.mountpoint), entry.mountpoint);
      const device = attachLoop(volumeOf(entry), { readOnly: status.read_only });
      giveWay(device, entry.mountpoint);
      const directIo = listLoops().find((loop) => loop.device === device)?.directIo ?? false;
      if (!directIo) output.warn(`${device}: no direct I/O: what is written waits in the page cache`);
      output.result({ mountpoint: entry.mountpoint, device, direct_io: directIo }, () => device);
    });
  addExample(attach, 'pcache loop attach /mnt/vol');
  const detach = addMountPoint(command.command('detach'), ', or the loop device')
    .summary('detach the loop devices')
    .description(
      'Detaches every loop device over the volume, or the one that is named. Fails if one is in use: that goes when its last user does.',
    )
    .action(async (pathOrName: string, { configDir }: ConfigDirOption) => {
      if (/^\/dev\/loop\d+$/.test(pathOrName)) detachAll(undefined, [loopOverVolume(pathOrName)], output);
      else detachOver(await mountPointMeant(pathOrName, configDir), output);
    });
  addExample(detach, 'pcache loop detach /mnt/vol', 'pcache loop detach /dev/loop0');
  addExample(command, 'pcache loop attach /mnt/vol');
}

/** Two file systems, or one that is mounted twice, on one volume would destroy it. Throws PcacheError `in-use` if there is a device already. */
function refuseBeside([first, ...others]: readonly LoopDevice[], mountpoint: string): void {
  if (first === undefined) return;
  const more = others.map(({ device }) => ` and ${device}`).join('');
  throw new PcacheError('in-use', `loop attach: ${mountpoint}: attached already: ${loopWithUses(first.device)}${more}`, {
    hint: `Use ${first.device}, or detach it first: what is written through two devices at a time is destroyed.`,
  });
}

/** Who attached at the same moment as somebody else finds two now. Of them one gives way, or both, but never none. Throws PcacheError `in-use`. */
function giveWay(device: string, mountpoint: string): void {
  const loops = loopsOver(mountpoint);
  const own = loops.find((each) => each.device === device);
  const others = loops.filter((each) => each !== own);
  if (own !== undefined && others.length > 0) detachIfStillOver(own, { waits: true });
  refuseBeside(others, mountpoint);
}

function detachOver(path: string, output: Output): void {
  const mountpoint = mountPointName(path);
  const loops = loopsOver(mountpoint);
  if (loops.length === 0) {
    runningEntryOf(path);
    throw new PcacheError('not-found', `${path}: no loop device over it`);
  }
  detachAll(mountpoint, loops, output);
}

/** Throws PcacheError `busy` if one of them is in use, when all others are detached. */
function detachAll(mountpoint: string | undefined, loops: readonly LoopDevice[], output: Output): void {
  const results = loops.map(detachOne);
  const detached = results.filter(({ state }) => state === 'detached');
  if (output.json || detached.length > 0) {
    output.result({ mountpoint: mountpoint ?? null, devices: results }, () => detached.map(({ device }) => `${device} detached`));
  }
  const kept = results.filter(({ state }) => state === 'deferred');
  if (kept.length === 0) return;
  const goesByItself = listLoops().some(({ device, autoclear }) => autoclear && kept.some((each) => each.device === device));
  throw new PcacheError('busy', `loop detach: ${kept.map(keptText).join('; ')}`, {
    hint: goesByItself ? 'It is detached by itself when its last user is gone.' : 'End its users and try again.',
  });
}

function detachOne(loop: LoopDevice): Detached {
  const { device } = loop;
  // Others may only have a look, as udev does after every change. Who holds it like this is there to stay.
  const isHeld = loopHolds(device).length > 0;
  const state = detachIfStillOver(loop, { waits: !isHeld });
  return { device, state, used_by: state === 'detached' ? [] : loopUses(device) };
}

/** Whatever the device is over by now, if somebody else was faster, is not ours to detach. */
function detachIfStillOver(loop: LoopDevice, options: { waits: boolean }): 'detached' | 'deferred' {
  try {
    return detachLoop(loop, options);
  } catch (error) {
    if (error instanceof PcacheError && error.code === 'not-found') return 'detached';
    throw error;
  }
}

function keptText({ device, used_by: uses }: Detached): string {
  return `${device} is in use: ${uses.length > 0 ? uses.join(', ') : 'by somebody who cannot be seen from here'}`;
}

/** A loop device by its name, if it is over a volume that is mounted or was. Throws PcacheError `not-found`, `mismatch`. */
function loopOverVolume(device: string): LoopDevice {
  const loop = listLoops().find((each) => each.device === device);
  if (loop === undefined) throw new PcacheError('not-found', `${device}: nothing is attached`);
  const isOver = readMounts().some(
    ({ type, mountpoint }) => type === PCACHE_FILE_SYSTEM_TYPE && loopsOver(mountpoint).some((each) => each.device === device),
  );
  if (isOver || orphanLoops().some((each) => each.device === device)) return loop;
  throw new PcacheError('mismatch', `${device}: not over a pcache volume but over ${loop.backingFile}`, {
    hint: `losetup --detach ${device} detaches it all the same.`,
  });
}

function volumeOf(entry: RuntimeEntry): string {
  return entry.mount_kind === 'directory' ? join(entry.mountpoint, 'volume.img') : entry.mountpoint;
}
