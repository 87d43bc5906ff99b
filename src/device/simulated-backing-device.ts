// A backing device without a device: sparse memory with a durable copy, which can lose power, and layers that make calls fail.
//
// Invariants:
// - A write is seen at once. It is durable after the next flush; until then each of its 512-byte sectors may or may not survive a crash, in any order.
// - With `completeOutOfOrder`, requests of a queue are completed in any order and only when waited for. Loss of power may take any of those in flight; if
//   only the process dies, they happen all the same, before it is gone.
// - Only chunks that were written to take memory, so a volume of 16 TiB costs nothing.

import { PcacheError } from '../errors.js';
import type { BackingPrint } from '../media/backing-print.js';
import { PRINT_BYTES_MAX } from '../media/backing-print.js';
import { pcacheCrc } from '../media/crc32c.js';
import { SECTOR_BYTES } from '../media/layout.js';
import type { BackingQueue } from './backing-queue.js';
import type { BackingDevice } from './device.js';
import { errno } from './errno-codes.js';
import { OutOfOrderQueue } from './simulated-backing-queue.js';
import { systemError } from './system-error.js';

const CHUNK_BYTES = 64 * 1024;

export interface SimulatedBackingDeviceOptions {
  /** A multiple of 512. */
  sizeBytes: number;
  readOnly?: boolean;
  /** Default `simulated:0`. */
  identity?: string;
}

/** What a call is about, for hooks and error layers; `n` counts the calls of its kind from 1. */
export interface BackingCall {
  readonly kind: 'read' | 'write' | 'flush';
  readonly n: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export class SimulatedBackingDevice implements BackingDevice {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly identity: string;
  /** Called before each call takes effect. May throw, a SimulatedCrash for example; then the call has no effect. */
  onCall: ((call: BackingCall) => void) | undefined;
  readonly #chunks = new Map<number, Uint8Array>();
  /** For each chunk written to since the last flush: what it was at that flush. */
  readonly #durable = new Map<number, Uint8Array>();
  readonly #calls = { read: 0, write: 0, flush: 0 };
  queue?: (depth: number) => BackingQueue;
  writeQueue?: (depth: number) => BackingQueue;
  readonly #queues = new Set<OutOfOrderQueue>();
  #open = true;

  constructor(options: SimulatedBackingDeviceOptions) {
    this.sizeBytes = options.sizeBytes;
    this.readOnly = options.readOnly ?? false;
    this.identity = options.identity ?? 'simulated:0';
  }

  /** Calls so far, by kind. */
  get calls(): Readonly<Record<BackingCall['kind'], number>> {
    return this.#calls;
  }

  /** Bytes of memory that the content takes. */
  get memoryBytes(): number {
    return this.#chunks.size * CHUNK_BYTES;
  }

  read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    checkRange(this.sizeBytes, offsetBytes, lengthBytes, target, targetOffset);
    this.#begin('read', offsetBytes, lengthBytes);
    this.#copyOut(offsetBytes, target.subarray(targetOffset, targetOffset + lengthBytes));
  }

  write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    checkRange(this.sizeBytes, offsetBytes, lengthBytes, source, sourceOffset);
    this.#begin('write', offsetBytes, lengthBytes);
    if (this.readOnly) throw systemError(`simulated backing device: write of ${lengthBytes} bytes at ${offsetBytes}`, errno.EBADF, 'io');
    this.#copyIn(offsetBytes, source.subarray(sourceOffset, sourceOffset + lengthBytes));
  }

  /** From now on there are queues whose requests complete in an order that `random` decides. Without this they complete as they are submitted. */
  completeOutOfOrder(random: () => number): void {
    this.queue = (depth) => {
      const queue = new OutOfOrderQueue(
        {
          read: (offset, target, targetOffset, length) => this.read(offset, target, targetOffset, length),
          write: (offset, source, sourceOffset, length) => this.write(offset, source, sourceOffset, length),
          startFlush: () => this.#startFlush(),
        },
        depth,
        random,
      );
      this.#queues.add(queue);
      return queue;
    };
    this.writeQueue = this.queue;
  }

  /** A range of which nothing was ever written. */
  isHole(offsetBytes: number, lengthBytes: number): boolean {
    let isHole = true;
    forEachPiece(offsetBytes, lengthBytes, (index) => (isHole &&= !this.#chunks.has(index)));
    return isHole;
  }

  flush(): void {
    this.#begin('flush', 0, 0);
    this.#durable.clear();
  }

  print({ durable }: { durable: boolean }): BackingPrint {
    if (durable) this.flush();
    const start = new Uint8Array(Math.min(PRINT_BYTES_MAX, this.sizeBytes));
    this.#copyOut(0, start);
    return { bytes: start.length, crc: pcacheCrc(start) };
  }

  close(): void {
    this.#open = false;
  }

  /** What is durable once it happens is what was written when it was submitted. */
  #startFlush(): () => void {
    const covered = new Map([...this.#durable.keys()].map((index) => [index, this.#chunks.get(index)!.slice()]));
    return () => {
      this.#begin('flush', 0, 0);
      for (const [index, content] of covered) {
        if (Buffer.compare(content, this.#chunks.get(index)!) === 0) this.#durable.delete(index);
        else this.#durable.set(index, content);
      }
    };
  }

  /** The process is gone: of what it had in flight, the writes for which `happens` says so have happened. */
  #endQueues(happens: () => boolean): void {
    for (const queue of this.#queues) {
      for (const { offsetBytes, source, sourceOffset, lengthBytes } of queue.pendingWrites) {
        if (happens()) this.#copyIn(offsetBytes, source.subarray(sourceOffset, sourceOffset + lengthBytes));
      }
      queue.forget();
    }
    this.#queues.clear();
  }

  /** Loss of power: each sector that was written since the last flush is as it was then, or as it is now, as `random` decides. Open again. */
  crash(random: () => number): void {
    this.#open = true;
    this.#endQueues(() => random() < 0.5);
    for (const index of [...this.#durable.keys()].sort((a, b) => a - b)) {
      const old = this.#durable.get(index)!;
      const chunk = this.#chunks.get(index)!;
      for (let offset = 0; offset < CHUNK_BYTES; offset += SECTOR_BYTES) {
        const oldSector = old.subarray(offset, offset + SECTOR_BYTES);
        if (Buffer.compare(oldSector, chunk.subarray(offset, offset + SECTOR_BYTES)) !== 0 && random() < 0.5) chunk.set(oldSector, offset);
      }
    }
    this.#durable.clear();
  }

  /** Death of the process only: everything written is still seen, nothing more is durable. Open again. */
  killProcess(): void {
    this.#open = true;
    this.#endQueues(() => true);
  }

  /** Puts bytes on the device, durable at once, without counting as a call. */
  fill(offsetBytes: number, bytes: Uint8Array): void {
    checkRange(this.sizeBytes, offsetBytes, bytes.length, bytes, 0);
    const pending = new Set(this.#durable.keys());
    this.#copyIn(offsetBytes, bytes);
    for (const index of this.#durable.keys()) {
      if (!pending.has(index)) this.#durable.delete(index);
    }
    forEachPiece(offsetBytes, bytes.length, (index, within, position, lengthBytes) => {
      this.#durable.get(index)?.set(bytes.subarray(position, position + lengthBytes), within);
    });
  }

  /** Bytes as they are seen now, any range, without counting as a call. */
  content(offsetBytes = 0, lengthBytes = this.sizeBytes - offsetBytes): Uint8Array {
    if (!(offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes)) {
      throw new RangeError(`content: ${lengthBytes} bytes at ${offsetBytes}: beyond ${this.sizeBytes} bytes`);
    }
    const bytes = new Uint8Array(lengthBytes);
    this.#copyOut(offsetBytes, bytes);
    return bytes;
  }

  /** Another device with the same two contents; hooks and counts are not copied. */
  fork(): SimulatedBackingDevice {
    const copy = new SimulatedBackingDevice({ sizeBytes: this.sizeBytes, readOnly: this.readOnly, identity: this.identity });
    for (const [index, chunk] of this.#chunks) copy.#chunks.set(index, chunk.slice());
    for (const [index, chunk] of this.#durable) copy.#durable.set(index, chunk.slice());
    return copy;
  }

  #begin(kind: BackingCall['kind'], offsetBytes: number, lengthBytes: number): void {
    if (!this.#open) throw new PcacheError('closed', 'simulated backing device: closed');
    const n = ++this.#calls[kind];
    this.onCall?.({ kind, n, offsetBytes, lengthBytes });
  }

  #copyOut(offsetBytes: number, target: Uint8Array): void {
    forEachPiece(offsetBytes, target.length, (index, within, position, lengthBytes) => {
      const chunk = this.#chunks.get(index);
      if (chunk === undefined) target.fill(0, position, position + lengthBytes);
      else target.set(chunk.subarray(within, within + lengthBytes), position);
    });
  }

  #copyIn(offsetBytes: number, source: Uint8Array): void {
    forEachPiece(offsetBytes, source.length, (index, within, position, lengthBytes) => {
      const chunk = this.#chunks.get(index) ?? new Uint8Array(CHUNK_BYTES);
      if (!this.#durable.has(index)) this.#durable.set(index, chunk.slice());
      this.#chunks.set(index, chunk);
      chunk.set(source.subarray(position, position + lengthBytes), within);
    });
  }
}

/**
 * Decides the fate of a call: false lets it through, a positive error number fails it, and `after` does so once it has taken effect (a write whose
 * outcome is unknown, a flush that worked and says it didn't).
 */
export type ErrorPredicate = (call: BackingCall) => false | number | { after: number };

/** A layer over any backing device that makes chosen calls fail with PcacheError `io` (`no-space` for ENOSPC). Calls are counted by the layer. */
export function withErrors(device: BackingDevice, predicate: ErrorPredicate): BackingDevice {
  const calls = { read: 0, write: 0, flush: 0 };
  const run = (kind: BackingCall['kind'], offsetBytes: number, lengthBytes: number, call: () => void): void => {
    const fate = predicate({ kind, n: ++calls[kind], offsetBytes, lengthBytes });
    if (typeof fate !== 'number') call();
    if (fate === false) return;
    const number = typeof fate === 'number' ? fate : fate.after;
    const where = kind === 'flush' ? '' : ` of ${lengthBytes} bytes at ${offsetBytes}`;
    throw systemError(`backing device with errors: ${kind}${where}`, number, number === errno.ENOSPC ? 'no-space' : 'io');
  };
  return {
    sizeBytes: device.sizeBytes,
    readOnly: device.readOnly,
    identity: device.identity,
    read: (offset, target, targetOffset, length) => run('read', offset, length, () => device.read(offset, target, targetOffset, length)),
    write: (offset, source, sourceOffset, length) => run('write', offset, length, () => device.write(offset, source, sourceOffset, length)),
    isHole: (offset, length) => device.isHole(offset, length),
    flush: () => run('flush', 0, 0, () => device.flush()),
    close: () => device.close(),
  };
}

type Piece = (chunkIndex: number, offsetInChunk: number, position: number, lengthBytes: number) => void;

/** Cuts a range at the chunks' ends; `position` counts from the start of the range. */
function forEachPiece(offsetBytes: number, lengthBytes: number, piece: Piece): void {
  for (let position = 0; position < lengthBytes;) {
    const within = (offsetBytes + position) % CHUNK_BYTES;
    const pieceBytes = Math.min(CHUNK_BYTES - within, lengthBytes - position);
    piece(Math.floor((offsetBytes + position) / CHUNK_BYTES), within, position, pieceBytes);
    position += pieceBytes;
  }
}

function checkRange(sizeBytes: number, offsetBytes: number, lengthBytes: number, memory: Uint8Array, memoryOffset: number): void {
  const whole = offsetBytes % SECTOR_BYTES === 0 && lengthBytes % SECTOR_BYTES === 0;
  const inside = offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= sizeBytes;
  if (!whole || !inside || memoryOffset < 0 || memoryOffset + lengthBytes > memory.length) {
    throw new RangeError(`${lengthBytes} bytes at ${offsetBytes}: not sectors within ${sizeBytes} bytes, or beyond the memory given`);
  }
}
