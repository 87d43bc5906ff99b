// The arguments with which mount(8) and umount(8) run a helper, and the words of fstab among them.
//
// mount.TYPE SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE.SUBTYPE]
// umount.TYPE DIR [-flnrv] [-N NAMESPACE] [-t TYPE.SUBTYPE]

import { PcacheError } from '../errors.js';
import { mountOptionRows } from '../gateway/mount-options.js';

export interface HelperArguments {
  /** SOURCE and DIR, or DIR alone. */
  readonly places: readonly string[];
  /** Letters of the flags. */
  readonly flags: ReadonlySet<string>;
  readonly options: readonly string[];
  readonly namespace: string | undefined;
}

/** Throws PcacheError `usage`. */
export function parseHelperArguments(args: readonly string[], flagLetters: string, name: string): HelperArguments {
  const places: string[] = [];
  const flags = new Set<string>();
  const options: string[] = [];
  let namespace: string | undefined;
  let areFlagsOver = false;
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (areFlagsOver || !/^-./.test(arg)) {
      places.push(arg);
    } else if (arg === '--') {
      areFlagsOver = true;
    } else if (/^-[oNt]/.test(arg)) {
      const value = arg.length > 2 ? arg.slice(2) : args[++at];
      if (value === undefined) throw new PcacheError('usage', `${name}: ${arg}: needs a value`);
      if (arg[1] === 'o') options.push(...value.split(',').filter((option) => option !== ''));
      else if (arg[1] === 'N') namespace = value;
    } else {
      const letters = Array.from(arg.slice(1));
      if (letters.some((letter) => !flagLetters.includes(letter))) throw new PcacheError('usage', `${name}: ${arg}: unknown option`);
      for (const letter of letters) flags.add(letter);
    }
  }
  return { places, flags, options, namespace };
}

/** Of mount(8), systemd and fstab: for others than the program that mounts, or true of every such mount, or without meaning for it. */
const GENERIC_OPTIONS = new Set([
  ...[
    'defaults',
    'auto',
    'noauto',
    'nofail',
    '_netdev',
    'user',
    'nouser',
    'users',
    'nousers',
    'owner',
    'noowner',
    'group',
    'nogroup',
    'loop',
  ],
  // The files of a mount are neither programs nor devices, whatever is asked for: it is always nosuid and nodev.
  ...['exec', 'noexec', 'suid', 'nosuid', 'dev', 'nodev'],
  ...['sync', 'async', 'dirsync', 'atime', 'noatime', 'diratime', 'nodiratime', 'relatime', 'norelatime', 'strictatime', 'nostrictatime'],
  ...['lazytime', 'nolazytime', 'mand', 'nomand', 'iversion', 'noiversion', 'silent', 'loud', 'nosymfollow', 'symfollow'],
]);
const GENERIC_PREFIX = /^(?:x-|X-|comment=|helper=|uhelper=|(?:fs|def|root)?context=|pri=|uid_fstab=)/;

/** Options of the command `pcache mount` that a line of fstab can have too. */
export interface HelperMountOptions {
  readonly options: string[];
  log: string | undefined;
  logLevel: string | undefined;
  configDir: string | undefined;
}

/**
 * Tells the options that are for this program from the generic ones.
 * @param isSloppy leave out what nobody knows (mount -s)
 * Throws PcacheError `unsupported` for what asks for something other than a new mount.
 */
export function helperMountOptions(options: readonly string[], isSloppy: boolean): HelperMountOptions {
  const result: HelperMountOptions = { options: [], log: undefined, logLevel: undefined, configDir: undefined };
  for (const option of options) {
    const equals = option.indexOf('=');
    const name = equals < 0 ? option : option.slice(0, equals);
    const value = equals < 0 ? '' : option.slice(equals + 1);
    if (['remount', 'bind', 'rbind', 'move', 'propagation'].includes(name)) {
      throw new PcacheError('unsupported', `mount option ${name}: a pcache volume can't be mounted that way`, {
        hint: name === 'remount' ? 'Unmount it and mount it again.' : 'mount(8) does that without a type.',
      });
    }
    if (name === 'log') result.log = value;
    else if (name === 'log_level') result.logLevel = value;
    else if (name === 'config_dir') result.configDir = value;
    else if (GENERIC_OPTIONS.has(option) || GENERIC_PREFIX.test(option)) continue;
    else if (!isSloppy || name === 'rw' || mountOptionRows.some((row) => row.name === name)) result.options.push(option);
  }
  return result;
}

/**
 * What a line of fstab calls its source: CACHE#BACKING, or NAME of a configuration. `\#` and `\\` stand for # and \ in a path.
 * Throws PcacheError `usage`.
 */
export function parseSource(source: string): { readonly cache: string; readonly backing: string } | { readonly name: string } {
  const parts: string[] = [];
  let part = '';
  for (let at = 0; at < source.length; at++) {
    const char = source.charAt(at);
    const next = source.charAt(at + 1);
    if (char === '\\' && (next === '#' || next === '\\')) {
      part += next;
      at++;
    } else if (char === '#') {
      parts.push(part);
      part = '';
    } else {
      part += char;
    }
  }
  parts.push(part);
  const [first = '', second, ...more] = parts;
  if (second === undefined && !first.includes('/')) return { name: first };
  if (second === undefined || first === '' || second === '' || more.length > 0) {
    throw new PcacheError('usage', `mount: ${source}: neither CACHE#BACKING nor the NAME of a configuration`, {
      hint: String.raw`Write \# for a # that is part of a path.`,
    });
  }
  return { cache: first, backing: second };
}
