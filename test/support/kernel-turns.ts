// A cache that changes hands at random between this gateway and the kernel's dm-pcache, on the same boot and after a restart, whoever crashes. The
// kernel knows nothing of staged keys: for it the log ends at the last kset that was closed. So what was acknowledged and not flushed when this gateway died
//
// - is all there again if the kernel did nothing to the cache,
// - is a prefix if the kernel wrote back and collected,
// - is gone, but for what was in closed ksets, once the kernel has written anything: it must not come back over what the kernel wrote.

import { examineCache } from '../../src/cache/check-cache.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';
import { KernelModel, kernelFormat } from './kernel-model.js';
import { payload } from './model-payload.js';
import { MIB, Rig, bootIdOf, firstDifference, sameBytes } from './model-rig.js';

export const KERNEL_TURNS_VOLUME_BYTES = 5 * MIB;
const VOLUME_BYTES = KERNEL_TURNS_VOLUME_BYTES;
/** The part of the volume that is written to: over the end of a subtree. */
export const WINDOW_START = 4 * MIB - 64 * 1024;
const WINDOW_SECTORS = 256;
/** What a segment holds for the gateway: its log and its data change segments often. */
const SEGMENT_DATA_BYTES = 32 * 1024;

/** A volume in whose cache a segment holds little, so that log and data change segments often. */
export function openSmall(rig: Rig, segmentDataBytes = SEGMENT_DATA_BYTES): InlineVolume {
  return new InlineVolume(rig.device, rig.backing, {
    adopt: false,
    bootId: bootIdOf(rig.boot),
    writers: 1,
    readOnly: false,
    newUuid: new Uint8Array(16).fill(9),
    nowMs: 1_700_000_000_000,
    clock: () => rig.clockMs,
    segmentDataBytes,
  });
}

interface Readable {
  read(offsetBytes: number, lengthBytes: number): Uint8Array;
}

interface SectorWrite {
  readonly sector: number;
  readonly bytes: Uint8Array;
}

/** What the window may hold: what is certain, and the sectors written since in their order, of which a prefix may be there. */
class Expected {
  #certain: Uint8Array = new Uint8Array(WINDOW_SECTORS * SECTOR_BYTES);
  #writes: SectorWrite[] = [];
  /** So many of them are there for certain. */
  #least = 0;

  write(sector: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      this.#writes.push({ sector: sector + at / SECTOR_BYTES, bytes: bytes.subarray(at, at + SECTOR_BYTES) });
    }
  }

  get uncertain(): number {
    return this.#writes.length - this.#least;
  }

  /** All of them are there from now on, and nothing else can be. */
  allCertain(): void {
    this.#least = this.#writes.length;
  }

  /** Only those that `read` shows, a prefix that has what is certain, are there; the others can still come back. Throws Error if it shows none such. */
  look(read: Readable, what: string): void {
    const found = read.read(WINDOW_START, this.#certain.length);
    const content = Uint8Array.from(this.#certain);
    const differs = new Set<number>();
    const compare = (sector: number): void => {
      const at = sector * SECTOR_BYTES;
      if (sameBytes(content.subarray(at, at + SECTOR_BYTES), found.subarray(at, at + SECTOR_BYTES))) differs.delete(sector);
      else differs.add(sector);
    };
    for (let sector = 0; sector < WINDOW_SECTORS; sector++) compare(sector);
    for (let count = 0; ; count++) {
      if (count >= this.#least && differs.size === 0) {
        this.#least = count;
        return;
      }
      const next = this.#writes[count];
      if (next === undefined) break;
      content.set(next.bytes, next.sector * SECTOR_BYTES);
      compare(next.sector);
    }
    throw new Error(`${what}: no prefix of the ${this.#writes.length} sectors written, of which ${this.#least} are certain`);
  }

  /** What is not certain is lost for good. */
  forget(): void {
    for (const { sector, bytes } of this.#writes.slice(0, this.#least)) this.#certain.set(bytes, sector * SECTOR_BYTES);
    this.#writes = [];
    this.#least = 0;
  }

  /** All of the window, after `forget`. */
  get content(): Uint8Array {
    return this.#certain;
  }
}

/** One cache that changes hands, at random. */
export class KernelTurns {
  readonly #rig: Rig;
  readonly #expected = new Expected();
  readonly #random: () => number;
  readonly #name: string;
  #writes = 0;
  /** Of the crashes of the gateway that left something uncertain: what the kernel then did. */
  readonly met = new Set<string>();
  /** Deaths of the gateway and restarts of the machine. */
  crashes = 0;

  constructor(runSeed: number) {
    this.#random = seededRandom(runSeed);
    this.#name = `seed ${runSeed}`;
    this.#writes = runSeed * 1000;
    const dataCrc = this.#pick(2) === 0;
    this.#rig = new Rig({ volumeBytes: VOLUME_BYTES, cacheBytes: 160 * MIB, dataCrc, persistence: 'memory', gcPercent: 0 });
    if (this.#pick(3) === 0) kernelFormat(this.#rig.device, { dataCrc, gcPercent: 0 });
  }

  run(turns: number): void {
    for (let turn = 0; turn < turns; turn++) {
      this.#gateway(turn);
      // Now and then the same turn again: this gateway after this gateway.
      if (this.#pick(4) > 0) this.#kernel(turn);
    }
    const volume = openSmall(this.#rig);
    this.#expected.look(volume, `${this.#name}: at the end`);
    this.#expected.forget();
    volume.writeBackAll();
    volume.close();
    const different = firstDifference(this.#rig.backing.content(WINDOW_START, WINDOW_SECTORS * SECTOR_BYTES), this.#expected.content);
    if (different !== undefined) throw new Error(`${this.#name}: byte ${different} of the backing device is wrong`);
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #write(to: { write(offset: number, bytes: Uint8Array): void }): void {
    const sectors = 1 + this.#pick(8);
    const sector = this.#pick(WINDOW_SECTORS - sectors);
    const bytes = payload(++this.#writes, sectors * SECTOR_BYTES);
    this.#expected.write(sector, bytes);
    to.write(WINDOW_START + sector * SECTOR_BYTES, bytes);
  }

  #requireNoAlarm(what: string): void {
    const { findings } = examineCache(this.#rig.device, { bootId: bootIdOf(this.#rig.boot) });
    const error = findings.find(({ severity }) => severity === 'error');
    if (error !== undefined) throw new Error(`${what}: check: ${error.place}: ${error.message}`);
  }

  #gateway(turn: number): void {
    const what = `${this.#name}, turn ${turn}, gateway`;
    this.#requireNoAlarm(what);
    const volume = openSmall(this.#rig);
    this.#expected.look(volume, what);
    // Whatever was not there now is not there later.
    this.#expected.forget();
    for (let step = this.#pick(60); step > 0; step--) {
      this.#rig.clockMs += this.#pick(300);
      const choice = this.#pick(12);
      if (choice < 7) this.#write(volume);
      else if (choice < 8) volume.logStep();
      else if (choice < 10) volume.writebackStep();
      else if (choice < 11) volume.gcStep();
      else {
        volume.flush();
        this.#expected.allCertain();
      }
    }
    const isCrash = this.#pick(3) > 0;
    volume.close({ crash: isCrash });
    if (isCrash) {
      this.crashes++;
      this.#rig.killProcess();
    }
    // An opening of this gateway on the same boot has all of it; the kernel may not, see below.
    else this.#expected.allCertain();
  }

  #kernel(turn: number): void {
    const what = `${this.#name}, turn ${turn}, kernel`;
    const kernel = new KernelModel(this.#rig.device, this.#rig.backing);
    this.#expected.look(kernel, what);
    const isStaged = this.#expected.uncertain > 0;
    let did = 'nothing';
    for (let step = this.#pick(3) * this.#pick(12); step > 0; step--) {
      const choice = this.#pick(5);
      if (choice < 1) did = kernel.writeBack(this.#pick(20)) > 0 && did === 'nothing' ? 'wrote back' : did;
      else if (choice < 3) did = kernel.collect(this.#pick(20)) > 0 && did !== 'wrote' ? 'collected' : did;
      else if (turn % 2 === 0) {
        if (did !== 'wrote') this.#expected.forget();
        did = 'wrote';
        this.#write(kernel);
        if (this.#pick(4) > 0) continue;
        kernel.flush();
        this.#expected.allCertain();
      }
    }
    const ending = this.#pick(4);
    if (ending === 0) {
      // The kernel goes down with the machine: this is another boot.
      if (this.#pick(2) === 0) kernel.collect(1 + this.#pick(3), { crash: true });
      this.#rig.boot++;
      this.crashes++;
      const after = new KernelModel(this.#rig.device, this.#rig.backing);
      this.#expected.look(after, `${what}, restarted`);
      this.#expected.forget();
    } else {
      kernel.flush();
      if (did === 'wrote') this.#expected.allCertain();
      if (did === 'nothing' && isStaged) this.#mustBeBack(what);
    }
    if (isStaged) this.met.add(ending === 0 ? `${did}, then a restart` : did);
  }

  /** Nothing was done to the cache: an acknowledged write is there. */
  #mustBeBack(what: string): void {
    this.#expected.allCertain();
    const { device, backing, boot } = this.#rig;
    const copy = new Rig({ volumeBytes: VOLUME_BYTES, devices: { device: device.fork(), backing: backing.fork() } });
    copy.boot = boot;
    this.#expected.look(openSmall(copy), `${what}, which did nothing`);
  }
}
