// Writers that keep a diary (see mounted-writer.ts), and what a volume must hold after what the diaries say.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pattern } from '../fuse/conformance.js';
import { Client } from '../fuse/client.js';
import { MIB, type TestGateway } from './mounted.js';
import { waitUntil, type Job } from './mounted-commands.js';
import type { WriterHow } from './mounted-writer.js';

const WRITER = fileURLToPath(new URL('./mounted-writer.js', import.meta.url));

interface Entry {
  readonly offset: number;
  readonly bytes: Buffer;
  acknowledged: boolean;
}

/** One writer after another in a range of the volume that is theirs alone, and the range as it must be. */
export class DiaryRange {
  readonly startBytes: number;
  readonly lengthBytes: number;
  readonly #gateway: TestGateway;
  readonly #how: WriterHow;
  readonly #expected: Buffer;
  #writers = 0;
  #job: Job | undefined;

  constructor(gateway: TestGateway, startBytes: number, lengthBytes: number, how: WriterHow) {
    this.#gateway = gateway;
    this.startBytes = startBytes;
    this.lengthBytes = lengthBytes;
    this.#how = how;
    this.#expected = Buffer.alloc(lengthBytes);
  }

  /** Starts a writer with a fresh diary. */
  start(): void {
    this.#writers++;
    const { startBytes, lengthBytes } = this;
    const args = [WRITER, this.#gateway.volume, this.#diary, startBytes, lengthBytes, this.#seed, this.#how].map(String);
    this.#job = this.#gateway.startProgram(process.execPath, args);
  }

  /** How many writes were acknowledged to the present writer. */
  get acknowledged(): number {
    return this.#lines().filter((line) => line.startsWith('done ')).length;
  }

  /** Waits until the writer had so many more writes acknowledged. */
  async progress(writes: number): Promise<void> {
    const goal = this.acknowledged + writes;
    await waitUntil(() => this.acknowledged >= goal || this.#job!.ended, `${goal} writes are acknowledged`);
    if (this.#job!.ended) throw new Error(`the writer ended: ${this.#lines().at(-1) ?? ''}`);
  }

  /** Waits until the writer gave up. @returns the errno it was told */
  async failure(): Promise<string> {
    await this.#job!.finished();
    return /^failed (.*)$/.exec(this.#lines().at(-1) ?? '')?.[1] ?? 'none';
  }

  /** Ends the writer between two calls; rejects if any of them failed. */
  async stop(): Promise<void> {
    await this.#job!.end();
    if (this.#lines().at(-1)?.startsWith('failed') === true) throw new Error(`the writer: ${this.#lines().at(-1)!}`);
  }

  /**
   * Compares the range with the diary of the writer that ended: every acknowledged write must be there, whole and in order; of the one that was
   * under way, each byte may be old or new. What is found is expected from then on.
   * @returns where it differs; undefined if nowhere
   */
  async difference(client: Client, path = this.#gateway.volume): Promise<string | undefined> {
    const entries = this.#entries();
    for (const { offset, bytes, acknowledged } of entries) {
      if (acknowledged) bytes.copy(this.#expected, offset - this.startBytes);
    }
    const unsure = entries.find((entry) => !entry.acknowledged);
    const found = await this.#read(client, path);
    for (let at = 0; at < found.length; at++) {
      if (found[at] === this.#expected[at]) continue;
      const inUnsure = unsure === undefined ? -1 : at + this.startBytes - unsure.offset;
      if (inUnsure >= 0 && inUnsure < (unsure?.bytes.length ?? 0) && found[at] === unsure?.bytes[inUnsure]) continue;
      const last = entries.findLastIndex((entry) => offsetIn(entry, at + this.startBytes));
      return `byte ${at + this.startBytes}, last written by write ${last} of ${entries.length}`;
    }
    found.copy(this.#expected);
    return undefined;
  }

  async #read(client: Client, path: string): Promise<Buffer> {
    const found = Buffer.alloc(this.lengthBytes);
    const fd = await client.call('open', path, 0);
    for (let at = 0; at < found.length; at += MIB) {
      const bytes = await client.call('read', fd, this.startBytes + at, Math.min(MIB, found.length - at));
      found.set(bytes, at);
    }
    await client.call('close', fd);
    return found;
  }

  get #diary(): string {
    return join(this.#gateway.folder, `diary-${this.startBytes}-${this.#writers}`);
  }

  get #seed(): number {
    return this.startBytes + this.#writers * 1_000_003;
  }

  /** Complete lines only: the writer may have been killed within one. */
  #lines(): string[] {
    return existsSync(this.#diary) ? readFileSync(this.#diary, 'latin1').split('\n').slice(0, -1) : [];
  }

  #entries(): Entry[] {
    const entries: Entry[] = [];
    for (const line of this.#lines()) {
      const [word, n, offset, length] = line.split(' ');
      if (word === 'write')
        entries.push({ offset: Number(offset), bytes: pattern(Number(length), this.#seed + Number(n)), acknowledged: false });
      else if (word === 'done') entries[Number(n)]!.acknowledged = true;
    }
    return entries;
  }
}

function offsetIn({ offset, bytes }: Entry, at: number): boolean {
  return at >= offset && at < offset + bytes.length;
}

/** Three ranges next to each other, written in three ways. The seams are in the middle of a page, which two of them share. */
export function threeRanges(gateway: TestGateway, lengthBytes = 8 * MIB): DiaryRange[] {
  return [
    new DiaryRange(gateway, 0, lengthBytes - 512, 'plain'),
    new DiaryRange(gateway, lengthBytes - 512, lengthBytes, 'fsync'),
    new DiaryRange(gateway, 2 * lengthBytes - 512, lengthBytes, 'unaligned'),
  ];
}
