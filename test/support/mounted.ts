// A cache, a backing file and the gateway over them for tests of the whole product, which is run through its command line only. Everything is
// in two temporary folders of a name that tells this run of the tests, and is gone when the test is over: mount, processes, loop devices, files.
//
// Invariant: nothing here touches the mount itself; the kernel's tables about it, signals and the command line (a child) do.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type ExecutionContext } from 'ava';
import { listLoops } from '../../src/device/loop-device.js';
import { readMounts, type MountEntry } from '../../src/fuse/mountinfo.js';
import { takeMountAway } from '../../src/gateway/take-mount-away.js';
import { readEntry, runtimePaths } from '../../src/gateway/runtime-files.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import { Client } from '../fuse/client.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { detachBelow } from './loop.js';
import { Job, run, waitUntil, type CommandResult } from './mounted-commands.js';
import { startSupervisor, type SupervisorStart } from './start-supervisor.js';

export const MIB = 1 << 20;
/** The smallest cache there is. */
export const CACHE_BYTES_MIN = 96 * MIB;
/** Files of one run of the tests are children of one process. */
export const RUN_PREFIX = `pcache-mnt-${process.ppid}-`;
export const noFuse = whyNoFuse();

export const PCACHE = fileURLToPath(new URL('../../bin/pcache.js', import.meta.url));
const MEMORY = '/dev/shm';
const TEST_MS = 90_000;

/** A test of a mount: serial, bounded, and skipped with the reason in its title where the machine lacks something. */
export function mountTest(title: string, lacks: string | undefined, body: (t: ExecutionContext) => Promise<void>): void {
  const why = noFuse ?? lacks;
  if (why !== undefined) {
    anyTest.skip(`${title} (skipped: ${why})`, body);
    return;
  }
  anyTest.serial(title, (t) => {
    t.timeout(TEST_MS);
    return body(t);
  });
}

export interface OtherUser {
  readonly name: string;
  /** What makes a command run as this user when put in front of it. */
  readonly prefix: readonly [string, ...string[]];
}

export interface GatewayOptions {
  /** Default 96 MiB. */
  readonly cacheBytes?: number;
  /** Default four times the cache. */
  readonly volumeBytes?: number;
  /** Where the cache file is: on tmpfs, or in the system's folder for temporary files. Default memory. */
  readonly cacheOn?: 'memory' | 'disk';
  readonly dataCrc?: boolean;
  readonly mountKind?: 'directory' | 'file';
  /** For `-o`. */
  readonly mountOptions?: string;
  /** A folder for the backing file, if it is not to be among the others. */
  readonly backingFolder?: string;
  /** Files that exist, somewhere else, to be used as they are, instead of new ones. The cache is formatted all the same. */
  readonly backingFile?: string;
  readonly cacheFile?: string;
  /** The command's file, if it is not that of this build. */
  readonly program?: string;
  /** Everything belongs to another user, as whom `pcache` runs. For tests run by root. */
  readonly as?: OtherUser;
}

export interface MountedPids {
  readonly supervisor: number;
  readonly engine: number;
}

/** Files and mount of one gateway, mounted or not. */
export class TestGateway {
  readonly folder: string;
  readonly cache: string;
  readonly backing: string;
  readonly mountpoint: string;
  /** The volume's file when mounted. */
  readonly volume: string;
  readonly volumeBytes: number;
  readonly runtimeDirectory: string;
  /** Supervisor and engine of the last `mount`. */
  pids: MountedPids = { supervisor: 0, engine: 0 };
  readonly #options: GatewayOptions;
  readonly #cacheFolder: string;
  readonly #jobs: Job[] = [];
  readonly #clients: Client[] = [];

  private constructor(options: GatewayOptions) {
    this.#options = options;
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), RUN_PREFIX)));
    this.#cacheFolder = options.cacheOn !== 'disk' && existsSync(MEMORY) ? mkdtempSync(join(MEMORY, RUN_PREFIX)) : this.folder;
    this.cache = options.cacheFile ?? join(this.#cacheFolder, 'cache.pmem');
    this.backing = options.backingFile ?? join(options.backingFolder ?? this.folder, 'backing.img');
    this.mountpoint = join(this.folder, 'mnt');
    this.volume = options.mountKind === 'file' ? this.mountpoint : join(this.mountpoint, 'volume.img');
    this.volumeBytes = options.volumeBytes ?? 4 * (options.cacheBytes ?? CACHE_BYTES_MIN);
    this.runtimeDirectory = join(this.folder, 'run');
    mkdirSync(this.runtimeDirectory, { mode: 0o700 });
    if (options.mountKind === 'file') writeFileSync(this.mountpoint, '');
    else mkdirSync(this.mountpoint);
    if (options.backingFile === undefined) {
      writeFileSync(this.backing, '');
      truncateSync(this.backing, this.volumeBytes);
    }
    if (options.as !== undefined) execFileSync('chown', ['-R', options.as.name, this.folder, this.#cacheFolder]);
  }

  /** Makes the files; the cache is formatted, nothing is mounted. Whoever calls must `dispose`. */
  static async create(options: GatewayOptions = {}): Promise<TestGateway> {
    const gateway = new TestGateway(options);
    const { cacheBytes = CACHE_BYTES_MIN, dataCrc = false, cacheFile } = options;
    const size = cacheFile === undefined ? ['--size', String(cacheBytes)] : [];
    await gateway.ok('format', gateway.cache, ...size, ...(dataCrc ? ['--data-crc'] : []));
    return gateway;
  }

  /** Runs `pcache ARGUMENTS`. */
  pcache(...args: readonly string[]): Promise<CommandResult> {
    const [program, ...rest] = [...(this.#options.as?.prefix ?? []), process.execPath, this.#options.program ?? PCACHE, ...args];
    return run(program, rest, { env: this.#env, timeoutMs: 60_000 });
  }

  /** As `pcache`; rejects if the status is not 0. @returns what it printed */
  async ok(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.pcache(...args);
    if (status !== 0) throw new Error(`pcache ${args.join(' ')}: status ${status ?? 'killed'}: ${stderr.trim()}\n${this.log()}`);
    return stdout.trim();
  }

  /** Starts `pcache ARGUMENTS` and goes on; it is killed at the end of the test. */
  start(...args: readonly string[]): Job {
    return this.startProgram(process.execPath, [this.#options.program ?? PCACHE, ...args], this.#env);
  }

  /** Starts any program, which may use the mount; it is killed at the end of the test. */
  startProgram(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Job {
    const job = new Job(program, args, { env });
    this.#jobs.push(job);
    return job;
  }

  /** A process that makes calls on the mount for the test; it is gone at the end of the test at the latest. */
  client(): Client {
    const client = new Client();
    this.#clients.push(client);
    return client;
  }

  get mountArguments(): string[] {
    const { mountOptions } = this.#options;
    return ['mount', this.cache, this.backing, this.mountpoint, ...(mountOptions === undefined ? [] : ['-o', mountOptions])];
  }

  /** Mounts, with another supervisor than that of `pcache mount` if one is given. */
  async mount(other?: OtherSupervisor): Promise<void> {
    if (other !== undefined) {
      const { cache, backing, mountpoint, runtimeDirectory } = this;
      const { mountOptions } = this.#options;
      this.pids = await startSupervisor({ ...other, cache, backing, mountpoint, mountOptions, runtimeDirectory });
      return;
    }
    const facts = JSON.parse(await this.ok('--json', ...this.mountArguments)) as { supervisor_pid: number; engine_pid: number };
    this.pids = { supervisor: facts.supervisor_pid, engine: facts.engine_pid };
  }

  /** Unmounts; rejects if that fails or leaves anything. @returns what it printed */
  async umount(...options: readonly string[]): Promise<string> {
    const said = await this.ok('umount', this.mountpoint, ...options);
    const left = this.leftovers();
    if (left.length > 0) throw new Error(`umount left ${left.join(', ')}`);
    return said;
  }

  async status(): Promise<StatusSnapshot> {
    return JSON.parse(await this.ok('--json', 'status', this.mountpoint)) as StatusSnapshot;
  }

  /** The engine that works, as the supervisor wrote it down. */
  get enginePid(): number {
    return readEntry(runtimePaths(this.mountpoint, this.runtimeDirectory).entry)?.engine_pid ?? 0;
  }

  /** What the gateway logged, for messages and for tests of it. */
  log(): string {
    return namesIn(this.runtimeDirectory)
      .filter((name) => name.endsWith('.log'))
      .map((name) => readFileSync(join(this.runtimeDirectory, name), 'utf8'))
      .join('');
  }

  /** Where the log is, if `--log` does not say otherwise. */
  get ownLog(): string {
    return runtimePaths(this.mountpoint, this.runtimeDirectory).log;
  }

  get isMounted(): boolean {
    return this.#mounts().length > 0;
  }

  /** What there is of a mount: itself, processes, loop devices, runtime files. Empty after an orderly end. */
  leftovers(): string[] {
    return [
      ...this.#mounts().map((mount) => `mount ${mount.mountpoint}`),
      ...this.processes().map((pid) => `process ${pid}`),
      ...listLoops()
        .filter((loop) => loop.backingFile.startsWith(this.folder))
        .map((loop) => loop.device),
      ...namesIn(this.runtimeDirectory),
    ];
  }

  /** Living processes of this gateway, commands included. */
  processes(): number[] {
    return processesWith(`PCACHE_RUNTIME_DIR=${this.runtimeDirectory}`);
  }

  /** Takes everything away, in whatever state it is. */
  async dispose(): Promise<void> {
    // A dying process loses its environment, and with it the mark of being ours, before it closes its files: so who is there is noted now.
    const pids = new Set(this.processes());
    // Users of the mount may wait for answers that only the abort makes them get.
    for (const job of this.#jobs) job.child.kill('SIGKILL');
    for (const { mountpoint, source } of this.#mounts()) if (source.startsWith('/dev/loop')) await run('umount', ['-l', mountpoint]);
    detachBelow(this.folder);
    for (const mount of this.#mounts().reverse()) {
      if (mount.type.startsWith('fuse')) takeMountAway(mount.mountpoint, mount.deviceMinor);
      else await run('umount', ['-l', mount.mountpoint]);
    }
    for (const job of this.#jobs) await job.end();
    for (const client of this.#clients) await client.close();
    for (const pid of this.processes()) pids.add(pid);
    for (const pid of pids) killIfAlive(pid);
    await waitUntil(() => [...pids].every((pid) => startTicksOf(pid) === undefined), 'the processes of a gateway end');
    rmSync(this.#cacheFolder, { recursive: true, force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #env(): NodeJS.ProcessEnv {
    return { PCACHE_RUNTIME_DIR: this.runtimeDirectory };
  }

  #mounts(): MountEntry[] {
    return readMounts().filter((mount) => mount.mountpoint.startsWith(this.folder));
  }
}

/** Files of a gateway that is not mounted, for the duration of a test. */
export async function unmounted(t: ExecutionContext, options: GatewayOptions = {}): Promise<TestGateway> {
  const gateway = await TestGateway.create(options);
  t.teardown(() => gateway.dispose());
  return gateway;
}

export type OtherSupervisor = Pick<SupervisorStart, 'main' | 'env' | 'execArgv'>;

/** A mounted volume for the duration of a test, by another supervisor than that of `pcache mount` if one is given. */
export async function mounted(
  t: ExecutionContext,
  options: GatewayOptions = {},
  other?: (gateway: TestGateway) => OtherSupervisor,
): Promise<TestGateway> {
  const gateway = await unmounted(t, options);
  await gateway.mount(other?.(gateway));
  return gateway;
}

/** Living processes whose environment has a variable that starts like this. Those of other users can't be seen. */
export function processesWith(variable: string): number[] {
  return namesIn('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid) || pid === process.pid) return false;
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1')
          .split('\0')
          .some((each) => each.startsWith(variable));
      } catch {
        // Ended meanwhile, or somebody else's: not one of ours.
        return false;
      }
    });
}

export function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}
