// A volume over simulated devices, for tests that open, kill and lose it. Nothing here depends on the clock or on the machine: the same
// seed gives the same run.

import { createHash } from 'node:crypto';
import { formatCache } from '../../src/cache/format.js';
import { PieceKind } from '../../src/cache/piece-list.js';
import type { BackingDevice, CacheDevice } from '../../src/device/device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import type { Persistence } from '../../src/device/device.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';
import type { CacheSegId, PhysicalSegmentId } from '../../src/media/layout.js';

export const MIB = 1024 * 1024;

/** A boot id of 36 characters; each number is another boot of the host. */
export function bootIdOf(boot: number): string {
  return `00000000-0000-4000-8000-${boot.toString().padStart(12, '0')}`;
}

export interface RigOptions {
  /** Default 96 MiB: five segments. */
  readonly cacheBytes?: number;
  readonly volumeBytes: number;
  readonly dataCrc?: boolean;
  readonly gcPercent?: number;
  readonly persistence?: Persistence;
  /** Devices that are there already, formatted; the other options do not matter then. */
  readonly devices?: { readonly device: SimulatedCacheDevice; readonly backing: SimulatedBackingDevice };
}

export interface RigOpenOptions {
  readonly writers?: number;
  readonly readOnly?: boolean;
  readonly adopt?: boolean;
  /** Layers over the two devices; default: the devices themselves. */
  readonly device?: CacheDevice;
  readonly backing?: BackingDevice;
}

/** A formatted cache, a backing device, a clock that stands still until it is moved, and the host's boot. */
export class Rig {
  readonly device: SimulatedCacheDevice;
  readonly backing: SimulatedBackingDevice;
  boot = 1;
  clockMs = 0;

  constructor(options: RigOptions) {
    if (options.devices !== undefined) {
      ({ device: this.device, backing: this.backing } = options.devices);
      return;
    }
    this.device = new SimulatedCacheDevice({
      ...(options.cacheBytes === undefined ? {} : { sizeBytes: options.cacheBytes }),
      ...(options.persistence === undefined ? {} : { persistence: options.persistence }),
    });
    this.backing = new SimulatedBackingDevice({ sizeBytes: options.volumeBytes });
    this.format(options);
  }

  format({ dataCrc = false, gcPercent = 70 }: Pick<RigOptions, 'dataCrc' | 'gcPercent'> = {}): void {
    formatCache(this.device, { dataCrc, gcPercent, uuid: new Uint8Array(16).fill(7), nowMs: 1_700_000_000_000 });
  }

  open(options: RigOpenOptions = {}): InlineVolume {
    return new InlineVolume(options.device ?? this.device, options.backing ?? this.backing, {
      adopt: options.adopt ?? false,
      bootId: bootIdOf(this.boot),
      writers: options.writers ?? 1,
      readOnly: options.readOnly ?? false,
      newUuid: new Uint8Array(16).fill(9),
      nowMs: 1_700_000_000_000,
      clock: () => this.clockMs,
    });
  }

  /** Loss of power for both devices at once; the next open is another boot's. */
  losePower(random: () => number, unitBytes: 64 | 4096): void {
    this.device.crash(random, unitBytes);
    this.backing.crash(random);
    this.boot++;
  }

  /** Death of the process: what was stored is still seen. */
  killProcess(): void {
    this.device.killProcess();
    this.backing.killProcess();
  }
}

/** Passes everything on to `device`, but for what `change` overrides. */
export function layerOver(device: CacheDevice, change: Partial<CacheDevice>): CacheDevice {
  return {
    sizeBytes: device.sizeBytes,
    segmentCount: device.segmentCount,
    persistence: device.persistence,
    readOnly: device.readOnly,
    control: device.control,
    segment: (id) => device.segment(id),
    addressOf: (offset) => device.addressOf(offset),
    persist: (offset, length) => device.persist(offset, length),
    expectAccess: (pattern) => device.expectAccess(pattern),
    close: () => device.close(),
    ...change,
  };
}

/** The same for a backing device. */
export function layerOverBacking(device: BackingDevice, change: Partial<BackingDevice>): BackingDevice {
  return {
    sizeBytes: device.sizeBytes,
    readOnly: device.readOnly,
    identity: device.identity,
    read: (offset, target, targetOffset, length) => device.read(offset, target, targetOffset, length),
    write: (offset, source, sourceOffset, length) => device.write(offset, source, sourceOffset, length),
    flush: () => device.flush(),
    isHole: (offset, length) => device.isHole(offset, length),
    close: () => device.close(),
    ...change,
  };
}

/** Sectors of a range, rounded outward. */
export function sectorsOf(offset: number, length: number): { first: number; end: number } {
  return { first: Math.floor(offset / SECTOR_BYTES), end: Math.ceil((offset + length) / SECTOR_BYTES) };
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Where two arrays of one length differ first; undefined if they don't. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  if (sameBytes(a, b)) return undefined;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return at;
  return a.length;
}

/** Device offset of the payload that the sector at a volume offset has in the cache; undefined if it is not cached. */
export function payloadPlace(volume: InlineVolume, volumeOffset: number): number | undefined {
  const { reader, segments } = volume.caches[0]!;
  reader.begin(volumeOffset - (volumeOffset % SECTOR_BYTES), SECTOR_BYTES, false);
  const { kinds, segments: ids, segmentOffsets } = reader.pieces;
  const place = kinds[0] === PieceKind.missing ? undefined : segments.deviceOffset(ids[0]! as CacheSegId, segmentOffsets[0]!);
  reader.end();
  return place;
}

/** Flips a bit of the payload of the sector at a volume offset, which is cached. */
export function damagePayload(rig: Rig, volume: InlineVolume, volumeOffset: number): void {
  const place = payloadPlace(volume, volumeOffset);
  if (place === undefined) throw new Error(`the sector at ${volumeOffset} is not cached`);
  rig.device.corrupt(seededRandom(volumeOffset + 1), place, SECTOR_BYTES);
}

/** Every byte that a cache device holds, as one hash: to see that nothing was changed. */
export function fingerprint(device: CacheDevice): string {
  const hash = createHash('sha256').update(device.control.bytes);
  for (let id = 0; id < device.segmentCount; id++) hash.update(device.segment(id as PhysicalSegmentId).bytes);
  return hash.digest('hex');
}
