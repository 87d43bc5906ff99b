// A volume that crashes again and again: at any persist of the cache device, at any call of the backing device, while it is opened after
// the last crash. After each crash the promises are checked (see WriteHistory). One seed, one run.

import type { BackingDevice, CacheDevice } from '../../src/device/device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { HeadWord } from '../../src/cache/shared-state.js';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import {
  SEGMENT_DATA_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENTS_OFFSET,
  SECTOR_BYTES,
  SUBTREE_BYTES,
  segmentDeviceOffset,
} from '../../src/media/layout.js';
import type { SegmentOffset } from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { samePosition } from '../../src/media/log-position.js';
import { TAIL_BYTES, TAIL_OFFSETS, writeTail } from '../../src/media/tails.js';
import { chooseCopy } from '../../src/media/two-copy-record.js';
import { mediaRuleProblems } from './media-rules.js';
import { WriteHistory } from './model-history.js';
import { payload } from './model-payload.js';
import { MIB, Rig } from './model-rig.js';

export interface CrashOptions {
  readonly seed: number;
  readonly crashes: number;
  readonly dataCrc?: boolean;
  readonly writers?: number;
  /** A bug to plant: a layer over the cache device. */
  readonly deviceLayer?: (device: CacheDevice) => CacheDevice;
  /** A bug to plant: a layer over the backing device. */
  readonly backingLayer?: (device: BackingDevice) => BackingDevice;
  /** Largest write. Default 16 KiB. */
  readonly writeBytesMax?: number;
}

export interface CrashReport {
  /** The first thing that was wrong, with the seed; undefined if nothing was. */
  readonly problem: string | undefined;
  readonly powerLosses: number;
  readonly kills: number;
  /** Crashes while the volume was being opened. */
  readonly openCrashes: number;
  readonly writes: number;
}

/** The window lies around a multiple of 4 MiB, where writes become two keys. */
const WINDOW_BYTES = 192 * 1024;
const WINDOW_START = SUBTREE_BYTES - WINDOW_BYTES / 2 - SECTOR_BYTES;
const VOLUME_BYTES = 2 * SUBTREE_BYTES;
const MAINTENANCE_CRASHES = 16;

export function simulateCrashes(options: CrashOptions): CrashReport {
  return new CrashSimulation(options).run();
}

class CrashSimulation {
  readonly #options: CrashOptions;
  readonly #random: () => number;
  readonly #rig: Rig;
  readonly #writers: number;
  #volume: InlineVolume;
  #history = new WriteHistory(new Uint8Array(WINDOW_BYTES));
  /** The write that is being made; it may be there after a crash, and it may not. */
  #inFlight: { offset: number; bytes: Uint8Array } | undefined;
  #powerLosses = 0;
  #kills = 0;
  #openCrashes = 0;
  #writes = 0;

  constructor(options: CrashOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#writers = options.writers ?? 1;
    this.#rig = new Rig({
      volumeBytes: VOLUME_BYTES,
      dataCrc: options.dataCrc ?? false,
      gcPercent: 0,
      cacheBytes: this.#writers === 1 ? 96 * MIB : 112 * MIB,
    });
    this.#volume = this.#open();
  }

  run(): CrashReport {
    let problem: string | undefined;
    try {
      while (problem === undefined && this.#powerLosses + this.#kills < this.#options.crashes) problem = this.#life();
    } catch (error) {
      // Whatever the program throws where no fault was planted is a failure of the program.
      problem = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
    const seed = `seed ${this.#options.seed}, crash ${this.#powerLosses + this.#kills}`;
    return {
      problem: problem === undefined ? undefined : `${seed}: ${problem}`,
      powerLosses: this.#powerLosses,
      kills: this.#kills,
      openCrashes: this.#openCrashes,
      writes: this.#writes,
    };
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #open(): InlineVolume {
    const { deviceLayer, backingLayer } = this.#options;
    return this.#rig.open({
      writers: this.#writers,
      ...(deviceLayer === undefined ? {} : { device: deviceLayer(this.#rig.device) }),
      ...(backingLayer === undefined ? {} : { backing: backingLayer(this.#rig.backing) }),
    });
  }

  /** The next crash comes at one of the next persists, or calls of the backing device. */
  #arm(steps: number): void {
    const { device, backing } = this.#rig;
    let left = 1 + this.#pick(steps);
    const count = (): void => {
      if (--left <= 0) throw new SimulatedCrash();
    };
    device.onPersist = count;
    backing.onCall = ({ kind }) => {
      if (kind !== 'read') count();
    };
  }

  #disarm(): void {
    this.#rig.device.onPersist = undefined;
    this.#rig.backing.onCall = undefined;
  }

  /** From one crash to the next. Returns what was wrong. */
  #life(): string | undefined {
    const crashes = this.#powerLosses + this.#kills;
    if (crashes > 0 && crashes % MAINTENANCE_CRASHES === 0) {
      const problem = this.#maintain();
      if (problem !== undefined) return problem;
    }
    this.#arm(this.#pick(4) === 0 ? 120 : 12);
    let operations = 200;
    try {
      while (operations-- > 0) this.#operate();
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
    }
    this.#disarm();
    if (this.#inFlight !== undefined) this.#history.write({ ...this.#inFlight, canTear: true });
    const acknowledged = this.#history.length - (this.#inFlight === undefined ? 0 : 1);
    this.#inFlight = undefined;
    return this.#recover(acknowledged);
  }

  #operate(): void {
    const volume = this.#volume;
    const choice = this.#pick(100);
    const rig = this.#rig;
    rig.clockMs += this.#pick(200);
    if (choice < 62) this.#write();
    else if (choice < 74) {
      volume.flush();
      this.#history.flush();
    } else if (choice < 82) volume.logStep(this.#pick(2) * 500);
    else if (choice < 91) volume.writebackStep();
    else if (choice < 96) volume.gcStep();
    else {
      const offset = this.#pick(WINDOW_BYTES);
      volume.read(WINDOW_START + offset, Math.min(WINDOW_BYTES - offset, 1 + this.#pick(32 * 1024)), this.#pick(this.#writers));
    }
  }

  #write(): void {
    const aligned = this.#pick(4) > 0;
    const most = this.#pick(8) === 0 ? (this.#options.writeBytesMax ?? 16 * 1024) : 2048;
    let offset = this.#pick(WINDOW_BYTES);
    let length = 1 + this.#pick(most);
    if (aligned) {
      offset -= offset % SECTOR_BYTES;
      length = Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES;
    }
    length = Math.min(length, WINDOW_BYTES - offset);
    const bytes = payload(++this.#writes, length);
    const start = WINDOW_START + offset;
    const headsBefore = this.#heads();
    this.#inFlight = { offset, bytes };
    this.#volume.write(start, bytes, this.#pick(this.#writers));
    this.#inFlight = undefined;
    const crossesLine = Math.floor(start / SUBTREE_BYTES) !== Math.floor((start + length - 1) / SUBTREE_BYTES);
    const isUnaligned = start % SECTOR_BYTES !== 0 || length % SECTOR_BYTES !== 0;
    this.#history.write({ offset, bytes, canTear: crossesLine || isUnaligned || this.#heads() !== headsBefore });
  }

  /** The segments of the data heads, to see whether a write went over the end of one. */
  #heads(): string {
    const { heads } = this.#volume.opened.shared;
    let segments = '';
    for (let at = 0; at < heads.length; at += HeadWord.stride) segments += `${heads[at + HeadWord.segment]!},`;
    return segments;
  }

  /** Crashes, opens again (perhaps crashing on the way), and checks everything. `acknowledged`: writes that were. */
  #recover(acknowledged: number): string | undefined {
    const isPowerLoss = this.#pick(4) > 0;
    let lostPower = this.#crash(isPowerLoss);
    for (;;) {
      if (this.#pick(3) === 0) this.#arm(5);
      try {
        this.#volume = this.#open();
        break;
      } catch (error) {
        if (!(error instanceof SimulatedCrash)) throw error;
        this.#openCrashes++;
        this.#disarm();
        lostPower = this.#crash(this.#pick(2) === 0) || lostPower;
      }
    }
    this.#disarm();
    const backing = this.#rig.backing.content(WINDOW_START, WINDOW_BYTES);
    const content = this.#volume.read(WINDOW_START, WINDOW_BYTES);
    const problem = this.#history.cutToPrefix(content, lostPower ? undefined : acknowledged);
    if (problem !== undefined) return `${lostPower ? 'loss of power' : 'death of the process'}: ${problem}`;
    const interval = this.#history.checkInterval(backing, lostPower);
    if (interval !== undefined) return `${lostPower ? 'loss of power' : 'death of the process'}: ${interval}`;
    // After a loss of power, opening is as good as a flush: what was replayed is what is durable.
    if (lostPower) this.#history.flush();
    const rules = mediaRuleProblems(this.#rig.device);
    return rules.length === 0 ? undefined : `the media: ${rules[0]!}`;
  }

  #crash(isPowerLoss: boolean): boolean {
    this.#volume.close({ crash: true });
    if (isPowerLoss) {
      this.#powerLosses++;
      this.#rig.losePower(this.#random, this.#pick(2) === 0 ? 64 : 4096);
    } else {
      this.#kills++;
      this.#rig.killProcess();
    }
    return isPowerLoss;
  }

  /** Writes everything back, closes in order, and moves the log to where its segment ends soon, so that it changes segments often. */
  #maintain(): string | undefined {
    const volume = this.#volume;
    volume.writeBackAll();
    while (volume.gcStep());
    volume.close();
    this.#history.flush();
    const problem = this.#history.cutToPrefix(this.#rig.backing.content(WINDOW_START, WINDOW_BYTES), this.#history.length);
    if (problem !== undefined) return `after writeback of everything: ${problem}`;
    this.#history.restart();
    moveEmptyLog(this.#rig.device, 64 + 8 * this.#pick(2000));
    this.#volume = this.#open();
    return undefined;
  }
}

/** Moves an empty log on to `leftBytes` before the last place of its segment, as if so much had been logged and collected. */
export function moveEmptyLog(device: CacheDevice, leftBytes: number): void {
  const media = readCacheMedia(device);
  const { end } = walkLog(media.log, media.keyTail);
  const segOff = SEGMENT_DATA_BYTES - 24 - Math.ceil(leftBytes / 8) * 8;
  if (!samePosition(media.keyTail, end) || !samePosition(media.dirtyTail, end) || segOff <= end.segOff) return;
  const place = { cacheSegId: end.cacheSegId, segOff: segOff as SegmentOffset };
  const physical = media.physicalOf[end.cacheSegId]!;
  device.segment(physical).bytes.fill(0, SEGMENT_DATA_OFFSET + segOff, SEGMENT_DATA_OFFSET + segOff + 24);
  device.persist(segmentDeviceOffset(physical) + SEGMENT_DATA_OFFSET + segOff, 24);
  const control = device.control.bytes;
  for (const name of ['key_tail', 'dirty_tail'] as const)
    writeTail(control, name, place, chooseCopy(control, TAIL_OFFSETS[name], TAIL_BYTES));
  device.persist(0, SEGMENTS_OFFSET);
}
