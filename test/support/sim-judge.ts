// Tries crashes while the simulated threads stand still: takes an image of what a crash would leave, opens the cache on it, and holds every
// promise against what is there. The world itself is not touched.

import { Cache } from '../../src/cache/cache.js';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { openCache } from '../../src/cache/open.js';
import type { OpenedCache } from '../../src/cache/open.js';
import { PieceKind } from '../../src/cache/piece-list.js';
import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';
import { PcacheError } from '../../src/errors.js';
import { PAGE_BYTES, SECTOR_BYTES, SEGMENT_DATA_OFFSET, segmentDeviceOffset } from '../../src/media/layout.js';
import type { CacheSegId, PhysicalSegmentId } from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { mediaRuleProblems } from './media-rules.js';
import { bootIdOf } from './model-rig.js';
import { beginOpening } from './sim-bugs.js';
import type { SimBug } from './sim-bugs.js';
import type { SimHistory } from './sim-history.js';
import { SimCacheDevice, backingAfterLoss, createMedia } from './sim-media.js';
import type { SimBackingState, SimMediaState } from './sim-media.js';

/** What it says its size is: a large index would have to be made for each trial. */
const TRIAL_DEVICE_BYTES = 2 * 1024 * 1024;

export interface SimWorld {
  readonly media: SimMediaState;
  readonly backing: SimBackingState;
  readonly history: SimHistory;
  /** Of the host. */
  boot: number;
}

export interface TrialCounts {
  powerLosses: number;
  kills: number;
  /** Crashes while the cache was being opened after one. */
  secondCrashes: number;
  damages: number;
  refusals: number;
}

/** What a crash has left, and what was found on it. */
export interface Aftermath {
  readonly isPowerLoss: boolean;
  readonly boot: number;
  readonly backing: Uint8Array;
  /** Keys of the log that are there. */
  readonly keys: number;
}

/** Thrown with what is wrong. */
export class PromiseBroken extends Error {}

function broken(what: string): never {
  throw new PromiseBroken(what);
}

export class SimJudge {
  readonly counts: TrialCounts = { powerLosses: 0, kills: 0, secondCrashes: 0, damages: 0, refusals: 0 };
  readonly #world: SimWorld;
  readonly #random: () => number;
  readonly #bug: SimBug | undefined;
  readonly #device: SimCacheDevice;
  /** What the crash left, and a copy of it that is opened. */
  readonly #image: SimCacheDevice;
  readonly #trial: SimCacheDevice;

  constructor(world: SimWorld, random: () => number, bug: SimBug | undefined) {
    this.#world = world;
    this.#random = random;
    this.#bug = bug;
    const { segmentCount, segmentDataBytes } = world.media;
    this.#device = new SimCacheDevice(world.media);
    this.#image = new SimCacheDevice(createMedia(segmentCount, segmentDataBytes), TRIAL_DEVICE_BYTES);
    this.#trial = new SimCacheDevice(createMedia(segmentCount, segmentDataBytes), TRIAL_DEVICE_BYTES);
    if (bug === 'the gateway header is not persisted') this.#trial.loses = (offset) => offset < PAGE_BYTES;
  }

  get crashes(): number {
    return this.counts.powerLosses + this.counts.kills;
  }

  /** The device as the last crash left it, before it was opened. */
  get image(): SimCacheDevice {
    return this.#image;
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  open(
    device: SimCacheDevice,
    boot: number,
    change: { backingIdentity?: string; volumeBytes?: number; adopt?: boolean } = {},
  ): OpenedCache {
    beginOpening();
    return openCache(device, {
      volumeBytes: this.#world.backing.volumeBytes,
      backingIdentity: 'simulated:0',
      adopt: false,
      bootId: bootIdOf(boot),
      writers: 3,
      counterSlices: 8,
      readOnly: false,
      newUuid: new Uint8Array(16).fill(9),
      nowMs: 1_700_000_000_000,
      clock: () => 0,
      ...change,
    });
  }

  /** The window as a reader sees it; sectors that are known to be damaged are listed instead. */
  #read(opened: OpenedCache, device: SimCacheDevice, backing: Uint8Array): { content: Uint8Array; damaged: number[] } {
    const { windowStart } = this.#world.backing;
    const { reader, segments } = new Cache(opened.shared, device, 0, 0, () => 0);
    const content = backing.slice();
    const damaged: number[] = [];
    reader.begin(windowStart, content.length, false);
    const { pieces } = reader;
    for (let at = 0; at < pieces.count; at++) {
      const offset = pieces.volumeOffsets[at]! - windowStart;
      const length = pieces.lengths[at]!;
      if (pieces.kinds[at] === PieceKind.corrupt) {
        for (let sector = offset; sector < offset + length; sector += SECTOR_BYTES) damaged.push(sector / SECTOR_BYTES);
      } else if (pieces.kinds[at] === PieceKind.cached) {
        const from = SEGMENT_DATA_OFFSET + pieces.segmentOffsets[at]!;
        content.set(segments.view(pieces.segments[at]! as Parameters<typeof segments.view>[0]).bytes.subarray(from, from + length), offset);
      }
    }
    reader.end();
    return { content, damaged };
  }

  #readGood(opened: OpenedCache, device: SimCacheDevice, backing: Uint8Array): Uint8Array {
    const { content, damaged } = this.#read(opened, device, backing);
    if (damaged.length > 0) broken(`sector ${damaged[0]!} answers EIO, and nothing was damaged`);
    return content;
  }

  #copyImage(): void {
    this.#trial.copyFrom(this.#image.volatile, this.#image.durable);
  }

  /** One crash. Throws PromiseBroken. */
  crash(isPowerLoss = this.#pick(4) > 0): Aftermath {
    const { history, backing: backingState } = this.#world;
    const what = isPowerLoss ? 'loss of power' : 'death of the process';
    if (isPowerLoss) this.counts.powerLosses++;
    else this.counts.kills++;
    this.#image.copyFrom(this.#device.volatile, this.#device.durable);
    if (isPowerLoss) this.#image.losePower(this.#random);
    const backing = isPowerLoss ? backingAfterLoss(backingState, this.#random) : new Uint8Array(backingState.volatile).slice();
    const boot = this.#world.boot + (isPowerLoss ? 1 : 0);
    try {
      this.#copyImage();
      const opened = this.open(this.#trial, boot);
      const content = this.#readGood(opened, this.#trial, backing);
      const unstaged = isPowerLoss ? undefined : history.unstagedProblem();
      if (unstaged !== undefined) broken(unstaged);
      const keys = history.prefixOf(content, isPowerLoss ? history.flushedKeys : history.keys);
      if (typeof keys === 'string') broken(keys);
      const { cacheSegId, segOff } = opened.media.dirtyTail;
      const writtenBack = history.keysBefore(cacheSegId, segOff);
      if (writtenBack === undefined) broken(`dirty_tail is at ${cacheSegId}:${segOff}, where no kset has begun`);
      const interval = history.intervalProblem(backing, writtenBack);
      if (interval !== undefined) broken(`the backing device alone: ${interval}`);
      this.#lookCloser(isPowerLoss, boot, backing, content, keys, writtenBack);
      return { isPowerLoss, boot, backing, keys };
    } catch (error) {
      if (error instanceof PromiseBroken) broken(`${what}: ${error.message}`);
      broken(`${what}: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
    }
  }

  /** What is not done at every crash. */
  #lookCloser(isPowerLoss: boolean, boot: number, backing: Uint8Array, content: Uint8Array, keys: number, writtenBack: number): void {
    const choice = this.#pick(24);
    if (choice < 2) {
      const [rule] = mediaRuleProblems(this.#trial);
      if (rule !== undefined) broken(`the media: ${rule}`);
    }
    if (choice < 4) {
      const again = this.#readGood(this.open(this.#trial, boot), this.#trial, backing);
      if (Buffer.compare(again, content) !== 0) broken('opened once more, the volume is another');
    } else if (choice < 12) {
      this.#crashAgain(isPowerLoss, boot, backing, content);
    } else if (choice < 15 && this.#isDataCrc) {
      this.#damage(boot, backing, content, keys, writtenBack);
    } else if (choice === 15) {
      this.#refuse(boot);
    } else if (choice < 20) {
      this.#damageLog(boot, backing);
    }
  }

  get #isDataCrc(): boolean {
    return this.#world.media.segmentDataBytes > 0 && this.#dataCrc;
  }

  #dataCrc = false;

  /** Whether the cache was formatted with data CRC. */
  useDataCrc(dataCrc: boolean): void {
    this.#dataCrc = dataCrc;
  }

  /** The same image, and crashes while it is opened. */
  #crashAgain(isPowerLoss: boolean, firstBoot: number, backing: Uint8Array, content: Uint8Array): void {
    const device = this.#trial;
    const { history } = this.#world;
    this.#copyImage();
    let boot = firstBoot;
    let hasLostPower = isPowerLoss;
    for (let crashes = 1 + this.#pick(3); ; crashes--) {
      let left = crashes <= 0 ? Infinity : 1 + this.#pick(8);
      device.onPersist = () => {
        if (--left <= 0) throw new SimulatedCrash();
      };
      try {
        const again = this.#readGood(this.open(device, boot), device, backing);
        // Staged keys were lost with the power, if not while the process died.
        if (isPowerLoss || !hasLostPower) {
          if (Buffer.compare(again, content) !== 0) broken('after a second crash, during replay, the volume is another');
        } else {
          const keys = history.prefixOf(again, history.flushedKeys);
          if (typeof keys === 'string') broken(`after a second crash, during replay: ${keys}`);
        }
        return;
      } catch (error) {
        if (!(error instanceof SimulatedCrash)) throw error;
      } finally {
        device.onPersist = undefined;
      }
      this.counts.secondCrashes++;
      if (this.#pick(2) === 0) {
        hasLostPower = true;
        device.losePower(this.#random);
        boot++;
      }
    }
  }

  /** Promise 6: a bit of some payload is flipped; nobody gets a wrong byte, and what can't be had is said to be damaged. */
  #damage(boot: number, backing: Uint8Array, content: Uint8Array, keys: number, writtenBack: number): void {
    const place = this.#world.history.payloadIn(keys, this.#random);
    if (place === undefined) return;
    this.counts.damages++;
    this.#copyImage();
    const { sector, version, sectorsOfKey } = place;
    const at =
      segmentDeviceOffset(version.segment as PhysicalSegmentId) + SEGMENT_DATA_OFFSET + version.segmentOffset + this.#pick(SECTOR_BYTES);
    // cache_seg_ids are physical ids here: the chain is in order.
    this.#trial.volatile[at]! ^= 1 << this.#pick(8);
    this.#trial.durable[at] = this.#trial.volatile[at]!;
    // Space that is free by now may be part of the log: then this is another damage, and may be refused.
    if (version.key <= writtenBack) return;
    const { content: after, damaged } = this.#read(this.open(this.#trial, boot), this.#trial, backing);
    if (!damaged.includes(sector)) broken(`sector ${sector}: its payload is damaged, and it does not answer EIO`);
    for (const other of damaged) if (!sectorsOfKey.includes(other)) broken(`sector ${other} answers EIO, but sector ${sector} is damaged`);
    for (let other = 0; other < this.#world.history.sectors; other++) {
      const from = other * SECTOR_BYTES;
      if (
        damaged.includes(other) ||
        Buffer.compare(after.subarray(from, from + SECTOR_BYTES), content.subarray(from, from + SECTOR_BYTES)) === 0
      )
        continue;
      broken(`sector ${sector} is damaged, and sector ${other} has other bytes`);
    }
  }

  /** Promise 6: the newest kset that a flush covers is damaged. That is refused, or nothing is missing: it is not the end of the log. */
  #damageLog(boot: number, backing: Uint8Array): void {
    const { history } = this.#world;
    this.#copyImage();
    const { log, keyTail } = readCacheMedia(this.#trial);
    const ksets: { segment: CacheSegId; offset: number; sizeBytes: number }[] = [];
    walkLog(
      log,
      keyTail,
      {},
      {
        onKset: ({ cacheSegId, segOff, header }) => {
          const keysBefore = history.keysBefore(cacheSegId, segOff);
          if (header.isLast || keysBefore === undefined || keysBefore >= history.flushedKeys) return;
          ksets.push({ segment: cacheSegId, offset: segOff, sizeBytes: header.sizeBytes });
        },
      },
    );
    const newest = ksets.at(-1);
    if (newest === undefined) return;
    this.counts.damages++;
    // cache_seg_ids are physical ids here: the chain is in order.
    const placeOf = ({ segment, offset }: typeof newest): number =>
      segmentDeviceOffset(segment as number as PhysicalSegmentId) + SEGMENT_DATA_OFFSET + offset;
    const at = placeOf(newest);
    const older = ksets.at(-2) ?? newest;
    const kind = this.#pick(4);
    for (let byte = 0; byte < newest.sizeBytes; byte++) {
      if (kind === 0) this.#trial.volatile[at + byte] = 0;
      else if (kind === 1) this.#trial.volatile[at + byte] = this.#pick(256);
      else if (kind === 2 && older !== newest && byte < older.sizeBytes)
        this.#trial.volatile[at + byte] = this.#image.volatile[placeOf(older) + byte]!;
    }
    if (kind >= 2 && (kind === 3 || older === newest)) this.#trial.volatile[at + this.#pick(newest.sizeBytes)]! ^= 1 << this.#pick(8);
    this.#trial.durable.set(this.#trial.volatile.subarray(at, at + newest.sizeBytes), at);
    let opened: OpenedCache;
    try {
      opened = this.open(this.#trial, boot);
    } catch (error) {
      if (!(error instanceof PcacheError) || error.code !== 'damaged') throw error;
      return;
    }
    const keys = history.prefixOf(this.#readGood(opened, this.#trial, backing), history.flushedKeys);
    if (typeof keys === 'string') broken(`the kset at ${newest.segment}:${newest.offset} is damaged, and nobody notices: ${keys}`);
  }

  /** Promise 7: another backing device is refused, and nothing is changed. */
  #refuse(boot: number): void {
    this.counts.refusals++;
    this.#copyImage();
    const adopt = this.#bug === 'any backing device is accepted';
    const change = this.#pick(2) === 0 ? { backingIdentity: 'simulated:1' } : { volumeBytes: this.#world.backing.volumeBytes + 4096 };
    try {
      this.open(this.#trial, boot, { ...change, adopt });
    } catch (error) {
      if (!(error instanceof PcacheError) || error.code !== 'mismatch') throw error;
      if (!this.#trial.isSame(this.#trial.volatile, this.#image.volatile))
        broken('a wrong backing device was refused, and the media are changed');
      return;
    }
    broken('a wrong backing device was accepted');
  }
}
