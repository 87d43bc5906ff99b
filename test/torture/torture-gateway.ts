// A gateway to torture: a cache, a backing file and a mount in temporary folders, run through the command line. AVA has no part in it, so this is not
// the one of test/support. `dispose` takes everything away in whatever state it is.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readMounts, type MountEntry } from '../../src/fuse/mountinfo.js';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import { readEntry, runtimePaths, type RuntimePaths } from '../../src/gateway/runtime-files.js';
import { takeMountAway } from '../../src/gateway/take-mount-away.js';
import { detachBelow } from '../support/loop.js';
import { run, waitUntil } from '../support/mounted-commands.js';
import { startSupervisor } from '../support/start-supervisor.js';

const PCACHE = fileURLToPath(new URL('../../bin/pcache.js', import.meta.url));
const MEMORY = '/dev/shm';
const PREFIX = 'pcache-torture-';
const COMMAND_MS = 120_000;

export interface TortureGatewayOptions {
  readonly cacheBytes: number;
  readonly volumeBytes: number;
  readonly cacheOn: 'memory' | 'disk';
  readonly dataCrc: boolean;
  readonly gcPercent: number;
  /** The supervisor never gives up, however often its engine is killed. */
  readonly immortal?: boolean;
}

export class TortureGateway {
  readonly folder: string;
  readonly backing: string;
  readonly volume: string;
  readonly #cacheFolder: string;
  readonly #cache: string;
  readonly #mountpoint: string;
  readonly #runtimeDirectory: string;
  readonly #paths: RuntimePaths;
  readonly #options: TortureGatewayOptions;

  constructor(options: TortureGatewayOptions) {
    this.#options = options;
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), PREFIX)));
    this.#cacheFolder = options.cacheOn === 'memory' && existsSync(MEMORY) ? mkdtempSync(join(MEMORY, PREFIX)) : this.folder;
    this.#cache = join(this.#cacheFolder, 'cache.pmem');
    this.backing = join(this.folder, 'backing.img');
    this.#mountpoint = join(this.folder, 'mnt');
    this.volume = join(this.#mountpoint, 'volume.img');
    this.#runtimeDirectory = join(this.folder, 'run');
    mkdirSync(this.#runtimeDirectory, { mode: 0o700 });
    mkdirSync(this.#mountpoint);
    this.#paths = runtimePaths(this.#mountpoint, this.#runtimeDirectory);
    writeFileSync(this.backing, '');
    truncateSync(this.backing, options.volumeBytes);
  }

  /** Runs `pcache ARGUMENTS`; rejects if the status is not 0. @returns what it printed */
  async #pcache(...args: readonly string[]): Promise<string> {
    const env = { PCACHE_RUNTIME_DIR: this.#runtimeDirectory };
    const { status, stdout, stderr } = await run(process.execPath, [PCACHE, ...args], { env, timeoutMs: COMMAND_MS });
    if (status !== 0) throw new Error(`pcache ${args[0] ?? ''}: status ${status ?? 'killed'}: ${stderr.trim().split('\n')[0] ?? ''}`);
    return stdout;
  }

  async format(): Promise<void> {
    const { cacheBytes, dataCrc } = this.#options;
    await this.#pcache('format', this.#cache, '--size', String(cacheBytes), ...(dataCrc ? ['--data-crc'] : []));
  }

  async mount(): Promise<void> {
    const mountOptions = `gc_percent=${this.#options.gcPercent}`;
    if (this.#options.immortal === true) {
      await startSupervisor({
        main: new URL('./torture-supervisor-main.js', import.meta.url),
        cache: this.#cache,
        backing: this.backing,
        mountpoint: this.#mountpoint,
        mountOptions,
        runtimeDirectory: this.#runtimeDirectory,
      });
    } else await this.#pcache('mount', this.#cache, this.backing, this.#mountpoint, '-o', mountOptions);
  }

  /** Writes everything back and unmounts. */
  async umountFlushed(): Promise<void> {
    await this.#pcache('umount', this.#mountpoint, '--flush');
  }

  /** After both processes were killed: waits until they are gone, and takes away what they left in sight. */
  async cleanUpAfterDeath(): Promise<void> {
    await waitUntil(() => this.#processes().length === 0, 'the killed processes are gone');
    if (this.#mounts().length > 0) await this.#pcache('umount', this.#mountpoint);
  }

  /** `pcache check` finds nothing wrong with the cache, which is not in use. */
  async check(): Promise<void> {
    await this.#pcache('check', this.#cache);
  }

  /** The engine that works, or worked last; undefined if there is none. The spare is none. */
  get enginePid(): number | undefined {
    const pid = readEntry(this.#paths.entry)?.engine_pid ?? 0;
    return pid === 0 ? undefined : pid;
  }

  get supervisorPid(): number | undefined {
    return readEntry(this.#paths.entry)?.supervisor_pid;
  }

  /** What supervisor and engines logged, for messages. */
  log(): string {
    return existsSync(this.#paths.log) ? readFileSync(this.#paths.log, 'utf8') : '';
  }

  #processes(): number[] {
    const mark = `PCACHE_RUNTIME_DIR=${this.#runtimeDirectory}`;
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && pid !== process.pid && textOf(`/proc/${pid}/environ`).split('\0').includes(mark));
  }

  #mounts(): MountEntry[] {
    return readMounts().filter((mount) => mount.mountpoint.startsWith(this.folder));
  }

  async dispose(): Promise<void> {
    const pids = this.#processes();
    for (const { mountpoint, source } of this.#mounts()) if (source.startsWith('/dev/loop')) await run('umount', ['-l', mountpoint]);
    detachBelow(this.folder);
    for (const mount of this.#mounts().reverse()) {
      if (mount.type.startsWith('fuse')) takeMountAway(mount.mountpoint, mount.deviceMinor);
      else await run('umount', ['-l', mount.mountpoint]);
    }
    for (const pid of [...pids, ...this.#processes()]) kill(pid);
    await waitUntil(() => pids.every((pid) => startTicksOf(pid) === undefined), 'the processes of the gateway end');
    rmSync(this.#cacheFolder, { recursive: true, force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** kill -9. Returns false if there is no such process any more. */
export function kill(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    return false;
  }
}

/** A file of /proc; empty if the process has ended meanwhile. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // Ended, or somebody else's: not one of ours.
    return '';
  }
}
