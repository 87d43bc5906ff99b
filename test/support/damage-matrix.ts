// One kind of damage at one place of a used cache, tried: what reads the media must end, the damage must be found if it matters, and whatever is served
// must be right. The cache is put back as it was after each trial.
//
// What counts as right:
// - The volume reads as after the latest write; or as after an earlier one, if nothing vouches for the writes behind that (`DamageCache.states`). So it is
//   a prefix of the writes in any case. The backing device has the same after writeback.
// - With data CRC a sector may give EIO instead, if the damage is in the payload of its key, and `check` names it.
// - Without, a sector may read wrong if the damage is in the payload of its key: no checksum covers that.
// An opening that is refused must have changed nothing, and `check` must name an error.

import { examineCache } from '../../src/cache/check-cache.js';
import type { Finding } from '../../src/cache/check-finding.js';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { planRepair } from '../../src/cache/repair-plan.js';
import { findStagedKsets, forEachKeyOf } from '../../src/cache/staged-ksets.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import type { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { PcacheError } from '../../src/errors.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import type { KeyCursor } from '../../src/media/cache-key.js';
import { encodeGatewayHeader, readGatewayHeader } from '../../src/media/gateway-header.js';
import {
  CACHE_INFO_OFFSETS,
  DIRTY_TAIL_OFFSETS,
  GATEWAY_BACKUP_OFFSET,
  GATEWAY_HEADER_BYTES,
  KEY_BYTES,
  KEY_TAIL_OFFSETS,
  KSET_HEADER_BYTES,
  PAGE_BYTES,
  SECTOR_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
  SEGMENT_INFO_OFFSETS,
  SUPERBLOCK_OFFSET,
  segmentDeviceOffset,
} from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import type { CacheVariant } from './damage-cache.js';
import { DamageCache, USED_BYTES, VOLUME_BYTES } from './damage-cache.js';
import { payloadPlace } from './model-rig.js';

export const DAMAGE_KINDS = ['bit', '64 zeros', '64 noise', '64 older', 'page zeros', 'page noise', 'page older'] as const;
export type DamageKind = (typeof DAMAGE_KINDS)[number];

export type TrialOutcome = 'unchanged' | 'refused' | 'served' | 'served with errors';

export interface Trial {
  readonly place: string;
  readonly kind: DamageKind;
  readonly outcome: TrialOutcome;
  /** What was wrong; undefined: nothing. */
  readonly problem: string | undefined;
}

interface Structure {
  readonly name: string;
  /** In the used media. */
  readonly start: number;
  readonly lengthBytes: number;
}

interface KeyPayload {
  /** In the used media. */
  readonly start: number;
  readonly end: number;
}

/** Steps of writeback and collection that a trial may need. */
const STEPS_MAX = 2000;
/** Keys of the newest kset, at most, where the caches flush: a write is one or two. */
const UNNOTICED_WRITES_MAX = 3;
const SECTORS = VOLUME_BYTES / SECTOR_BYTES;

const ALL_SECTORS: readonly number[] = Array.from({ length: SECTORS }, (_, sector) => sector);

function sameSector(a: Uint8Array, b: Uint8Array, sector: number): boolean {
  const at = sector * SECTOR_BYTES;
  return Buffer.compare(a.subarray(at, at + SECTOR_BYTES), b.subarray(at, at + SECTOR_BYTES)) === 0;
}

class TrialProblem extends Error {}

export interface MatrixOptions {
  /** A bug to plant: the header's word on how far the log has got is lost before each opening. */
  readonly forgetDurablePlace?: boolean;
}

export class DamageMatrix {
  readonly #options: MatrixOptions;
  readonly #cache: DamageCache;
  readonly #random: () => number;
  readonly #backing: SimulatedBackingDevice;
  readonly #structures = new Map<string, Structure[]>();
  readonly #payloads: KeyPayload[] = [];
  /** For each sector where its payload is in the used media; undefined: not cached. */
  readonly #sectorPlaces: (number | undefined)[];

  constructor(variant: CacheVariant, seed: number, options: MatrixOptions = {}) {
    this.#options = options;
    this.#cache = new DamageCache(variant, seed);
    this.#random = seededRandom(seed ^ 0x5a5a);
    this.#backing = this.#cache.backing.fork();
    this.#listRecords();
    this.#listLog();
    const { media, device, pristine } = this.#cache;
    const volume = this.#cache.open(this.#backing.fork());
    this.#sectorPlaces = Array.from({ length: SECTORS }, (_, sector) => {
      const place = payloadPlace(volume, sector * SECTOR_BYTES);
      return place === undefined ? undefined : media.indexOf(place);
    });
    volume.close({ crash: true });
    media.restore(pristine);
    if (device.persistence !== 'memory') throw new Error('the trials count on memory');
  }

  /** Kinds of structures that the cache has. */
  get places(): string[] {
    return [...this.#structures.keys()];
  }

  /** Structures of a kind. */
  count(place: string): number {
    return this.#structures.get(place)?.length ?? 0;
  }

  /** How many different versions a place can be replaced by. */
  get olderVersions(): number {
    return this.#cache.olderVersions.length;
  }

  /** Any kind of damage at any place. */
  randomTrial(): Trial {
    const place = this.#choice(this.places);
    const kind = this.#choice(DAMAGE_KINDS);
    return this.trial(place, Math.floor(this.#random() * this.count(place)), kind, Math.floor(this.#random() * this.olderVersions));
  }

  /** Every unit and page of the media in use, replaced by each older version of itself that differs; each content once. */
  *olderTrials(): Generator<Trial> {
    const { pristine, olderVersions } = this.#cache;
    const units = new Set<string>();
    for (const [place, list] of this.#structures) {
      for (const { start, lengthBytes } of list) {
        for (const [kind, unit] of [
          ['64 older', 64],
          ['page older', PAGE_BYTES],
        ] as const) {
          for (let at = start - (start % unit); at < start + lengthBytes; at += unit) {
            const end = Math.min(at + unit, pristine.length);
            for (const [version, bytes] of olderVersions.entries()) {
              const content = `${at}:${unit}:${Buffer.from(bytes.subarray(at, end)).toString('base64')}`;
              if (units.has(content) || Buffer.compare(bytes.subarray(at, end), pristine.subarray(at, end)) === 0) continue;
              units.add(content);
              const damaged = pristine.slice();
              damaged.set(bytes.subarray(at, end), at);
              yield this.#run(`${place} (media ${at}, version ${version})`, kind, damaged, { start: at, end });
            }
          }
        }
      }
    }
  }

  /** `index`: of the structures of that kind; `version`: what an older version is taken from. */
  trial(place: string, index: number, kind: DamageKind, version: number): Trial {
    const damaged = this.#cache.pristine.slice();
    const range = this.#damage(damaged, this.#structures.get(place)![index]!, kind, version);
    return this.#run(`${place} ${index} (media ${range.start}, version ${version})`, kind, damaged, range);
  }

  /** All four copies of the tails zeroed, and repaired: whether it could be. Throws if anything is lost or wrong then. */
  loseAndRepairTails(): boolean {
    const { media, pristine, device, bootId, latest } = this.#cache;
    device.control.bytes.fill(0, KEY_TAIL_OFFSETS[0], KEY_TAIL_OFFSETS[0] + 64);
    try {
      const plan = planRepair(device, { bootId });
      if (plan.refusals.length > 0) return false;
      if (plan.loss !== undefined) throw new TrialProblem('writes are given up');
      const backing = this.#backing.fork();
      const volume = this.#cache.open(backing);
      const every = (): boolean => true;
      this.#states([latest], this.#readAll(volume, []).content, every, 'the volume');
      this.#drain(volume);
      this.#states([latest], backing.content(), every, 'the backing device after writeback');
      this.#states([latest], this.#readAll(volume, []).content, every, 'the volume after writeback');
      volume.close();
      return true;
    } finally {
      device.killProcess();
      media.restore(pristine);
    }
  }

  #run(place: string, kind: DamageKind, damaged: Uint8Array, range: KeyPayload): Trial {
    const { media, pristine, device } = this.#cache;
    if (Buffer.compare(damaged, pristine) === 0) return { place, kind, outcome: 'unchanged', problem: undefined };
    media.restore(damaged);
    if (this.#options.forgetDurablePlace === true) damaged.set(this.#forgetDurablePlace());
    let outcome: TrialOutcome = 'refused';
    let problem: string | undefined;
    try {
      outcome = this.#try(damaged, range);
    } catch (error) {
      const what =
        error instanceof Error ? (error instanceof TrialProblem ? error.message : (error.stack ?? error.message)) : String(error);
      const { name, dataCrc } = this.#cache.variant;
      problem = `${name}, data CRC ${dataCrc ? 'on' : 'off'}: ${kind} at ${place}: ${what}`;
    }
    device.killProcess();
    media.restore(pristine);
    return { place, kind, outcome, problem };
  }

  #choice<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random() * list.length)]!;
  }

  #add(name: string, start: number, lengthBytes: number): void {
    const list = this.#structures.get(name) ?? [];
    list.push({ name, start, lengthBytes });
    this.#structures.set(name, list);
  }

  #listRecords(): void {
    const { device, media } = this.#cache;
    for (const at of [0, GATEWAY_HEADER_BYTES]) this.#add('gateway header', at, 640);
    this.#add('gateway backup', GATEWAY_BACKUP_OFFSET, 640);
    this.#add('superblock', SUPERBLOCK_OFFSET, 24);
    for (const at of CACHE_INFO_OFFSETS) this.#add('cache_info', at, 24);
    for (const at of KEY_TAIL_OFFSETS) this.#add('key_tail', at, 16);
    for (const at of DIRTY_TAIL_OFFSETS) this.#add('dirty_tail', at, 16);
    for (const at of [SUPERBLOCK_OFFSET + 64, CACHE_INFO_OFFSETS[0] + 64, 0x4100]) this.#add('unused part of a record page', at, 512);
    for (let id = 0; id < device.segmentCount; id++) {
      const start = media.indexOf(segmentDeviceOffset(id as never))!;
      for (const at of SEGMENT_INFO_OFFSETS) this.#add('segment_info', start + at, 16);
      for (const at of SEGMENT_GENERATION_OFFSETS) this.#add('generation', start + at, 16);
      this.#add('data of a segment, used or not', start + SEGMENT_DATA_OFFSET, USED_BYTES - SEGMENT_DATA_OFFSET);
    }
  }

  #listLog(): void {
    const { device, media } = this.#cache;
    const read = readCacheMedia(device);
    const place = (cacheSegId: number, offset: number): number => {
      const index = media.indexOf(segmentDeviceOffset(read.physicalOf[cacheSegId]!) + SEGMENT_DATA_OFFSET + offset);
      if (index === undefined) throw new Error(`the cache uses more of segment ${cacheSegId} than is put back after a trial`);
      return index;
    };
    const addKey = (key: KeyCursor): void => {
      const start = place(key.cacheSegId, key.cacheSegOff);
      place(key.cacheSegId, key.cacheSegOff + key.len - 1);
      this.#add('payload', start, key.len);
      this.#payloads.push({ start, end: start + key.len });
    };
    let isDirty = false;
    const walk = walkLog(read.log, read.keyTail, read.walkOptions, {
      onKset: ({ cacheSegId, segOff, header }) => {
        isDirty ||= read.dirtyTail.cacheSegId === cacheSegId && read.dirtyTail.segOff === segOff;
        if (header.isLast) this.#add('LAST kset', place(cacheSegId, segOff), KSET_HEADER_BYTES);
        else this.#add(`kset header, ${isDirty ? 'dirty' : 'written back'}`, place(cacheSegId, segOff), KSET_HEADER_BYTES);
      },
      onKey: (key, { cacheSegId, segOff }, index) => {
        this.#add(
          `key, ${isDirty ? 'dirty' : 'written back'}`,
          place(cacheSegId, segOff) + KSET_HEADER_BYTES + index * KEY_BYTES,
          KEY_BYTES,
        );
        addKey(key);
      },
    });
    this.#add('end of the log', place(walk.end.cacheSegId, walk.end.segOff), KSET_HEADER_BYTES);
    for (const kset of findStagedKsets(read.log, walk).ksets) {
      this.#add('staged kset', place(kset.cacheSegId, kset.segOff), KSET_HEADER_BYTES);
      forEachKeyOf(read.log, kset, (key, index) => {
        this.#add('staged key', place(kset.cacheSegId, kset.segOff) + KSET_HEADER_BYTES + index * KEY_BYTES, KEY_BYTES);
        addKey(key);
      });
    }
  }

  /** Stores the header without the place, if there is one; returns the media. */
  #forgetDurablePlace(): Uint8Array {
    const control = this.#cache.device.control.bytes;
    for (const index of [0, 1] as const) {
      const read = readGatewayHeader(control);
      if (!read.ok) continue;
      const { durable, ...header } = read.value;
      if (durable !== undefined) encodeGatewayHeader(control, index, header, read.generation + 1);
    }
    return this.#cache.media.save();
  }

  /** Damages the bytes and says which. */
  #damage(bytes: Uint8Array, structure: Structure, kind: DamageKind, version: number): KeyPayload {
    const at = structure.start + Math.floor(this.#random() * structure.lengthBytes);
    if (kind === 'bit') {
      bytes[at]! ^= 1 << Math.floor(this.#random() * 8);
      return { start: at, end: at + 1 };
    }
    const unit = kind.startsWith('64') ? 64 : PAGE_BYTES;
    const start = at - (at % unit);
    const end = Math.min(start + unit, bytes.length);
    if (kind.endsWith('zeros')) bytes.fill(0, start, end);
    else if (kind.endsWith('older')) bytes.set(this.#cache.olderVersions[version]!.subarray(start, end), start);
    else for (let position = start; position < end; position++) bytes[position] = Math.floor(this.#random() * 256);
    return { start, end };
  }

  #try(damaged: Uint8Array, range: KeyPayload): TrialOutcome {
    const { device, media, bootId } = this.#cache;
    const findings = this.#examine();
    const hasError = findings.some(({ severity }) => severity === 'error');
    if (Buffer.compare(media.save(), damaged) !== 0) throw new TrialProblem('check changed the media');
    const backing = this.#backing.fork();
    let volume: InlineVolume;
    try {
      volume = this.#cache.open(backing);
    } catch (error) {
      if (!(error instanceof PcacheError) || error.code === 'internal') throw error;
      if (Buffer.compare(media.save(), damaged) !== 0) throw new TrialProblem(`refused (${error.message}), but changed`);
      if (!hasError) throw new TrialProblem(`refused (${error.message}), and check finds no error`);
      return 'refused';
    }
    const concerned = Array.from({ length: SECTORS }, (_, sector) => this.#isConcerned(sector, range));
    const first = this.#readAll(volume, concerned);
    for (const sector of first.errors) this.#requireFinding(findings, sector);
    const states = this.#states(
      this.#cache.states,
      first.content,
      (sector) => !this.#mayBeWrong(sector, concerned, first.errors),
      'the volume',
    );
    const isSmall = range.end - range.start === 1;
    if (isSmall && this.#cache.variant.kernel !== 'all') this.#requireNotice(findings, states);
    this.#drain(volume);
    const same = this.#states(states, backing.content(), (sector) => concerned[sector] !== true, 'the backing device after writeback');
    const second = this.#readAll(volume, concerned);
    this.#states(same, second.content, (sector) => !this.#mayBeWrong(sector, concerned, second.errors), 'the volume after writeback');
    volume.close();
    const later = examineCache(device, { bootId }).findings.find(({ severity, code }) => severity === 'error' && code !== 'data-crc');
    if (later !== undefined) throw new TrialProblem(`served, and then check finds ${later.place}: ${later.message}`);
    return first.errors.length > 0 ? 'served with errors' : 'served';
  }

  #examine(): readonly Finding[] {
    const { device, bootId } = this.#cache;
    const { sizeBytes, identity } = this.#backing;
    try {
      return examineCache(device, { bootId, backing: { sizeBytes, identity } }).findings;
    } catch (error) {
      if (!(error instanceof PcacheError) || error.code === 'internal') throw error;
      return [{ severity: 'error', code: 'record', place: 'cache', message: error.message }];
    }
  }

  /** Reads every sector; `errors` are those that give EIO, if they may. */
  #readAll(volume: InlineVolume, concerned: readonly boolean[]): { content: Uint8Array; errors: number[] } {
    const content = new Uint8Array(VOLUME_BYTES);
    const errors: number[] = [];
    for (let sector = 0; sector < SECTORS; sector++) {
      try {
        content.set(volume.read(sector * SECTOR_BYTES, SECTOR_BYTES), sector * SECTOR_BYTES);
      } catch (error) {
        if (!(error instanceof PcacheError) || error.code !== 'corrupt-data') throw error;
        if (concerned[sector] !== true) throw new TrialProblem(`sector ${sector} gives EIO, and its payload is not damaged`);
        errors.push(sector);
      }
    }
    return { content, errors };
  }

  #mayBeWrong(sector: number, concerned: readonly boolean[], errors: readonly number[]): boolean {
    return errors.includes(sector) || (!this.#cache.variant.dataCrc && concerned[sector] === true);
  }

  /** Those of `states` that `content` is, as far as `counts` says; or those between two of them, as a write of several keys may be cut off. At least one. */
  #states(states: readonly Uint8Array[], content: Uint8Array, counts: (sector: number) => boolean, what: string): Uint8Array[] {
    const differs = (state: Uint8Array, sector: number): boolean => counts(sector) && !sameSector(content, state, sector);
    const isSame = (state: Uint8Array): boolean => !ALL_SECTORS.some((sector) => differs(state, sector));
    const same = states.filter(isSame);
    if (same.length > 0) return same;
    const between = this.#cutWrites(states).filter(isSame);
    if (between.length > 0) return between;
    const latest = states.at(-1)!;
    throw new TrialProblem(`${what} is wrong: sectors ${ALL_SECTORS.filter((sector) => differs(latest, sector)).join(', ')}`);
  }

  /** For each two states that follow each other, what a write of several keys leaves if only the first of them are there. */
  #cutWrites(states: readonly Uint8Array[]): Uint8Array[] {
    return states.slice(1).flatMap((after, index) => {
      const before = states[index]!;
      const written = ALL_SECTORS.filter((sector) => !sameSector(before, after, sector));
      return written.slice(1).map((cut) => {
        const state = before.slice();
        state.set(after.subarray(written[0]! * SECTOR_BYTES, cut * SECTOR_BYTES), written[0]! * SECTOR_BYTES);
        return state;
      });
    });
  }

  /** Whether damage in `range` may show in what the sector reads: it lies in the payload of the sector's key. */
  #isConcerned(sector: number, range: KeyPayload): boolean {
    const place = this.#sectorPlaces[sector];
    if (place === undefined) return false;
    return this.#payloads.some(({ start, end }) => place >= start && place < end && range.start < end && range.end > start);
  }

  #requireFinding(findings: readonly Finding[], sector: number): void {
    const at = sector * SECTOR_BYTES;
    const named = findings.some(
      ({ severity, volumeRange }) =>
        severity === 'error' &&
        volumeRange !== undefined &&
        volumeRange.offsetBytes <= at &&
        volumeRange.offsetBytes + volumeRange.lengthBytes >= at + SECTOR_BYTES,
    );
    if (!named) throw new TrialProblem(`sector ${sector} gives EIO, and check does not name it`);
  }

  /** A single bit is noticed unless nothing that was written since tells of what it is in. */
  #requireNotice(findings: readonly Finding[], states: readonly Uint8Array[]): void {
    const index = this.#cache.states.indexOf(states.at(-1)!);
    // A write that was cut off: not counted.
    if (index < 0) return;
    const lost = this.#cache.states.length - 1 - index;
    if (lost <= UNNOTICED_WRITES_MAX || findings.some(({ severity }) => severity !== 'info')) return;
    throw new TrialProblem(`the last ${lost} writes are lost, and check finds nothing`);
  }

  /** Writes everything back and collects all of it. */
  #drain(volume: InlineVolume): void {
    let steps = 0;
    const count = (): void => {
      if (++steps > STEPS_MAX) throw new TrialProblem('writeback and collection do not come to an end');
    };
    volume.writeBackAll(count);
    while (volume.gcStep()) count();
  }
}
