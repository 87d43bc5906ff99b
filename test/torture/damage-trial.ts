// A used cache whose media are damaged again and again. Whatever reads it must end, and may throw a PcacheError that is not `internal`, nothing
// else. The damage is undone after each trial, and the cache must then be found as it was.

import { isDeepStrictEqual } from 'node:util';
import { examineCache } from '../../src/cache/check-cache.js';
import { describeContent } from '../../src/cache/inspect-content.js';
import { inspectLog } from '../../src/cache/inspect-log.js';
import { inspectMedia } from '../../src/cache/inspect-media.js';
import { findStagedKsets, forEachKeyOf } from '../../src/cache/staged-ksets.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import type { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { PcacheError } from '../../src/errors.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import {
  CACHE_INFO_OFFSETS,
  KEY_TAIL_OFFSETS,
  SEGMENTS_OFFSET,
  SEGMENT_BYTES,
  SEGMENT_DATA_OFFSET,
  SUPERBLOCK_OFFSET,
  type PhysicalSegmentId,
} from '../../src/media/layout.js';
import { BOOT_ID, VOLUME_BYTES, formatted, pattern, useVolume } from '../cache/check-support.js';

const PLACES_MAX = 6;
const LENGTHS = [1, 8, 24, 40, 64, 512, 4096, 16384];
/** Bytes at the start of a log segment's data in which the trial's ksets are. */
const LOG_BYTES = 2500;
const READ_BYTES = 256 * 1024;

export interface DamageOutcome {
  readonly places: number;
  /** The cache could be opened all the same, and every part of the volume was read or refused. */
  readonly isOpened: boolean;
  readonly problem: string | undefined;
}

export class DamageTrial {
  readonly #random: () => number;
  readonly #device: SimulatedCacheDevice;
  readonly #before: unknown;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
    this.#device = formatted({ dataCrc: this.#pick(4) > 0 });
    useVolume(this.#device, (volume) => this.#use(volume), { crash: this.#pick(2) === 0 });
    this.#before = examineCache(this.#device, { bootId: BOOT_ID });
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  /** Part of it written back, several ksets, staged keys. */
  #use(volume: InlineVolume): void {
    const writes = 5 + this.#pick(25);
    const writtenBack = this.#pick(writes);
    for (let write = 0; write < writes; write++) {
      volume.write(this.#pick(VOLUME_BYTES / 512 - 64) * 512, pattern(512 * (1 + this.#pick(24)), write));
      if (this.#pick(3) === 0) volume.flush();
      if (write === writtenBack) volume.writeBackAll();
    }
  }

  /** Damages one to six places, has everything read the media, and undoes the damage. */
  damage(): DamageOutcome {
    const undo: (() => void)[] = [];
    const places = 1 + this.#pick(PLACES_MAX);
    for (let place = 0; place < places; place++) undo.push(this.#damagePlace());
    let isOpened = false;
    let problem: string | undefined;
    for (const look of [() => this.#inspect(), () => this.#examine(), () => (isOpened = this.#read())]) problem ??= problemOf(look);
    for (const step of undo.reverse()) step();
    if (problem === undefined && !isDeepStrictEqual(examineCache(this.#device, { bootId: BOOT_ID }), this.#before)) {
      problem = 'reading the damaged media changed them';
    }
    return { places, isOpened, problem };
  }

  /** A place on the device; most of them where the structures are. */
  #position(): number {
    const choice = this.#pick(14);
    const segment = SEGMENTS_OFFSET + this.#pick(5) * SEGMENT_BYTES;
    if (choice < 4) return this.#pick(SEGMENTS_OFFSET);
    if (choice < 6) return segment + this.#pick(SEGMENT_DATA_OFFSET);
    if (choice < 10) return SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET + this.#pick(LOG_BYTES);
    if (choice < 11) return segment + this.#pick(SEGMENT_BYTES);
    const starts = [SUPERBLOCK_OFFSET, ...CACHE_INFO_OFFSETS, ...KEY_TAIL_OFFSETS, SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET];
    return starts[this.#pick(starts.length)]!;
  }

  #damagePlace(): () => void {
    const position = this.#position();
    const segment = position < SEGMENTS_OFFSET ? -1 : Math.floor((position - SEGMENTS_OFFSET) / SEGMENT_BYTES);
    const bytes = segment < 0 ? this.#device.control.bytes : this.#device.segment(segment as PhysicalSegmentId).bytes;
    const at = segment < 0 ? position : position - SEGMENTS_OFFSET - segment * SEGMENT_BYTES;
    const target = bytes.subarray(at, at + LENGTHS[this.#pick(LENGTHS.length)]!);
    const before = Uint8Array.from(target);
    const kind = this.#pick(4);
    if (kind === 0) target[0]! ^= 1 << this.#pick(8);
    else if (kind === 1) target.fill(0);
    else if (kind === 2) target.fill(0xff);
    else target.forEach((_, index) => (target[index] = this.#pick(256)));
    return () => {
      target.set(before);
    };
  }

  #inspect(): void {
    describeContent(this.#device, BOOT_ID);
    const media = inspectMedia(this.#device);
    const log = inspectLog(media);
    if (log !== undefined) for (const kset of findStagedKsets(media.log, log.walk).ksets) forEachKeyOf(media.log, kset, () => undefined);
  }

  #examine(): void {
    examineCache(this.#device, { bootId: BOOT_ID, backing: { sizeBytes: VOLUME_BYTES, identity: 'x' } });
  }

  /** Opens it read-only and reads the whole volume. */
  #read(): boolean {
    const backing = new SimulatedBackingDevice({ sizeBytes: VOLUME_BYTES });
    const volume = new InlineVolume(this.#device, backing, {
      adopt: true,
      bootId: BOOT_ID,
      writers: 1,
      readOnly: true,
      newUuid: new Uint8Array(16).fill(4),
      nowMs: 1_700_000_000_000,
      clock: () => 0,
    });
    for (let at = 0; at < VOLUME_BYTES; at += READ_BYTES) {
      const problem = problemOf(() => volume.read(at, READ_BYTES));
      if (problem !== undefined) throw new Error(problem);
    }
    volume.close();
    return true;
  }
}

/** What a reader threw that it may not throw. */
function problemOf(look: () => unknown): string | undefined {
  try {
    look();
    return undefined;
  } catch (error) {
    if (error instanceof PcacheError && error.code !== 'internal') return undefined;
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}
