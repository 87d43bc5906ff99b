// Used caches for the damage matrix, small enough to be put back as they were after each trial: a segment holds little, so the log changes segments
// and segments are reused within a few hundred writes. With each go the volume it stands for, and versions of the same media from earlier on.

import { seededRandom } from '../../src/device/seeded-random.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { PAGE_BYTES, SEGMENTS_OFFSET, SEGMENT_BYTES, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { formatCache } from '../../src/cache/format.js';
import { KernelModel, kernelFormat } from './kernel-model.js';
import { payload } from './model-payload.js';
import { bootIdOf } from './model-rig.js';

export const VOLUME_BYTES = 64 * 1024;
const SECTOR_BYTES = 512;
/** What is read before it is written comes from here, and is cached as a clean copy. */
const READ_ONLY_START = 48 * 1024;
const SEGMENT_DATA_BYTES = 24 * 1024;
/** Of each segment, from its start: all that these caches use, and what the kernel, which knows no such limit, comes to in a few writes. */
export const USED_BYTES = SEGMENT_DATA_OFFSET + SEGMENT_DATA_BYTES + 4 * PAGE_BYTES;
const BOOT_ID = bootIdOf(1);
const OLDER_VERSIONS_MAX = 12;

export interface CacheVariant {
  readonly name: string;
  readonly dataCrc: boolean;
  readonly writes: number;
  /** How often it is flushed, written back and collected: one in so many writes; 0: never. */
  readonly flushEvery: number;
  readonly writeBackEvery: number;
  readonly collectEvery: number;
  /** Writes after a flush, when the process dies; undefined: it is closed in order. */
  readonly staged?: number;
  /** Of these some are flushed (`flush`), or some ksets are closed without a flush (`close`). */
  readonly since?: 'flush' | 'close';
  /** The kernel formats it, and writes the first half (`half`) or all of it (`all`). */
  readonly kernel?: 'half' | 'all';
}

const BUSY = { writes: 700, flushEvery: 2, writeBackEvery: 16, collectEvery: 20 };
const LAYOUTS: readonly Omit<CacheVariant, 'dataCrc'>[] = [
  { name: 'fresh', writes: 6, flushEvery: 2, writeBackEvery: 0, collectEvery: 0 },
  { name: 'never used', writes: 0, flushEvery: 1, writeBackEvery: 0, collectEvery: 0 },
  { name: 'clean and dirty', writes: 40, flushEvery: 3, writeBackEvery: 13, collectEvery: 0 },
  { name: 'log of several segments', writes: 60, flushEvery: 1, writeBackEvery: 7, collectEvery: 0 },
  { name: 'reused segments', ...BUSY },
  { name: 'reused segments, staged keys', ...BUSY, staged: 9 },
  { name: 'staged keys', writes: 12, flushEvery: 5, writeBackEvery: 0, collectEvery: 0, staged: 5 },
  { name: 'flushed since, staged keys', writes: 12, flushEvery: 5, writeBackEvery: 9, collectEvery: 0, staged: 12, since: 'flush' },
  { name: 'closed since, staged keys', writes: 12, flushEvery: 5, writeBackEvery: 9, collectEvery: 0, staged: 11, since: 'close' },
  { name: 'begun by the kernel', writes: 20, flushEvery: 3, writeBackEvery: 7, collectEvery: 8, kernel: 'half' },
  { name: "the kernel's alone", writes: 16, flushEvery: 3, writeBackEvery: 7, collectEvery: 8, kernel: 'all' },
];
export const CACHE_VARIANTS: readonly CacheVariant[] = LAYOUTS.flatMap((layout) => [
  { ...layout, dataCrc: true },
  { ...layout, dataCrc: false },
]);

interface Writer {
  write(offset: number, bytes: Uint8Array): void;
  flush(): void;
}

/** The media as one array: the control area, then the used part of each segment. */
export class UsedMedia {
  readonly #device: SimulatedCacheDevice;

  constructor(device: SimulatedCacheDevice) {
    this.#device = device;
  }

  get sizeBytes(): number {
    return SEGMENTS_OFFSET + this.#device.segmentCount * USED_BYTES;
  }

  save(): Uint8Array {
    const bytes = new Uint8Array(this.sizeBytes);
    bytes.set(this.#device.control.bytes);
    this.#forEachSegment((segment, at) => bytes.set(segment, at));
    return bytes;
  }

  restore(bytes: Uint8Array): void {
    this.#device.control.bytes.set(bytes.subarray(0, SEGMENTS_OFFSET));
    this.#forEachSegment((segment, at) => segment.set(bytes.subarray(at, at + USED_BYTES)));
  }

  /** Where a device offset is in the array; undefined if it is not part of it. */
  indexOf(deviceOffset: number): number | undefined {
    if (deviceOffset < SEGMENTS_OFFSET) return deviceOffset;
    const within = (deviceOffset - SEGMENTS_OFFSET) % SEGMENT_BYTES;
    if (within >= USED_BYTES) return undefined;
    return SEGMENTS_OFFSET + ((deviceOffset - SEGMENTS_OFFSET - within) / SEGMENT_BYTES) * USED_BYTES + within;
  }

  #forEachSegment(visit: (segment: Uint8Array, at: number) => void): void {
    for (let id = 0; id < this.#device.segmentCount; id++) {
      visit(this.#device.segment(id as PhysicalSegmentId).bytes.subarray(0, USED_BYTES), SEGMENTS_OFFSET + id * USED_BYTES);
    }
  }
}

export class DamageCache {
  readonly variant: CacheVariant;
  readonly device = new SimulatedCacheDevice({ persistence: 'memory' });
  readonly backing = new SimulatedBackingDevice({ sizeBytes: VOLUME_BYTES });
  readonly media = new UsedMedia(this.device);
  /** The volume as of the last acknowledged write. */
  readonly latest = new Uint8Array(VOLUME_BYTES);
  /**
   * What the volume may be after damage that can't be noticed, oldest first: as of each write since the last flush; of a cache that the kernel alone
   * wrote, as of each write.
   */
  readonly states: Uint8Array[] = [];
  readonly olderVersions: Uint8Array[] = [];
  readonly pristine: Uint8Array;
  readonly #random: () => number;
  #clockMs = 0;
  #writes = 0;

  constructor(variant: CacheVariant, seed: number) {
    this.variant = variant;
    this.#random = seededRandom(seed);
    for (let at = 0; at < VOLUME_BYTES; at += SECTOR_BYTES) this.latest.set(payload(5_000_000 + at, SECTOR_BYTES), at);
    this.backing.fill(0, this.latest);
    const { kernel, dataCrc } = variant;
    if (kernel === undefined)
      formatCache(this.device, { dataCrc, gcPercent: 0, uuid: new Uint8Array(16).fill(7), nowMs: 1_700_000_000_000 });
    else kernelFormat(this.device, { dataCrc, gcPercent: 0 });
    this.#keepVersion();
    if (kernel !== undefined) this.#useAsKernel(kernel === 'all' ? variant.writes : variant.writes / 2);
    if (kernel !== 'all') this.#useAsGateway(kernel === undefined ? variant.writes : variant.writes / 2);
    this.pristine = this.media.save();
  }

  open(backing: SimulatedBackingDevice): InlineVolume {
    return new InlineVolume(this.device, backing, {
      adopt: false,
      bootId: BOOT_ID,
      writers: 1,
      readOnly: false,
      newUuid: new Uint8Array(16).fill(9),
      nowMs: 1_700_000_000_000,
      clock: () => this.#clockMs,
      segmentDataBytes: SEGMENT_DATA_BYTES,
    });
  }

  get bootId(): string {
    return BOOT_ID;
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  /** Every so often one of the kept versions is replaced, so that they are from all of the cache's life. */
  #keepVersion(): void {
    if (this.olderVersions.length < OLDER_VERSIONS_MAX) this.olderVersions.push(this.media.save());
    else this.olderVersions[this.#pick(OLDER_VERSIONS_MAX)] = this.media.save();
  }

  #write(to: Writer): void {
    const length = SECTOR_BYTES * (1 + this.#pick(this.#pick(8) === 0 ? 12 : 3));
    const offset = SECTOR_BYTES * this.#pick((READ_ONLY_START - length) / SECTOR_BYTES + 1);
    const bytes = payload(++this.#writes * 16, length);
    to.write(offset, bytes);
    this.latest.set(bytes, offset);
  }

  #useAsGateway(writes: number): void {
    const { flushEvery, writeBackEvery, collectEvery, staged, since } = this.variant;
    const volume = this.open(this.backing);
    for (let write = 1; write <= writes; write++) {
      this.#write(volume);
      if (this.#pick(4) === 0) volume.read(READ_ONLY_START + SECTOR_BYTES * this.#pick(30), SECTOR_BYTES * 2);
      if (write % flushEvery === 0) volume.flush();
      if (writeBackEvery > 0 && write % writeBackEvery === 0) while (volume.writebackStep());
      if (collectEvery > 0 && write % collectEvery === 0) for (let step = this.#pick(3); step > 0; step--) volume.gcStep();
      this.#clockMs += this.#pick(1500);
      volume.logStep(1_000_000);
      if (this.#pick(Math.ceil(writes / (2 * OLDER_VERSIONS_MAX))) === 0) this.#keepVersion();
    }
    if (staged === undefined) {
      volume.close();
      this.states.push(this.latest.slice());
      return;
    }
    volume.flush();
    this.states.push(this.latest.slice());
    this.#keepVersion();
    for (let write = 0; write < staged; write++) {
      this.#write(volume);
      this.states.push(this.latest.slice());
      if (write % 3 !== 0) continue;
      if (since === 'close') volume.logStep(0);
      if (since !== 'flush') continue;
      volume.flush();
      this.states.splice(0, this.states.length - 1);
    }
    volume.close({ crash: true });
  }

  #useAsKernel(writes: number): void {
    const { flushEvery, writeBackEvery, collectEvery } = this.variant;
    const kernel = new KernelModel(this.device, this.backing);
    if (this.variant.kernel === 'all') this.states.push(this.latest.slice());
    for (let write = 1; write <= writes; write++) {
      this.#write(kernel);
      if (this.variant.kernel === 'all') this.states.push(this.latest.slice());
      if (write % flushEvery === 0) kernel.flush();
      if (write % writeBackEvery === 0) kernel.writeBack(2);
      if (write % collectEvery === 0) kernel.collect(1);
      if (write % 3 === 0) this.#keepVersion();
    }
    kernel.flush();
  }
}
