// `pcache mount-helper`: what /sbin/mount.fuse.pcache runs, so that `mount -t fuse.pcache`, /etc/fstab and autofs work.

import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { logLevels, type LogLevel } from '../gateway/log-level.js';
import { mountOptionRows } from '../gateway/mount-options.js';
import { addExample, type CommandContext } from './command.js';
import { helperMountOptions, parseHelperArguments, parseSource } from './helper-arguments.js';
import { mount } from './mount.js';
import { levelGiven, settingsOfConfig, type MountSettings } from './mount-settings.js';

export function define(command: Command, context: CommandContext): void {
  command
    .usage('SOURCE DIR [-sfnv] [-N space] [-o options] [-t type]')
    .argument('[arguments...]', 'what mount(8) calls its helper with; SOURCE is CACHE#BACKING or the NAME of a configuration')
    .allowUnknownOption()
    .description('Mounts as `pcache mount` does, called as mount(8) calls the helper of a file system. Not for use by hand.')
    .action((args: readonly string[]) => mountAsHelper(args, context));
  addExample(command, "pcache mount-helper '/fast/cache.pmem#/dev/sdb' /mnt/vol -o rw,workers=4");
}

async function mountAsHelper(args: readonly string[], context: CommandContext): Promise<void> {
  const { places, flags, options, namespace } = parseHelperArguments(args, 'sfnvrw', 'mount');
  const [source, folder] = places;
  if (source === undefined || folder === undefined || places.length > 2) {
    throw new PcacheError('usage', 'mount: SOURCE and DIR are wanted', { hint: 'mount -t fuse.pcache CACHE#BACKING DIR -o OPTIONS' });
  }
  if (namespace !== undefined) throw new PcacheError('unsupported', `mount: namespace ${namespace}: only the caller's own is supported`);
  const given = helperMountOptions(options, flags.has('s'));
  if (flags.has('r')) given.options.push('ro');
  const logLevel = logLevelOf(given.logLevel) ?? levelGiven(context);
  const settings = await settingsOfSource(source, folder, given, logLevel);
  // mount --fake: everything but the mount itself.
  if (flags.has('f')) return;
  if (!flags.has('v')) context.globals.quiet = true;
  await mount(context, settings, false);
}

async function settingsOfSource(
  source: string,
  folder: string,
  given: ReturnType<typeof helperMountOptions>,
  logLevel: LogLevel | undefined,
): Promise<MountSettings> {
  const parsed = parseSource(source);
  const { options, log, configDir } = given;
  const places = { mountpoint: folder, fsName: source };
  if ('cache' in parsed) return { ...parsed, ...places, options, log, logLevel: logLevel ?? 'info' };
  const settings = await settingsOfConfig(parsed.name, { options: withoutDefault(options), log, configDir }, logLevel);
  return { ...settings, ...places };
}

/** mount(8) adds `rw` where nobody asked for `ro`: it must not undo the `ro` of a configuration. */
function withoutDefault(options: readonly string[]): string[] {
  return options.filter((option) => option !== 'rw');
}

function logLevelOf(text: string | undefined): LogLevel | undefined {
  const level = logLevels.find((each) => each === text);
  if (text !== undefined && level === undefined) {
    throw new PcacheError('usage', `mount option log_level=${text}: not one of ${logLevels.join(', ')}`, {
      hint: `Mount options are ${mountOptionRows.map(({ name }) => name).join(', ')}, log, log_level.`,
    });
  }
  return level;
}
