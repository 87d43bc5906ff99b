// `pcache loop attach|detach`: a block device over a mounted volume, with direct I/O. The loop device opens the volume from this process, never
// from the gateway's, which has to answer meanwhile.

import { join } from 'node:path';
import type { Command } from 'commander';
import { attachLoop, detachLoop, listLoops } from '../device/loop-device.js';
import { PcacheError } from '../errors.js';
import type { RuntimeEntry } from '../gateway/runtime-files.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import { addExample, type CommandContext } from './command.js';
import { addMountPoint, gatewayOf, mountPointMeant, runningEntryOf, type ConfigDirOption } from './gateway-of.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import { loopsOver } from './loops-over.js';

export function define(command: Command, { output }: CommandContext): void {
  command.description('Puts a loop device over a mounted volume, so that it can be used like a disk: mkfs, mount, LVM. Needs root.');
  const attach = addMountPoint(command.command('attach'))
    .summary('attach a loop device')
    .description('Attaches a loop device with direct I/O to the volume and prints its name.')
    .action(async (pathOrName: string, { configDir }: ConfigDirOption) => {
      const { entry, client } = await gatewayOf(pathOrName, configDir);
      const status = statusOfAnswer(await client.request({ op: 'status' }).finally(() => client.close()), ['read_only']);
      const device = attachLoop(volumeOf(entry), { readOnly: status.read_only });
      const directIo = listLoops().find((loop) => loop.device === device)?.directIo ?? false;
      if (!directIo) output.warn(`${device}: no direct I/O: what is written waits in the page cache`);
      output.result({ mountpoint: entry.mountpoint, device, direct_io: directIo }, () => device);
    });
  addExample(attach, 'pcache loop attach /mnt/vol');
  const detach = addMountPoint(command.command('detach'))
    .summary('detach the loop devices')
    .description('Detaches every loop device over the volume.')
    .action(async (pathOrName: string, { configDir }: ConfigDirOption) => {
      const mountpoint = await mountPointMeant(pathOrName, configDir);
      const name = mountPointName(mountpoint);
      const loops = loopsOver(name);
      if (loops.length === 0) {
        runningEntryOf(mountpoint);
        throw new PcacheError('not-found', `${mountpoint}: no loop device over it`);
      }
      const states = loops.map((loop) => ({ device: loop.device, state: detachLoop(loop.device) }));
      output.result({ mountpoint: name, devices: states }, () =>
        states
          .map(({ device, state }) =>
            state === 'detached' ? `${device} detached` : `${device} is in use; it goes when its last user does`,
          )
          .join('\n'),
      );
    });
  addExample(detach, 'pcache loop detach /mnt/vol');
  addExample(command, 'pcache loop attach /mnt/vol');
}

function volumeOf(entry: RuntimeEntry): string {
  return entry.mount_kind === 'directory' ? join(entry.mountpoint, 'volume.img') : entry.mountpoint;
}
