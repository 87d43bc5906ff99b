// A writer with a diary (../support/mounted-writer.ts), and what its range of a volume must hold after what the diary says.

import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pattern } from '../fuse/conformance.js';
import { Job, waitUntil } from '../support/mounted-commands.js';
import type { WriterHow } from '../support/mounted-writer.js';

const WRITER = fileURLToPath(new URL('../support/mounted-writer.js', import.meta.url));
const READ_BYTES = 1 << 16;

interface Entry {
  readonly offset: number;
  readonly lengthBytes: number;
  readonly seed: number;
  isAcknowledged: boolean;
}

/** One writer after another in a range that is theirs alone, and the range as it must be. */
export class TortureDiary {
  readonly startBytes: number;
  /** As it must be, but for what the present writer did; `difference` brings it up to date. */
  readonly expected: Buffer;
  /** Errno that the present writer was told. */
  failure: string | undefined;
  readonly #folder: string;
  readonly #volume: string;
  readonly #how: WriterHow;
  readonly #seed: number;
  #entries: Entry[] = [];
  #writers = 0;
  #job: Job | undefined;
  #file: number | undefined;
  #rest = '';
  #acknowledged = 0;
  /** The first acknowledgement after `#markMs`; 0 if there is none yet. */
  #markMs = 0;
  #firstMs = 0;
  readonly #buffer = Buffer.alloc(READ_BYTES);

  constructor(folder: string, volume: string, range: { startBytes: number; lengthBytes: number }, how: WriterHow, seed: number) {
    this.#folder = folder;
    this.#volume = volume;
    this.startBytes = range.startBytes;
    this.expected = Buffer.alloc(range.lengthBytes);
    this.#how = how;
    this.#seed = seed % 2 ** 20;
  }

  /** Starts a writer with a fresh diary. The one before must have ended, and been compared. */
  start(): void {
    this.#writers++;
    const path = join(this.#folder, `diary-${this.startBytes}-${this.#writers}`);
    this.#file = fs.openSync(path, 'w+');
    this.#rest = '';
    this.#entries = [];
    this.failure = undefined;
    const args = [WRITER, this.#volume, path, this.startBytes, this.expected.length, this.#writerSeed, this.#how].map(String);
    this.#job = new Job(process.execPath, args);
  }

  get #writerSeed(): number {
    return this.#seed + this.startBytes + this.#writers * 1_000_003;
  }

  /** Takes over what the diary says by now. */
  update(): void {
    if (this.#file === undefined) return;
    for (;;) {
      const length = fs.readSync(this.#file, this.#buffer);
      if (length === 0) return;
      const lines = (this.#rest + this.#buffer.toString('latin1', 0, length)).split('\n');
      // The last line is not complete.
      this.#rest = lines.pop() ?? '';
      for (const line of lines) this.#take(line);
    }
  }

  #take(line: string): void {
    const [word, first, second, third] = line.split(' ');
    if (word === 'write') {
      const seed = this.#writerSeed + Number(first);
      this.#entries.push({ offset: Number(second), lengthBytes: Number(third), seed, isAcknowledged: false });
    } else if (word === 'done') {
      this.#entries[Number(first)]!.isAcknowledged = true;
      this.#acknowledged++;
      const doneMs = Number(second);
      if (this.#firstMs === 0 && doneMs > this.#markMs) this.#firstMs = doneMs;
    } else this.failure = first ?? 'unknown';
  }

  /** Waits until a write is acknowledged after `sinceMs`. @returns when the first was; undefined if the writer ended before */
  async acknowledgedAfter(sinceMs: number, timeoutMs: number): Promise<number | undefined> {
    // What the diary says already is from before.
    this.#markMs = sinceMs;
    this.#firstMs = 0;
    const isDone = (): boolean => {
      const { hasEnded } = this;
      this.update();
      return this.#firstMs !== 0 || hasEnded;
    };
    await waitUntil(isDone, `a write at ${this.startBytes} is acknowledged`, timeoutMs);
    return this.#firstMs === 0 ? undefined : this.#firstMs;
  }

  /** How many writes were acknowledged since the last call. */
  takeAcknowledged(): number {
    const count = this.#acknowledged;
    this.#acknowledged = 0;
    return count;
  }

  get hasEnded(): boolean {
    return this.#job?.ended !== false;
  }

  /** Waits until the writer gave up by itself. */
  async gaveUp(timeoutMs: number): Promise<void> {
    await this.#job?.finished(timeoutMs);
  }

  /** Kills the writer, and reads the rest of its diary. */
  async stop(): Promise<void> {
    await this.#job?.end();
    this.update();
    if (this.#file !== undefined) fs.closeSync(this.#file);
    this.#file = undefined;
  }

  /** Kills the writer without waiting for it: it may hang in a call. */
  kill(): void {
    this.#job?.child.kill('SIGKILL');
  }

  /**
   * How many acknowledged writes of the writer that was stopped are not, or not whole, in `found`, which is the range's content. Of the write that was
   * under way each byte may be old or new. What is found is expected from then on.
   */
  lostIn(found: Buffer): number {
    const owners = new Int32Array(this.expected.length).fill(-1);
    for (const [index, { offset, lengthBytes, seed, isAcknowledged }] of this.#entries.entries()) {
      if (!isAcknowledged) continue;
      const at = offset - this.startBytes;
      pattern(lengthBytes, seed).copy(this.expected, at);
      owners.fill(index, at, at + lengthBytes);
    }
    const unsure = this.#entries.find(({ isAcknowledged }) => !isAcknowledged);
    const unsureAt = unsure === undefined ? 0 : unsure.offset - this.startBytes;
    const unsureBytes = unsure === undefined ? Buffer.alloc(0) : pattern(unsure.lengthBytes, unsure.seed);
    const lost = new Set<number>();
    for (let at = 0; at < found.length; at++) {
      if (found[at] === this.expected[at]) continue;
      if (at >= unsureAt && at < unsureAt + unsureBytes.length && found[at] === unsureBytes[at - unsureAt]) continue;
      // -1 is something that an earlier writer wrote: one lost write more.
      lost.add(owners[at]!);
    }
    found.copy(this.expected);
    this.#entries = [];
    return lost.size;
  }
}
