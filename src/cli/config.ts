// `pcache config`: configurations of mounts (/etc/pcache/NAME.yaml) written, checked and shown; and the files that let the system use them.

import { existsSync, mkdirSync, realpathSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { parseMountOptions } from '../gateway/mount-options.js';
import { addExample, type CommandContext } from './command.js';
import { lossOf, missingOf } from './config-advice.js';
import {
  checkConfig,
  configFolders,
  findConfig,
  isConfigName,
  listConfigs,
  problemText,
  readConfig,
  type ConfigFile,
} from './config-file.js';
import { parseConfig, type MountConfig } from './config-text.js';
import { configText } from './config-writer.js';
import type { Output } from './output.js';
import { count } from './range-text.js';
import { whatMayGo } from './program-place.js';
import { systemFiles, type SystemFile } from './system-files.js';

interface FolderOption {
  configDir?: string;
}

interface InitOptions extends FolderOption {
  options?: string[];
  force?: true;
}

interface InstallOptions {
  root?: string;
  remove?: true;
}

const FOLDER_OPTION = ['--config-dir <folder>', 'where the configurations are (default: /etc/pcache)'] as const;

export function define(command: Command, context: CommandContext): void {
  const { output } = context;
  command.description(
    'Configurations of mounts, /etc/pcache/NAME.yaml: `pcache mount NAME` and the service pcache@NAME serve what one says.',
  );
  const init = command
    .command('init')
    .summary('write a configuration')
    .description('Writes a configuration with comments that say what else there is. Leaves one that is there alone without --force.')
    .argument('<name>', 'what the mount is called from now on: letters, digits, dot, dash and _')
    .argument('<cache>', 'the cache')
    .argument('<backing>', 'the slow device or file below')
    .argument('<mountpoint>', 'where the volume is to be mounted')
    .option('-o, --options <list>', 'mount options, separated by commas', collect)
    .option('--force', 'write over the one that is there')
    .option(...FOLDER_OPTION)
    .action((name: string, cache: string, backing: string, mountpoint: string, options: InitOptions) => {
      initConfig(name, { cache, backing, mountpoint }, options, output);
    });
  addExample(init, 'pcache config init vol /fast/cache.pmem /dev/sdb /mnt/vol -o workers=4');
  const check = command
    .command('check')
    .summary('say what is wrong with configurations')
    .description('Checks one configuration or all: names file, line and key of everything that is wrong. Status 1 if anything is.')
    .argument('[name]', 'a configuration, or the path of one; all if left out')
    .option(...FOLDER_OPTION)
    .action((name: string | undefined, options: FolderOption) => {
      if (checkConfigs(name, options, output) > 0) context.exitStatus = 1;
    });
  addExample(check, 'pcache config check', 'pcache config check vol');
  const show = command
    .command('show')
    .summary('print what a configuration means')
    .description('Prints what a configuration means with everything it leaves out, and the command line that says the same.')
    .argument('<name>', 'a configuration, or the path of one')
    .option(...FOLDER_OPTION)
    .action((name: string, options: FolderOption) => showConfig(name, options, output));
  addExample(show, 'pcache config show vol');
  const install = command
    .command('install')
    .summary('install service and mount helper')
    .description(
      'Writes the unit pcache@.service of systemd and what mount(8) and umount(8) run for the type fuse.pcache, for this program where it is.',
    )
    .option('--root <folder>', 'write below this folder instead of /')
    .option('--remove', 'remove them again')
    .action((options: InstallOptions) => installFiles(options, output));
  addExample(install, 'pcache config install');
  addExample(
    command,
    'pcache config init vol /fast/cache.pmem /dev/sdb /mnt/vol',
    'pcache config check',
    'pcache config show vol',
    'pcache config install',
  );
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function initConfig(
  name: string,
  places: Pick<MountConfig, 'cache' | 'backing' | 'mountpoint'>,
  { options = [], force, configDir }: InitOptions,
  output: Output,
): void {
  if (!isConfigName(name)) {
    throw new PcacheError('usage', `config: ${name}: not a name of a configuration`, {
      hint: 'Letters, digits, dot, dash and _ make one.',
    });
  }
  parseMountOptions(options);
  const folder = configFolders(configDir)[0]!;
  const existing = listConfigs([folder]).find((file) => file.name === name);
  if (existing !== undefined && force !== true) {
    throw new PcacheError('holds-data', `${existing.path}: exists already`, { hint: '--force writes over it.' });
  }
  const path = existing?.path ?? join(folder, `${name}.yaml`);
  const config = {
    cache: resolve(places.cache),
    backing: resolve(places.backing),
    mountpoint: resolve(places.mountpoint),
    options: options.flatMap((list) => list.split(',')).filter((option) => option !== ''),
  };
  // What would be lost otherwise is worth an option that nobody asked for.
  const isFlushAdded = lossOf(config).length > 0 && !parseMountOptions(config.options).readOnly;
  if (isFlushAdded) config.options.push('flush_on_stop');
  const text = configText(config);
  const [problem] = parseConfig(text).problems;
  if (problem !== undefined) throw new PcacheError('usage', `config: ${problem.message}`);
  writeFile({ path, text, mode: 0o644 });
  const missing = missingOf(config);
  const notes = isFlushAdded
    ? [
        `cache: ${config.cache} is in memory: flush_on_stop is set, so that the end of a mount loses nothing; loss of power does`,
        ...missing,
      ]
    : missing;
  const warnings = notes.map((note) => `${path}: ${note}`);
  const command = ['pcache', 'mount', name, ...(configDir === undefined ? [] : ['--config-dir', configDir])].map(shellWord).join(' ');
  if (!output.json) for (const warning of warnings) output.warn(warning);
  output.result(
    { name, path, warnings },
    () => `${path}: written; ${command} mounts it${missing.length === 0 ? '' : ' when all of it is there'}`,
  );
}

/** @returns the number of problems */
function checkConfigs(name: string | undefined, { configDir }: FolderOption, output: Output): number {
  const folders = configFolders(configDir);
  const files = name === undefined ? listConfigs(folders) : [findConfig(name, folders)];
  const checked = files.map((file) => ({ file, ...checkConfig(file) }));
  // Also those that were not asked for are in each other's way.
  const others = listConfigs(folders).flatMap((file) => ({ file, config: checkConfig(file).config }));
  const results = checked.map(({ file, config, problems }) => ({
    file,
    config,
    lines: [
      ...problems.map((problem) => ({ text: problemText(file, problem), hint: problem.hint })),
      ...(config === undefined ? [] : conflictsOf(file, config, others).map((text) => ({ text, hint: undefined }))),
    ],
    notes: config === undefined ? [] : [...missingOf(config), ...lossOf(config)].map((note) => `${file.path}: ${note}`),
  }));
  const total = results.reduce((sum, { lines }) => sum + lines.length, 0);
  const value = results.map(({ file, lines, notes }) => ({
    name: file.name,
    path: file.path,
    problems: lines.map(({ text, hint }) => ({ message: text, ...(hint === undefined ? {} : { hint }) })),
    warnings: notes,
  }));
  for (const { notes } of results) for (const note of notes) if (!output.json) output.warn(note);
  output.result(value, () => {
    if (files.length === 0) return `no configurations in ${folders.join(', ')}`;
    return results.flatMap(({ file, config, lines }) => (lines.length === 0 ? [fineText(file, config)] : lines.map(lineText)));
  });
  return total;
}

function lineText({ text, hint }: { text: string; hint: string | undefined }): string {
  return hint === undefined ? text : `${text} (${hint})`;
}

function fineText({ name }: ConfigFile, config: MountConfig | undefined): string {
  return config === undefined ? name : `${name}: fine: ${config.cache} in front of ${config.backing}, at ${config.mountpoint}`;
}

const KEY_NOUNS = { cache: 'cache', backing: 'backing device', mountpoint: 'mount point' } as const;

function conflictsOf(
  file: ConfigFile,
  config: MountConfig,
  others: readonly { file: ConfigFile; config: MountConfig | undefined }[],
): string[] {
  return others.flatMap((other) => {
    if (other.file.path === file.path || other.config === undefined) return [];
    const keys = (['cache', 'backing', 'mountpoint'] as const).filter((key) => other.config?.[key] === config[key]);
    return keys.map((key) => `${file.path}: ${key}: ${config[key]} is also the ${KEY_NOUNS[key]} of ${other.file.path}`);
  });
}

function showConfig(name: string, { configDir }: FolderOption, output: Output): void {
  const file = findConfig(name, configFolders(configDir));
  const config = readConfig(file);
  const { flushOnStop, ...options } = parseMountOptions(config.options);
  const settings = {
    cache: config.cache,
    backing: config.backing,
    mountpoint: config.mountpoint,
    options: {
      transport: options.transport,
      workers: options.workers,
      poll_us: options.pollUs,
      gc_percent: options.gcPercent ?? null,
      ro: options.readOnly,
      allow_other: options.allowOther,
      uid: options.uid ?? null,
      gid: options.gid ?? null,
      umask: options.umask.toString(8).padStart(3, '0'),
      kernel_cache: options.kernelCache,
      adopt: options.adopt,
      flush_on_stop: flushOnStop,
    },
    metrics_listen: config.metricsListen ?? null,
    log: config.log ?? null,
    log_level: config.logLevel ?? 'info',
  };
  const command = commandOf(config);
  const value = { name: file.name, path: file.path, ...settings, command };
  output.result(value, () => [`# ${file.path}`, ...stringify(settings).trimEnd().split('\n'), `# ${command}`]);
}

function commandOf({ cache, backing, mountpoint, options, metricsListen, log, logLevel }: MountConfig): string {
  const words = ['pcache', 'mount', cache, backing, mountpoint];
  if (options.length > 0) words.push('-o', options.join(','));
  if (metricsListen !== undefined) words.push('--metrics-listen', metricsListen);
  if (log !== undefined) words.push('--log', log);
  if (logLevel !== undefined) words.push('--log-level', logLevel);
  return words.map(shellWord).join(' ');
}

/** As a shell takes it for one word. */
function shellWord(word: string): string {
  return /^[\w./:=,@+-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

function installFiles({ root = '/', remove }: InstallOptions, output: Output): void {
  const program = { node: process.execPath, pcache: realpathSync(process.argv[1]!) };
  const files = systemFiles(program).map((file) => ({ ...file, path: join(resolve(root), file.path) }));
  if (remove === true) removeFiles(files, output);
  else {
    for (const file of files) writeFile(file);
    const paths = files.map(({ path }) => path);
    const warnings = whatMayGo(program);
    for (const warning of warnings) if (!output.json) output.warn(warning);
    output.result({ installed: paths, ...program, warnings }, () => [...paths, 'systemctl daemon-reload makes systemd see it.']);
  }
}

function removeFiles(files: readonly SystemFile[], output: Output): void {
  const mine = files.filter(({ path }) => existsSync(path));
  for (const { path } of mine) {
    if (!/pcache/.test(readFileSync(path, 'utf8'))) throw new PcacheError('holds-data', `${path}: not what pcache config install wrote`);
  }
  for (const { path } of mine) attemptAt(path, () => rmSync(path));
  output.result({ removed: mine.map(({ path }) => path) }, () => `${count(mine.length, 'file')} removed`);
}

function writeFile({ path, text, mode }: SystemFile): void {
  attemptAt(path, () => {
    mkdirSync(dirname(path), { recursive: true });
    // Anew: one that is there may be a link, or have another mode.
    rmSync(path, { force: true });
    writeFileSync(path, text, { mode, flag: 'wx' });
  });
}

function attemptAt(path: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    throw systemErrorFrom(path, error);
  }
}
