// kill -9 of the engine at random moments under fio that verifies what it wrote: four jobs, sixteen requests deep each, straight on the volume, and on
// files of an ext4 on a loop device over the volume. Moments are uniform, and some engines die while they start. No call of fio or of the prober beside it
// may fail, no byte may differ; the file system must be clean whenever it is unmounted, and the backing file must end like the volume.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { seededRandom } from '../../src/device/seeded-random.js';
import { fioArguments, noFio, type FioJob } from '../support/fio.js';
import { noLoopDevices } from '../support/loop.js';
import { Job, digestOf, lacking, runOk } from '../support/mounted-commands.js';
import { pattern } from '../fuse/conformance.js';
import { machineMs } from './machine-clock.js';
import type { Part, RunLimits, Tally } from './part.js';
import { PauseProbe, type Pauses } from './pause-probe.js';
import { TortureGateway, kill } from './torture-gateway.js';

const MIB = 1 << 20;
const JOBS = 4;
const JOB_BYTES = 48 * MIB;
const FIO_BYTES = JOBS * JOB_BYTES;
const PROBE_BYTES = MIB;
/** Room for what ext4 needs for itself. */
const VOLUME_BYTES = FIO_BYTES + 64 * MIB;
/** Between two kills, or an answer and the next kill, at most; on average half of it. */
const MOMENT_MS_MAX = 2000;
const ANSWER_MS = 60_000;
/** Rounds of fio over one cache, before another cache is made. */
const ROUNDS_PER_CACHE = 6;
const ROUND_MS = 180_000;
const KEPT_FILES = 8;

const lacks = process.getuid?.() === 0 ? noFio : 'needs root';

export const fioKillPart: Part = {
  name: 'kill -9 under fio',
  unit: 'kills',
  triesMax: 1_000_000,
  lacks,
  run: (limits, tally) => runSessions(limits, tally, (gateway) => new PlainTarget(gateway)),
};

export const fileSystemKillPart: Part = {
  name: 'kill -9 under ext4',
  unit: 'kills',
  triesMax: 1_000_000,
  lacks: lacks ?? noLoopDevices ?? lacking('mkfs.ext4', 'fsck.ext4', 'losetup', 'mount', 'umount'),
  run: (limits, tally) => runSessions(limits, tally, (gateway) => new FileSystemTarget(gateway)),
};

/** What fio works on. */
interface Target {
  /** A file with room for fio, and behind it for the prober. */
  readonly file: string;
  /** Makes it, on a volume just mounted. */
  begin(): Promise<void>;
  /** Between two rounds: looks whether all is well as it can be seen from outside. */
  check(): Promise<void>;
  /** Puts it aside: the volume is quiet afterwards. */
  end(): Promise<void>;
  /** After `end`: the volume is about to be unmounted. */
  letGo(): Promise<void>;
}

class PlainTarget implements Target {
  readonly file: string;

  constructor(gateway: TortureGateway) {
    this.file = gateway.volume;
  }

  begin(): Promise<void> {
    return Promise.resolve();
  }

  check(): Promise<void> {
    return Promise.resolve();
  }

  end(): Promise<void> {
    return Promise.resolve();
  }

  letGo(): Promise<void> {
    return Promise.resolve();
  }
}

class FileSystemTarget implements Target {
  readonly file: string;
  readonly #volume: string;
  readonly #folder: string;
  #loop = '';
  #kept = '';

  constructor(gateway: TortureGateway) {
    this.#volume = gateway.volume;
    this.#folder = join(gateway.folder, 'ext4');
    this.file = join(this.#folder, 'fio');
    mkdirSync(this.#folder);
  }

  async begin(): Promise<void> {
    this.#loop = await runOk('losetup', ['--find', '--show', '--direct-io=on', this.#volume]);
    await runOk('mkfs.ext4', ['-q', '-F', this.#loop]);
    await this.#mount();
    await runOk('sh', ['-c', `head -c ${FIO_BYTES + PROBE_BYTES} /dev/zero >"$0"`, this.file], { timeoutMs: ROUND_MS });
    for (let index = 0; index < KEPT_FILES; index++) writeFileSync(join(this.#folder, `kept-${index}`), pattern(MIB + index, index));
    await runOk('sync', ['--file-system', this.#folder]);
    this.#kept = await this.#digest();
  }

  async check(): Promise<void> {
    await this.end();
    await runOk('fsck.ext4', ['-f', '-n', this.#loop], { timeoutMs: ROUND_MS });
    await this.#mount();
    if ((await this.#digest()) !== this.#kept) throw new Error('files that were synced differ');
    // Something for the journal to do.
    await runOk('sh', ['-c', 'cp -r "$0"/kept-* "$1" && rm -r "$1"/* && sync', this.#folder, await this.#folderFor('copies')]);
  }

  async end(): Promise<void> {
    await runOk('umount', [this.#folder], { timeoutMs: ROUND_MS });
    await runOk('blockdev', ['--flushbufs', this.#loop]);
  }

  async letGo(): Promise<void> {
    await runOk('losetup', ['--detach', this.#loop]);
  }

  async #mount(): Promise<void> {
    await runOk('mount', ['-t', 'ext4', this.#loop, this.#folder]);
  }

  async #folderFor(name: string): Promise<string> {
    const folder = join(this.#folder, name);
    await runOk('mkdir', ['-p', folder]);
    return folder;
  }

  #digest(): Promise<string> {
    return runOk('sh', ['-c', 'cat "$0"/kept-* | b2sum', this.#folder]);
  }
}

/** Counts and pauses of a part, shown as they change. */
class FioKillCounts {
  kills = 0;
  rounds = 0;
  verifiedMib = 0;
  readonly #afterKillMs: number[] = [];
  readonly #aloneMs: number[] = [];
  /** Of these, with data CRC: an opening then reads all that is cached. */
  readonly #withDataCrcMs: number[] = [];
  /** Of these, without data CRC and while the cache has room: nobody waits for writeback besides. */
  readonly #withRoomMs: number[] = [];
  readonly #withoutKillMs: number[] = [];
  readonly #tally: Tally;

  constructor(tally: Tally) {
    this.#tally = tally;
    this.show();
  }

  take({ afterKillMs, aloneMs, withoutKillMs }: Pauses, { dataCrc, hasRoom }: { dataCrc: boolean; hasRoom: boolean }): void {
    this.#afterKillMs.push(...afterKillMs);
    this.#aloneMs.push(...aloneMs);
    if (dataCrc) this.#withDataCrcMs.push(...aloneMs);
    else if (hasRoom) this.#withRoomMs.push(...aloneMs);
    this.#withoutKillMs.push(...withoutKillMs);
    this.show();
  }

  show(): void {
    this.#tally.tried = this.kills;
    this.#tally.details = {
      'runs of fio, each verified': this.rounds,
      'MiB written and verified': this.verifiedMib,
      'I/O errors and differences': 0,
      'pause, median': milliseconds(this.#afterKillMs, 0.5),
      'pause, 90 of 100 below': milliseconds(this.#afterKillMs, 0.9),
      'pause, maximum': milliseconds(this.#afterKillMs, 1),
      'pause of a kill alone, median': milliseconds(this.#aloneMs, 0.5),
      'the same while the cache has room, median': milliseconds(this.#withRoomMs, 0.5),
      'the same with data CRC, median': milliseconds(this.#withDataCrcMs, 0.5),
      'pause without a kill, median': milliseconds(this.#withoutKillMs, 0.5),
    };
  }
}

function milliseconds(values: readonly number[], quantile: number): string {
  if (values.length === 0) return 'none';
  const sorted = values.toSorted((a, b) => a - b);
  return `${Math.round(sorted[Math.floor((sorted.length - 1) * quantile)]!)} ms`;
}

async function runSessions(limits: RunLimits, tally: Tally, targetOf: (gateway: TortureGateway) => Target): Promise<void> {
  const random = seededRandom(limits.seed);
  const counts = new FioKillCounts(tally);
  while (await limits.goesOn()) await new Session(limits, counts, random, targetOf).run();
}

/** One cache, one supervisor, many engines. */
class Session {
  readonly #limits: RunLimits;
  readonly #counts: FioKillCounts;
  readonly #random: () => number;
  readonly #gateway: TortureGateway;
  readonly #target: Target;
  readonly #dataCrc: boolean;
  readonly #cacheBytes: number;
  #fio: Job | undefined;

  constructor(limits: RunLimits, counts: FioKillCounts, random: () => number, targetOf: (gateway: TortureGateway) => Target) {
    this.#limits = limits;
    this.#counts = counts;
    this.#random = random;
    this.#dataCrc = random() < 0.25;
    // Larger than the volume, or so small that there is always something to collect.
    this.#cacheBytes = (random() < 0.5 ? 512 : 160) * MIB;
    this.#gateway = new TortureGateway({
      cacheBytes: this.#cacheBytes,
      volumeBytes: VOLUME_BYTES,
      cacheOn: random() < 0.8 ? 'memory' : 'disk',
      dataCrc: this.#dataCrc,
      gcPercent: 70,
      immortal: true,
    });
    this.#target = targetOf(this.#gateway);
  }

  async run(): Promise<void> {
    const gateway = this.#gateway;
    let probe: PauseProbe | undefined;
    try {
      await gateway.format();
      await gateway.mount();
      await this.#target.begin();
      for (let round = 0; round < ROUNDS_PER_CACHE && !this.#limits.isOver; round++) {
        probe = new PauseProbe(this.#target.file, FIO_BYTES);
        await this.#round(probe);
        if (this.#limits.interrupted) return;
        // What one round writes fits in twice.
        const hasRoom = round === 0 && this.#cacheBytes > 2 * FIO_BYTES;
        this.#counts.take(await probe.end(), { dataCrc: this.#dataCrc, hasRoom });
        await this.#target.check();
      }
      await this.#target.end();
      const shown = await digestOf(gateway.volume, { direct: true });
      await this.#target.letGo();
      await gateway.umountFlushed();
      await gateway.check();
      if ((await digestOf(gateway.backing)) !== shown) throw new Error('the backing file alone is not what the volume was');
    } catch (error) {
      throw new Error(`${(error as Error).message}; the log of the gateway ends: ${gateway.log().trim().split('\n').slice(-5).join(' ')}`, {
        cause: error,
      });
    } finally {
      this.#fio?.child.kill('SIGKILL');
      probe?.kill();
      await gateway.dispose();
      await this.#fio?.end();
      await probe?.end();
    }
  }

  /** One run of fio and the kills under it. */
  async #round(probe: PauseProbe): Promise<void> {
    const job: FioJob = {
      rw: 'randwrite',
      ...(this.#random() < 0.7 ? { bs: '4k' } : { bsrange: '4k-64k' }),
      ioengine: 'libaio',
      direct: 1,
      iodepth: 16,
      numjobs: JOBS,
      size: JOB_BYTES,
      offset_increment: JOB_BYTES,
      // Other bytes each time, so that an old block can't pass for a new one.
      randseed: 1 + Math.floor(this.#random() * 1e9),
      verify: 'crc32c',
      verify_fatal: 1,
    };
    const fio = new Job('fio', fioArguments(this.#target.file, job));
    this.#fio = fio;
    const isWriting = (): boolean => !fio.ended;
    while (isWriting() && !this.#limits.isOver) {
      // Now and then the next one dies before it has answered anything.
      if (this.#random() < 0.75) await probe.goesOn(ANSWER_MS);
      await delay(this.#random() * MOMENT_MS_MAX);
      const { enginePid } = this.#gateway;
      if (!isWriting() || enginePid === undefined) continue;
      const killedMs = machineMs();
      if (!kill(enginePid)) continue;
      probe.note(killedMs);
      this.#counts.kills++;
      this.#counts.show();
      if (probe.failure !== undefined) throw new Error(probe.failure);
    }
    if (this.#limits.interrupted) return;
    const { status, stdout, stderr } = await fio.finished(ROUND_MS);
    const errors = errorsOf(stdout);
    if (status !== 0 || errors.length !== JOBS || errors.some((error) => error !== '0')) {
      throw new Error(`fio: status ${status ?? 'killed'}, errors ${errors.join(' ')}: ${stderr.trim()} ${stdout.slice(0, 500)}`);
    }
    if (probe.failure !== undefined) throw new Error(probe.failure);
    this.#counts.rounds++;
    this.#counts.verifiedMib += FIO_BYTES / MIB;
  }
}

/** In the terse format a job's fifth field is its error. */
function errorsOf(stdout: string): string[] {
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('3;'))
    .map((line) => line.split(';')[4] ?? '?');
}
