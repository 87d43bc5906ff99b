// A random schedule of faults under a random use of a volume, on simulated devices and a clock that only moves when told to. The volume is compared with a
// flat array all the time; in the end the device recovers, everything is written back, and it is compared again. One seed, one run.
//
// What may fail while something is wrong: reads of what is not cached, writes that need such a read or room. What may not: reads of what is
// cached, flushes, and anything at all once the device works again.

import type { BackingDevice } from '../../src/device/device.js';
import { errno } from '../../src/device/errno-codes.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { PcacheError } from '../../src/errors.js';
import { BackgroundWork, PAUSE_LAST_MS } from '../../src/gateway/background-work.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';
import { DelayLayer, ErrorLayer, FullLayer, GoneLayer, LostFlushLayer, ShortLayer, type CallKind } from './fault-layers.js';
import { payload } from './model-payload.js';
import { MIB, Rig, firstDifference, sameBytes } from './model-rig.js';

const VOLUME_BYTES = 6 * MIB;
const WRITE_BYTES_MAX = 512 * 1024;
const STEPS = 120;
const KINDS: readonly CallKind[] = ['read', 'write', 'flush'];

export interface FaultScheduleOptions {
  readonly seed: number;
  readonly writers: number;
  readonly dataCrc?: boolean;
  /** For tests of the check itself: what the volume is given in place of its backing device. */
  readonly plant?: (device: BackingDevice) => BackingDevice;
}

export interface FaultScheduleReport {
  /** Faults that were switched on. */
  readonly faults: number;
  /** Calls that failed because of them. */
  readonly failedCalls: number;
  /** Reads and writes of the volume that were answered with an error. */
  readonly refused: number;
  readonly deaths: number;
  /** What was wrong; undefined if nothing was. */
  readonly problem: string | undefined;
}

class Wrong extends Error {}

class Schedule {
  faults = 0;
  refused = 0;
  deaths = 0;
  readonly #options: FaultScheduleOptions;
  readonly #random: () => number;
  readonly #rig: Rig;
  readonly #model = new Uint8Array(VOLUME_BYTES);
  readonly #error: ErrorLayer;
  readonly #short: ShortLayer;
  readonly #delay: DelayLayer;
  readonly #lost: LostFlushLayer;
  readonly #full: FullLayer;
  readonly #gone: GoneLayer;
  readonly #backing: BackingDevice;
  #volume: InlineVolume;
  #work: BackgroundWork;
  #writes = 0;

  constructor(options: FaultScheduleOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    // Collected early, so that content comes from the backing device, too.
    this.#rig = new Rig({ volumeBytes: VOLUME_BYTES, dataCrc: options.dataCrc ?? false, gcPercent: 40 });
    this.#lost = new LostFlushLayer(this.#rig.backing);
    this.#short = new ShortLayer(this.#lost, this.#random);
    this.#error = new ErrorLayer(this.#short, this.#random);
    // As Linux does: pages that could not be written are clean from then on, and forgotten.
    this.#error.onFailedFlush = () => {
      if (this.#isHonest) this.#rig.backing.crash(this.#random);
    };
    this.#full = new FullLayer(this.#error);
    this.#delay = new DelayLayer(this.#full, (ms) => (this.#rig.clockMs += ms));
    this.#gone = new GoneLayer(this.#delay);
    this.#backing = options.plant?.(this.#gone) ?? this.#gone;
    [this.#volume, this.#work] = this.#open();
  }

  get failedCalls(): number {
    return this.#error.failed + this.#short.cut + this.#full.refused + this.#gone.missed;
  }

  run(): void {
    for (let step = 0; step < STEPS; step++) this.#step();
    this.#heal();
    this.#compare('after the device recovered');
    this.#drain();
    const difference = firstDifference(this.#rig.backing.content(), this.#model);
    if (difference !== undefined) throw new Wrong(`the backing device differs from the model at ${difference}`);
    this.#volume.close();
    [this.#volume, this.#work] = this.#open();
    this.#compare('after it was opened again');
    this.#volume.close();
  }

  #open(): [InlineVolume, BackgroundWork] {
    const volume = this.#rig.open({ writers: this.#options.writers, backing: this.#backing });
    const work = new BackgroundWork(new Maintenance(volume.caches[0]!, this.#backing), () => this.#rig.clockMs, {
      backingFailed: () => undefined,
      backingWorks: () => undefined,
      cacheFailed: (what, error) => {
        throw new Wrong(`${what}: the cache device is said to fail: ${String(error)}`);
      },
    });
    return [volume, work];
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #step(): void {
    this.#rig.clockMs += this.#below(2000);
    const choice = this.#random();
    if (choice < 0.4) this.#write();
    else if (choice < 0.6) this.#read();
    else if (choice < 0.68) this.#volume.flush();
    else if (choice < 0.85) this.#workOn();
    else if (choice < 0.95) this.#startFault();
    else if (choice < 0.98) this.#heal();
    else this.#die();
  }

  #workOn(): void {
    this.#volume.flush();
    for (let steps = this.#below(6); steps >= 0; steps--) {
      this.#rig.clockMs += this.#below(PAUSE_LAST_MS);
      this.#work.step();
    }
  }

  #startFault(): void {
    this.#faultOf(this.#below(6));
    this.faults++;
  }

  #faultOf(kind: number): void {
    switch (kind) {
      case 0: {
        this.#error.kinds = new Set(KINDS.filter(() => this.#random() < 0.6));
        this.#error.probability = this.#random() < 0.5 ? 1 : 0.3;
        this.#error.after = this.#random() < 0.3;
        this.#error.number = this.#random() < 0.3 ? errno.ENOSPC : errno.EIO;
        return;
      }
      case 1: {
        this.#short.probability = 0.1 + 0.9 * this.#random();
        return;
      }
      case 2: {
        this.#delay.delayMs = this.#below(5000);
        return;
      }
      case 3: {
        this.#lost.active = true;
        return;
      }
      case 4: {
        this.#full.roomBytes = this.#below(MIB);
        return;
      }
      default: {
        this.#gone.leave(this.#isHonest && this.#random() < 0.5 ? () => this.#rig.backing.crash(this.#random) : undefined);
      }
    }
  }

  /** A device that lied about a flush may lose what was flushed, and nobody could do anything about it. */
  get #isHonest(): boolean {
    return this.#lost.lost === 0;
  }

  #heal(): void {
    this.#error.kinds = new Set();
    this.#short.probability = 0;
    this.#delay.delayMs = 0;
    this.#lost.active = false;
    this.#full.roomBytes = Number.POSITIVE_INFINITY;
    this.#gone.comeBack();
  }

  #place(): { offset: number; length: number } {
    const isAligned = this.#random() < 0.7;
    const unit = isAligned ? SECTOR_BYTES : 1;
    const length = (1 + this.#below((this.#random() < 0.2 ? WRITE_BYTES_MAX : 16 * 1024) / unit)) * unit;
    return { offset: this.#below((VOLUME_BYTES - length) / unit + 1) * unit, length };
  }

  #write(): void {
    const { offset, length } = this.#place();
    const bytes = payload(++this.#writes, length);
    try {
      this.#volume.write(offset, bytes, this.#below(this.#options.writers));
      this.#model.set(bytes, offset);
    } catch (error) {
      this.#refuse(error);
      this.#settle(offset, bytes);
    }
  }

  /** A write that failed may be there in part: each of its sectors is old or new. */
  #settle(offset: number, bytes: Uint8Array): void {
    this.#heal();
    const got = this.#volume.read(offset, bytes.length);
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(bytes.length, at + SECTOR_BYTES - ((offset + at) % SECTOR_BYTES));
      const part = got.subarray(at, end);
      if (!sameBytes(part, bytes.subarray(at, end)) && !sameBytes(part, this.#model.subarray(offset + at, offset + end))) {
        throw new Wrong(`a write that failed left bytes of neither before nor after at ${offset + at}`);
      }
      at = end;
    }
    this.#model.set(got, offset);
  }

  #read(): void {
    const { offset, length } = this.#place();
    let got: Uint8Array;
    try {
      got = this.#volume.read(offset, length, this.#below(this.#options.writers));
    } catch (error) {
      this.#refuse(error);
      return;
    }
    const difference = firstDifference(got, this.#model.subarray(offset, offset + length));
    if (difference !== undefined) throw new Wrong(`a read differs from the model at ${offset + difference}`);
  }

  #refuse(error: unknown): void {
    if (!(error instanceof PcacheError) || (error.code !== 'io' && error.code !== 'no-space')) throw error;
    this.refused++;
  }

  #die(): void {
    this.deaths++;
    this.#volume.close({ crash: true });
    this.#rig.killProcess();
    [this.#volume, this.#work] = this.#open();
  }

  /** All is well, so each pass gets on, once the last pause is over. */
  #drain(): void {
    this.#volume.flush();
    this.#rig.clockMs += PAUSE_LAST_MS;
    for (let left = 10_000; this.#volume.dirtyBytes > 0; left--) {
      if (left === 0) throw new Wrong(`${this.#volume.dirtyBytes} bytes are not written back though the device works`);
      this.#work.step();
      this.#volume.flush();
    }
  }

  #compare(when: string): void {
    const difference = firstDifference(this.#volume.read(0, VOLUME_BYTES), this.#model);
    if (difference !== undefined) throw new Wrong(`${when} the volume differs from the model at ${difference}`);
  }
}

export function runFaultSchedule(options: FaultScheduleOptions): FaultScheduleReport {
  const schedule = new Schedule(options);
  let problem: string | undefined;
  try {
    schedule.run();
  } catch (error) {
    problem = `seed ${options.seed}, ${options.writers} writers: ${error instanceof Error ? error.message : String(error)}`;
  }
  const { faults, failedCalls, refused, deaths } = schedule;
  return { faults, failedCalls, refused, deaths, problem };
}
