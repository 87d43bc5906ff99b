// Where the configuration files of mounts are, and what a name means: the file NAME.yaml (.yml, .json) of /etc/pcache, for who is not root also of their own
// folder, which comes first.

import { readFileSync, readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { nearest } from '../gateway/nearest.js';
import { parseConfig, type ConfigProblem, type MountConfig } from './config-text.js';

const SYSTEM_FOLDER = '/etc/pcache';
const EXTENSIONS = ['.yaml', '.yml', '.json'];
/** Nobody has that much to say about a mount. */
const CONFIG_BYTES_MAX = 64 * 1024;

export interface ConfigFile {
  readonly name: string;
  readonly path: string;
}

/** Folders in which names are looked up, in order. `named` is what `--config-dir` says. */
export function configFolders(named: string | undefined, env: NodeJS.ProcessEnv = process.env, uid = process.getuid?.() ?? 0): string[] {
  if (named !== undefined) return [named];
  if (env.PCACHE_CONFIG_DIR) return [env.PCACHE_CONFIG_DIR];
  if (uid === 0) return [SYSTEM_FOLDER];
  return [join(env.XDG_CONFIG_HOME ? env.XDG_CONFIG_HOME : join(homedir(), '.config'), 'pcache'), SYSTEM_FOLDER];
}

/** What can be the name of a configuration, as opposed to a path: it is a part of file names, and of names of units of systemd. */
export function isConfigName(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text);
}

/** All there are, in the order of their names; of two of the same name, the one that is used. */
export function listConfigs(folders: readonly string[]): ConfigFile[] {
  const found = new Map<string, ConfigFile>();
  for (const folder of folders) {
    for (const file of filesIn(folder)) if (!found.has(file.name)) found.set(file.name, file);
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The file of a name, or of a path to such a file. Throws PcacheError `not-found`, with the name that was probably meant; `usage` if there are two of one
 * name, or it is none.
 */
export function findConfig(nameOrPath: string, folders: readonly string[]): ConfigFile {
  if (nameOrPath.includes('/')) return { name: basename(nameOrPath, extname(nameOrPath)), path: nameOrPath };
  if (!isConfigName(nameOrPath)) {
    throw new PcacheError('usage', `${nameOrPath}: not a name of a configuration`, { hint: 'Letters, digits, dot, dash and _ make one.' });
  }
  for (const folder of folders) {
    const [first, second] = filesIn(folder).filter(({ name }) => name === nameOrPath);
    if (second !== undefined) throw new PcacheError('usage', `${nameOrPath}: there are both ${first!.path} and ${second.path}`);
    if (first !== undefined) return first;
  }
  const names = listConfigs(folders).map(({ name }) => name);
  const guess = nearest(nameOrPath, names);
  const where = folders.map((folder) => join(folder, `${nameOrPath}.yaml`)).join(', ');
  const hint =
    guess !== undefined
      ? `Did you mean ${guess}?`
      : names.length > 0
        ? `There are ${names.join(', ')}.`
        : `pcache config init ${nameOrPath} CACHE BACKING MOUNTPOINT writes one; without it: pcache mount CACHE BACKING MOUNTPOINT.`;
  throw new PcacheError('not-found', `${nameOrPath}: no such configuration: looked for ${where}`, { hint });
}

export interface CheckedConfig {
  /** Undefined if there are problems. */
  readonly config: MountConfig | undefined;
  readonly problems: readonly ConfigProblem[];
}

/** Throws PcacheError if the file can't be read. */
export function checkConfig({ path }: ConfigFile): CheckedConfig {
  let text: string;
  try {
    const stats = statSync(path);
    if (!stats.isFile()) throw new PcacheError('unsupported', `${path}: not a regular file`);
    if (stats.size > CONFIG_BYTES_MAX)
      throw new PcacheError('unsupported', `${path}: ${stats.size} bytes are too many for a configuration`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw error instanceof PcacheError ? error : systemErrorFrom(path, error);
  }
  return parseConfig(text);
}

/** Throws PcacheError `usage` with the first of its problems, FILE:LINE: KEY: WHY. */
export function readConfig(file: ConfigFile): MountConfig {
  const { config, problems } = checkConfig(file);
  if (config !== undefined) return config;
  const [first, ...others] = problems;
  const rest = others.length === 0 ? '' : `, and ${others.length} more: pcache config check ${file.name} lists them`;
  throw new PcacheError('usage', `${problemText(file, first!)}${rest}`, first!.hint === undefined ? {} : { hint: first!.hint });
}

export function problemText({ path }: ConfigFile, { line, message }: ConfigProblem): string {
  return `${path}:${line}: ${message}`;
}

function filesIn(folder: string): ConfigFile[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw systemErrorFrom(folder, error);
  }
  return names
    .filter((name) => EXTENSIONS.includes(extname(name)) && isConfigName(basename(name, extname(name))))
    .sort()
    .map((name) => ({ name: basename(name, extname(name)), path: join(folder, name) }));
}
