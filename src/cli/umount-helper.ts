// `pcache umount-helper`: what /sbin/umount.fuse.pcache runs, so that umount(8) returns when the daemon is gone, and says what stays in the cache, as
// `pcache umount` does. Without it umount(8) unmounts as well, and the daemon ends by itself; only nobody waits for it.

import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { unmountFuse } from '../fuse/mount.js';
import { addExample, type CommandContext } from './command.js';
import { parseHelperArguments } from './helper-arguments.js';
import { unmount } from './umount.js';

export function define(command: Command, context: CommandContext): void {
  command
    .usage('DIR [-flnrv] [-N namespace] [-t type]')
    .argument('[arguments...]', 'what umount(8) calls its helper with')
    .allowUnknownOption()
    .description('Unmounts as `pcache umount` does, called as umount(8) calls the helper of a file system. Not for use by hand.')
    .action((args: readonly string[]) => unmountAsHelper(args, context));
  addExample(command, 'pcache umount-helper /mnt/vol');
}

async function unmountAsHelper(args: readonly string[], context: CommandContext): Promise<void> {
  const { places, flags, namespace } = parseHelperArguments(args, 'flnrv', 'umount');
  const [folder] = places;
  if (folder === undefined || places.length > 1) throw new PcacheError('usage', 'umount: DIR is wanted');
  if (namespace !== undefined) throw new PcacheError('unsupported', `umount: namespace ${namespace}: only the caller's own is supported`);
  // umount --lazy does not wait for anybody, the daemon neither.
  if (flags.has('l')) unmountFuse(folder, { lazy: true });
  else await unmount(folder, { flush: false }, context);
}
