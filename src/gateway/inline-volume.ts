// A volume in one thread, without FUSE: what the public API, `recover` and the model tests use. There are no other threads, so what they
// would do (closing ksets, writeback, GC) is done here, step by step, when a write needs room and when the caller asks.

import { Cache } from '../cache/cache.js';
import { printAtClose, printNow } from '../cache/changed-backing.js';
import { openCache } from '../cache/open.js';
import type { OpenOptions, OpenedCache } from '../cache/open.js';
import { NumberWord } from '../cache/shared-state.js';
import type { BackingDevice, CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { sumCounters } from '../shared/counters.js';
import type { CounterTotals } from '../shared/counters.js';
import { Maintenance } from './maintenance.js';
import { VolumeIo } from './volume-io.js';

export type InlineVolumeOptions = Omit<OpenOptions, 'volumeBytes' | 'backingIdentity' | 'backingPrint' | 'counterSlices'>;

export class InlineVolume {
  readonly opened: OpenedCache;
  /** One for each writer that was asked for; each has a data head of its own, as far as there are enough segments. */
  readonly caches: readonly Cache[];
  readonly #backing: BackingDevice;
  readonly #io: readonly VolumeIo[];
  readonly #maintenance: Maintenance;
  #isOpen = true;

  /** Throws PcacheError as `openCache`. The devices stay the caller's to close. `opened`: the cache, opened already with the same options. */
  constructor(device: CacheDevice, backing: BackingDevice, options: InlineVolumeOptions, opened?: OpenedCache) {
    this.#backing = backing;
    this.opened =
      opened ??
      openCache(device, {
        ...options,
        volumeBytes: backing.sizeBytes,
        backingIdentity: backing.identity,
        backingPrint: () => printNow(backing),
        counterSlices: options.writers,
      });
    const { shared } = this.opened;
    this.caches = Array.from({ length: options.writers }, (_, writer) => new Cache(shared, device, writer, writer, options.clock));
    const room = { waitForRoom: () => this.#makeRoom() };
    this.#io = this.caches.map((cache) => new VolumeIo(cache, backing, room));
    this.#maintenance = new Maintenance(this.caches[0]!, backing);
  }

  get sizeBytes(): number {
    return this.#backing.sizeBytes;
  }

  /** Bytes of acknowledged writes that are not written back yet; what was written over counts each time. */
  get dirtyBytes(): number {
    return this.caches[0]!.dirtyBytes;
  }

  get counters(): CounterTotals {
    return sumCounters(this.opened.shared.counters);
  }

  /** Reads [offset, +length) of the volume. Throws PcacheError `usage` out of range, `io`, `corrupt-data`. */
  read(offsetBytes: number, lengthBytes: number, writer = 0): Uint8Array {
    this.#check(offsetBytes, lengthBytes);
    const bytes = new Uint8Array(lengthBytes);
    this.#io[writer]!.read(offsetBytes, lengthBytes, bytes, 0);
    return bytes;
  }

  /**
   * Writes bytes at an offset; any alignment. Acknowledged when it returns: it survives the death of the process, and loss of power once
   * `flush` has returned. Throws PcacheError `usage` out of range, `io` or `corrupt-data`; `io` also if there is no room and writeback fails.
   */
  write(offsetBytes: number, bytes: Uint8Array, writer = 0): void {
    this.#checkWritable();
    this.#check(offsetBytes, bytes.length);
    this.#io[writer]!.write(offsetBytes, bytes.length, bytes, 0);
  }

  /** Everything written before is durable in the cache when it returns. Throws PcacheError `io`. */
  flush(): void {
    this.#checkWritable();
    this.#flush();
  }

  #flush(): void {
    const cache = this.caches[0]!;
    const sequence = cache.log.requestFlush();
    while (!cache.log.isFlushed(sequence)) cache.commitStep();
  }

  /** One step of the log worker. Returns whether it did anything. */
  logStep(maxAgeMs = 1000): boolean {
    return this.caches[0]!.logStep(maxAgeMs);
  }

  /** One batch of writeback. Returns whether there was one. Throws PcacheError `io`. */
  writebackStep(): boolean {
    return this.#maintenance.writebackStep();
  }

  /** One step of the collector, wanted or not. Returns whether it made room. */
  gcStep(): boolean {
    return this.#maintenance.forcedGcStep();
  }

  /** Writes everything dirty to the backing device, durably. Throws PcacheError `io`. */
  writeBackAll(onBatch: (dirtyBytes: number) => void = () => undefined): void {
    this.flush();
    while (this.#maintenance.writebackStep()) {
      onBatch(this.dirtyBytes);
      this.flush();
    }
  }

  /** Closes in order: what is open becomes durable, the media are marked. With `crash`, nothing is done: as if the process had died. */
  close({ crash = false }: { crash?: boolean } = {}): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (crash) return;
    this.#maintenance.close();
    if (this.opened.shared.readOnly) return;
    this.#flush();
    this.caches[0]!.markClean(printAtClose(this.#backing));
  }

  /** One pass of everything that can make room. */
  #makeRoom(): void {
    const logged = this.logStep(0);
    const written = this.#maintenance.writebackStep();
    const collected = this.#maintenance.gcStep();
    if (!logged && !written && !collected) {
      throw new PcacheError(
        'internal',
        `no room, and nothing to write back or to collect (dirty: ${this.opened.shared.numbers[NumberWord.dirtyBytes]!} bytes)`,
      );
    }
  }

  #check(offsetBytes: number, lengthBytes: number): void {
    if (!this.#isOpen) throw new PcacheError('closed', 'volume: it is closed');
    if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) {
      throw new PcacheError('usage', `volume: ${lengthBytes} bytes at ${offsetBytes} are not within its ${this.sizeBytes} bytes`);
    }
  }

  #checkWritable(): void {
    if (!this.#isOpen) throw new PcacheError('closed', 'volume: it is closed');
    if (this.opened.shared.readOnly) throw new PcacheError('permission', 'volume: it was opened read-only');
  }
}
