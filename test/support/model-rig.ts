// A volume over simulated devices, for tests that open, kill and lose it. Nothing here depends on the clock or on the machine: the same
// seed gives the same run.

import { formatCache } from '../../src/cache/format.js';
import type { BackingDevice, CacheDevice } from '../../src/device/device.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import type { Persistence } from '../../src/device/device.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';

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
