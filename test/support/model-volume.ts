// The model of a volume: a flat array for each window of it that a test writes to, and the commands that are run against both.
//
// A window is a part of the volume; a small volume is one window, of a large one only some parts are looked at. What a failed write left is
// read back when the backing device works again, and must be old or new, sector by sector.

import fc from 'fast-check';
import type { BackingDevice } from '../../src/device/device.js';
import { errno } from '../../src/device/errno-codes.js';
import { withErrors } from '../../src/device/simulated-backing-device.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { PcacheError } from '../../src/errors.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';
import { mediaRuleProblems } from './media-rules.js';
import { payload } from './model-payload.js';
import { MIB, Rig, firstDifference, sameBytes } from './model-rig.js';

export interface Window {
  readonly start: number;
  readonly length: number;
}

export type Command =
  | { readonly kind: 'write' | 'read'; readonly writer: number; readonly at: number; readonly length: number; readonly isAligned: boolean }
  | { readonly kind: 'flush' | 'log' | 'writeback' | 'gc' | 'reopen' | 'kill' | 'errors-on' | 'errors-off' };

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const length = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 3000 }) },
  { weight: 3, arbitrary: fc.constantFrom(512, 1024, 4096, 8192) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 128 * 1024 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 2 * MIB }) },
);
const transfer = (kind: 'write' | 'read'): fc.Arbitrary<Command> =>
  fc.record({ kind: fc.constant(kind), writer: fc.nat({ max: 2 }), at: place, length, isAligned: fc.boolean() });
const step = (kind: Exclude<Command['kind'], 'write' | 'read'>): fc.Arbitrary<Command> => fc.constant({ kind });

export const commands: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(
    { weight: 30, arbitrary: transfer('write') },
    { weight: 12, arbitrary: transfer('read') },
    { weight: 4, arbitrary: step('flush') },
    { weight: 4, arbitrary: step('log') },
    { weight: 6, arbitrary: step('writeback') },
    { weight: 6, arbitrary: step('gc') },
    { weight: 2, arbitrary: step('reopen') },
    { weight: 3, arbitrary: step('kill') },
    { weight: 2, arbitrary: step('errors-on') },
    { weight: 3, arbitrary: step('errors-off') },
  ),
  { size: 'max', maxLength: 80 },
);

export interface ModelOptions {
  readonly cacheBytes: number;
  readonly volumeBytes: number;
  readonly dataCrc: boolean;
  readonly writers: number;
  /** Default: the whole volume. */
  readonly windows?: readonly Window[];
  /** A bug to plant: a layer over the backing device. */
  readonly backingLayer?: (device: BackingDevice) => BackingDevice;
}

interface PendingWrite {
  readonly window: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Acknowledged: it must be there. */
  readonly isDone: boolean;
}

function distinct(sectors: readonly Uint8Array[]): Uint8Array[] {
  return sectors.filter((sector, index) => sectors.findIndex((other) => sameBytes(other, sector)) === index);
}

/** A volume and its model, in step. Every method throws an Error that says what differs. */
export class VolumeModel {
  readonly rig: Rig;
  readonly #options: ModelOptions;
  readonly #windows: readonly Window[];
  readonly #content: readonly Uint8Array[];
  readonly #backing: BackingDevice;
  /** From the first write that failed on, all writes in order; the windows' content stays what it was before. */
  readonly #pending: PendingWrite[] = [];
  #volume: InlineVolume;
  #failing = false;
  #writes = 0;

  constructor(options: ModelOptions) {
    this.#options = options;
    this.rig = new Rig(options);
    this.#windows = options.windows ?? [{ start: 0, length: options.volumeBytes }];
    this.#content = this.#windows.map((window) => new Uint8Array(window.length));
    // What the backing device held before there was a cache.
    for (const [index, window] of this.#windows.entries()) {
      const old = payload(99_991 + index, Math.min(window.length, 64 * 1024));
      this.rig.backing.fill(window.start, old);
      this.#content[index]!.set(old);
    }
    const layered = options.backingLayer?.(this.rig.backing) ?? this.rig.backing;
    this.#backing = withErrors(layered, () => (this.#failing ? errno.EIO : false));
    this.#volume = this.#open();
  }

  get volume(): InlineVolume {
    return this.#volume;
  }

  #open(): InlineVolume {
    return this.rig.open({ writers: this.#options.writers, backing: this.#backing });
  }

  run(command: Command): void {
    this.rig.clockMs += 300;
    switch (command.kind) {
      case 'write':
      case 'read':
        this.#transfer(command);
        return;
      case 'flush':
        this.#volume.flush();
        return;
      case 'log':
        this.#volume.logStep(0);
        return;
      case 'writeback':
        this.#tolerating(() => this.#volume.writebackStep());
        return;
      case 'gc':
        this.#volume.gcStep();
        return;
      case 'reopen':
        this.#volume.close();
        this.#volume = this.#open();
        return;
      case 'kill':
        this.#volume.close({ crash: true });
        this.rig.killProcess();
        this.#volume = this.#open();
        return;
      case 'errors-on':
        this.#failing = true;
        return;
      case 'errors-off':
        this.#failing = false;
        this.#settle();
        return;
    }
  }

  /** Runs what may fail while the backing device does. Returns whether it went well. */
  #tolerating(action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (!this.#failing || !(error instanceof PcacheError) || error.code !== 'io') throw error;
      return false;
    }
  }

  #transfer(command: Extract<Command, { kind: 'write' | 'read' }>): void {
    const spot = command.at * this.#windows.length;
    const window = Math.floor(spot);
    const { start, length: windowBytes } = this.#windows[window]!;
    let offset = Math.floor((spot - window) * windowBytes);
    let bytes = command.length;
    if (command.isAligned) {
      offset -= offset % SECTOR_BYTES;
      bytes = Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
    }
    bytes = Math.min(bytes, windowBytes - offset);
    const writer = command.writer % this.#options.writers;
    const content = this.#content[window]!;
    if (command.kind === 'write') {
      const source = payload(++this.#writes, bytes);
      const isDone = this.#tolerating(() => this.#volume.write(start + offset, source, writer));
      if (isDone && this.#pending.length === 0) content.set(source, offset);
      else this.#pending.push({ window, offset, bytes: source, isDone });
      return;
    }
    let read: Uint8Array | undefined;
    this.#tolerating(() => (read = this.#volume.read(start + offset, bytes, writer)));
    // What a failed write left is looked at later.
    if (read === undefined || this.#pending.length > 0) return;
    this.#compare(read, content.subarray(offset, offset + bytes), start + offset, 'a read');
  }

  #compare(actual: Uint8Array, expected: Uint8Array, start: number, what: string): void {
    const at = firstDifference(actual, expected);
    if (at !== undefined) throw new Error(`${what} differs from the model at ${start + at} of the volume`);
  }

  /** The backing device works again: takes over what failed writes left, which is old or new by the sector. */
  #settle(): void {
    if (this.#pending.length === 0) return;
    for (const [index, window] of this.#windows.entries()) {
      const actual = this.#readWindow(window);
      const content = this.#content[index]!;
      for (let sector = 0; sector < content.length; sector += SECTOR_BYTES) {
        const is = actual.subarray(sector, sector + SECTOR_BYTES);
        if (!this.#isPossible(index, sector, is))
          throw new Error(`a failed write left something strange at ${window.start + sector} of the volume`);
        content.set(is, sector);
      }
    }
    this.#pending.length = 0;
  }

  /** Whether a sector can come about by the pending writes, in their order, each that failed having reached it or not. */
  #isPossible(window: number, sector: number, is: Uint8Array): boolean {
    let possible: Uint8Array[] = [this.#content[window]!.subarray(sector, sector + SECTOR_BYTES)];
    for (const write of this.#pending) {
      if (write.window !== window || write.offset >= sector + SECTOR_BYTES || write.offset + write.bytes.length <= sector) continue;
      const from = Math.max(sector, write.offset);
      const to = Math.min(sector + SECTOR_BYTES, write.offset + write.bytes.length);
      const made = possible.map((before) => {
        const after = before.slice();
        after.set(write.bytes.subarray(from - write.offset, to - write.offset), from - sector);
        return after;
      });
      possible = distinct(write.isDone ? made : [...possible, ...made]);
    }
    return possible.some((bytes) => sameBytes(bytes, is));
  }

  #readWindow(window: Window): Uint8Array {
    return this.#volume.read(window.start, window.length);
  }

  /** The end of a run: what is read, what is on the backing device and what is on the media must all be right. */
  finish(): void {
    this.run({ kind: 'errors-off' });
    for (const [index, window] of this.#windows.entries()) {
      this.#compare(this.#readWindow(window), this.#content[index]!, window.start, 'the volume');
    }
    this.#volume.writeBackAll();
    if (this.#volume.dirtyBytes !== 0) throw new Error(`${this.#volume.dirtyBytes} bytes are dirty after everything was written back`);
    this.#volume.close();
    for (const [index, window] of this.#windows.entries()) {
      this.#compare(this.rig.backing.content(window.start, window.length), this.#content[index]!, window.start, 'the backing device');
    }
    const problems = mediaRuleProblems(this.rig.device);
    if (problems.length > 0) throw new Error(`the media break a rule: ${problems.join('; ')}`);
  }
}

/** Runs commands against a volume and its model, to the end. */
export function runCommands(options: ModelOptions, list: readonly Command[]): void {
  const model = new VolumeModel(options);
  for (const command of list) model.run(command);
  model.finish();
}
