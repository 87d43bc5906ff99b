// The files of running gateways, in a folder that only their user can enter: for each mount point HASH.json (who serves it; its existence is
// the claim to the mount point), HASH.sock (the engine's control socket) and HASH.log. HASH.json always appears and changes as a whole.
// A claim whose supervisor is dead is void. Folders of other users are looked into by root only, and only if they are what they should be.

import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { basename, join } from 'node:path';
import { PcacheError, messageOf } from '../errors.js';
import { mountPointHash } from './mount-point-name.js';
import { isSameProcess } from './process-identity.js';

export interface RuntimeEntry {
  mountpoint: string;
  mount_kind: 'directory' | 'file';
  cache: string;
  backing: string;
  supervisor_pid: number;
  /** Start time of the supervisor, see process-identity. */
  supervisor_start_ticks: number;
  /** 0 while there is none. */
  engine_pid: number;
  socket: string;
  log: string;
  started_ms: number;
  /** The supervisor's descriptors of the two; not there before they are open. */
  cache_fd?: number;
  backing_fd?: number;
}

export interface RuntimePaths {
  readonly entry: string;
  readonly socket: string;
  readonly log: string;
}

/** Three paths of the longest kind, and some. */
const ENTRY_BYTES_MAX = 64 * 1024;
/** Linux's sun_path, less the closing zero. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Where this user's runtime files are: $PCACHE_RUNTIME_DIR, or /run/pcache (root), $XDG_RUNTIME_DIR/pcache, /tmp/pcache-UID. */
export function runtimeDirectoryName(env: NodeJS.ProcessEnv = process.env, uid = process.getuid?.() ?? 0): string {
  if (env.PCACHE_RUNTIME_DIR) return env.PCACHE_RUNTIME_DIR;
  if (uid === 0) return '/run/pcache';
  return env.XDG_RUNTIME_DIR ? join(env.XDG_RUNTIME_DIR, 'pcache') : `/tmp/pcache-${uid}`;
}

/** Makes the folder if need be. Throws PcacheError `permission` if it is somebody else's or open to others. */
export function makeRuntimeDirectory(directory = runtimeDirectoryName()): string {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new PcacheError('permission', `${directory}: cannot make the folder for runtime files: ${messageOf(error)}`, { cause: error });
    }
  }
  const why = faultOfDirectory(lstatSync(directory), process.getuid?.() ?? 0);
  if (why !== undefined)
    throw new PcacheError('permission', `${directory}: ${why}`, { hint: 'Name another folder in PCACHE_RUNTIME_DIR.' });
  return directory;
}

function faultOfDirectory(stats: Stats, uid: number): string | undefined {
  if (!stats.isDirectory()) return 'not a folder';
  if (stats.uid !== uid) return `belongs to user ${stats.uid}`;
  if ((stats.mode & 0o077) !== 0) return 'open to other users';
  return undefined;
}

/** `mountpoint` is a name from mountPointName. Throws PcacheError `unsupported` if the folder's path is too long for a socket. */
export function runtimePaths(mountpoint: string, directory: string): RuntimePaths {
  const base = join(directory, mountPointHash(mountpoint));
  const socket = `${base}.sock`;
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
    throw new PcacheError('unsupported', `${directory}: too long a path for a socket`, {
      hint: 'Name a shorter one in PCACHE_RUNTIME_DIR.',
    });
  }
  return { entry: `${base}.json`, socket, log: `${base}.log` };
}

/** Takes the mount point for this supervisor. Throws PcacheError `in-use` if another, living one has it. */
export function claimEntry(paths: RuntimePaths, entry: RuntimeEntry): void {
  const draft = writeDraft(paths, entry);
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        // link(2), unlike rename(2), fails if the name exists: of two supervisors one wins.
        linkSync(draft, paths.entry);
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
        const owner = readEntry(paths.entry);
        if (attempt > 0 || (owner !== undefined && isRunning(owner))) {
          throw new PcacheError('in-use', `${entry.mountpoint}: served by another pcache (${owner?.supervisor_pid ?? 'starting'})`);
        }
        removeVoid(paths.entry);
      }
    }
  } finally {
    rmSync(draft, { force: true });
  }
}

function removeVoid(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    throw new PcacheError('busy', `${path}: in the way: ${messageOf(error)}`, { cause: error });
  }
}

export function updateEntry(paths: RuntimePaths, entry: RuntimeEntry): void {
  renameSync(writeDraft(paths, entry), paths.entry);
}

/** Gives the mount point back. The log stays if something went wrong: it says what. */
export function removeEntry(paths: RuntimePaths, options: { log: 'keep' | 'remove' }): void {
  rmSync(paths.socket, { force: true });
  if (options.log === 'remove') rmSync(paths.log, { force: true });
  rmSync(paths.entry, { force: true });
}

/**
 * Undefined if there is no such file, or none that this user may read, or it is no entry. Socket and log are those beside the entry, whatever it says:
 * root reads entries of other users, and removes and talks to what they name.
 */
export function readEntry(path: string): RuntimeEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readSmallFile(path));
  } catch {
    // Gone, not ours, not a file or cut short: in each case there is no gateway to be found through it.
    return undefined;
  }
  if (!isEntry(value)) return undefined;
  const base = path.replace(/\.json$/, '');
  return { ...value, socket: `${base}.sock`, log: `${base}.log` };
}

/** Does not wait for whoever is at the other end of a fifo, and follows no link. Throws what `fs` throws, or RangeError. */
function readSmallFile(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.size > ENTRY_BYTES_MAX) throw new RangeError(`${path}: no entry`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** Whether the entry's supervisor lives. */
export function isRunning(entry: RuntimeEntry): boolean {
  return isSameProcess(entry.supervisor_pid, entry.supervisor_start_ticks);
}

/** The entry of a mount point, dead or alive, in this user's folder; root finds those of other users too. */
export function findEntry(mountpoint: string): RuntimeEntry | undefined {
  for (const directory of visibleDirectories()) {
    const entry = readEntry(join(directory, `${mountPointHash(mountpoint)}.json`));
    if (entry?.mountpoint === mountpoint) return entry;
  }
  return undefined;
}

/** All entries that this user can see, in the order of their mount points. */
export function listEntries(): RuntimeEntry[] {
  const files = visibleDirectories().flatMap((directory) =>
    readdirSync(directory)
      .filter((name) => name.endsWith('.json'))
      .map((name) => join(directory, name)),
  );
  return files.flatMap((file) => entryInPlace(file) ?? []).sort((a, b) => (a.mountpoint < b.mountpoint ? -1 : 1));
}

/** The entry of a file that has the name that the entry's mount point gives it. */
function entryInPlace(file: string): RuntimeEntry | undefined {
  const entry = readEntry(file);
  return entry !== undefined && basename(file) === `${mountPointHash(entry.mountpoint)}.json` ? entry : undefined;
}

/** The runtime files that belong together with a control socket. */
export function pathsForSocket(socket: string): RuntimePaths {
  const base = socket.replace(/\.sock$/, '');
  return { entry: `${base}.json`, socket, log: `${base}.log` };
}

function visibleDirectories(): string[] {
  const uid = process.getuid?.() ?? 0;
  const own = runtimeDirectoryName();
  const directories = [{ directory: own, uid }];
  if (uid === 0 && !process.env.PCACHE_RUNTIME_DIR) {
    for (const user of namesIn('/run/user')) directories.push({ directory: join('/run/user', user, 'pcache'), uid: Number(user) });
    for (const name of namesIn('/tmp')) {
      const user = /^pcache-(\d+)$/.exec(name)?.[1];
      if (user !== undefined) directories.push({ directory: join('/tmp', name), uid: Number(user) });
    }
  }
  return directories.filter((each) => isTrusted(each.directory, each.uid)).map((each) => each.directory);
}

function isTrusted(directory: string, uid: number): boolean {
  try {
    return faultOfDirectory(lstatSync(directory), uid) === undefined;
  } catch {
    // Most users have no such folder.
    return false;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // A machine without this folder has nobody's files in it.
    return [];
  }
}

function writeDraft(paths: RuntimePaths, entry: RuntimeEntry): string {
  const draft = `${paths.entry}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(entry)}\n`, { mode: 0o600 });
  return draft;
}

function isEntry(value: unknown): value is RuntimeEntry {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<keyof RuntimeEntry, unknown>;
  const texts = [fields.mountpoint, fields.cache, fields.backing, fields.socket, fields.log];
  const numbers = [fields.supervisor_pid, fields.supervisor_start_ticks, fields.engine_pid, fields.started_ms];
  if (fields.mount_kind !== 'directory' && fields.mount_kind !== 'file') return false;
  return texts.every((text) => typeof text === 'string') && numbers.every((number) => Number.isSafeInteger(number));
}
