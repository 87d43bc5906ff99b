// What is to be mounted, put together from a configuration file and the command line, which goes before it: of options that exclude each other the later one
// wins, and the command line's come later.

import { PcacheError } from '../errors.js';
import type { LogLevel } from '../gateway/log-level.js';
import type { CommandContext } from './command.js';

export interface MountSettings {
  readonly cache: string;
  readonly backing: string;
  readonly mountpoint: string;
  /** As for `-o`, in order. */
  readonly options: readonly string[];
  /** `stderr`, `journal` or a path; undefined: a file of its own, or stderr in the foreground. */
  readonly log?: string | undefined;
  readonly logLevel: LogLevel;
  /** What the system's tables show as the source of the mount; undefined: the cache. */
  readonly fsName?: string | undefined;
}

/** What a command line may say besides the places. */
export interface MountSettingsOptions {
  readonly options?: readonly string[] | undefined;
  readonly log?: string | undefined;
  readonly configDir?: string | undefined;
}

/** The level that the command line names; undefined if it names none, and a configuration may. */
export function levelGiven({ globals }: CommandContext): LogLevel | undefined {
  return globals.isLogLevelGiven === true ? globals.logLevel : undefined;
}

/**
 * @param places CACHE BACKING MOUNTPOINT, or NAME alone
 * @param logLevel of the command line; undefined if it has none
 * Throws PcacheError `usage` for anything else, and what is wrong with a configuration file.
 */
export async function settingsOf(
  places: readonly (string | undefined)[],
  options: MountSettingsOptions,
  logLevel: LogLevel | undefined,
): Promise<MountSettings> {
  const [cache, backing, mountpoint] = places;
  if (cache !== undefined && backing === undefined) return settingsOfConfig(cache, options, logLevel);
  if (cache === undefined || backing === undefined || mountpoint === undefined) {
    throw new PcacheError('usage', 'mount: MOUNTPOINT is missing', {
      hint: 'pcache mount --help shows how to call it: CACHE BACKING MOUNTPOINT, or the NAME of a configuration.',
    });
  }
  return { cache, backing, mountpoint, options: options.options ?? [], log: options.log, logLevel: logLevel ?? 'info' };
}

/** As `settingsOf` of a name alone. */
export async function settingsOfConfig(
  name: string,
  options: MountSettingsOptions,
  logLevel: LogLevel | undefined,
): Promise<MountSettings> {
  // Loaded only here: a mount without configuration needs no YAML.
  const { configFolders, findConfig, readConfig } = await import('./config-file.js');
  const config = readConfig(findConfig(name, configFolders(options.configDir)));
  const { cache, backing, mountpoint, metricsListen } = config;
  return {
    cache,
    backing,
    mountpoint,
    options: [...config.options, ...(metricsListen === undefined ? [] : [`metrics_listen=${metricsListen}`]), ...(options.options ?? [])],
    log: options.log ?? config.log,
    logLevel: logLevel ?? config.logLevel ?? 'info',
  };
}
