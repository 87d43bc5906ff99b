// `pcache demo`: a small cache and volume in a temporary directory; works, crashes, recovers, verifies, cleans up, and says what was measured and
// proven. Every check compares bytes with a copy of the volume that the demo keeps in memory; one difference and the demo fails.

import { randomFillSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, openSync, closeSync, ftruncateSync, rmSync, statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import { createCache } from '../index.js';
import { checkMount } from '../gateway/mount-checks.js';
import { addExample, type CommandContext } from './command.js';
import { DirectDemoVolume, MountedDemoVolume } from './demo-volume.js';
import type { DemoPaths, DemoVolume } from './demo-volume.js';
import { alignColumns } from './output.js';
import type { Output } from './output.js';
import { endByInterrupt, startProgress } from './progress.js';
import { formatSize } from './size.js';

const MIB = 1024 * 1024;
const CACHE_BYTES = 128 * MIB;
/** Twice the cache, so that part of it has to go to the backing device and come back. */
const VOLUME_BYTES = 256 * MIB;
const BLOCK_BYTES = 4096;
const BLOCKS = VOLUME_BYTES / BLOCK_BYTES;
const RANDOM_WRITES_BYTES = 48 * MIB;
const CRASH_WRITES_BYTES = 16 * MIB;
const CHUNK_BYTES = MIB;
/** Requests in flight. */
const DEPTH = 16;

interface DemoResult {
  readonly name: string;
  readonly value: string;
}

export function define(command: Command, { output }: CommandContext): void {
  command
    .description(
      'Makes a small cache and volume in a temporary directory, writes, kills the program with -9, recovers, verifies every byte, and cleans up. Takes less than a minute.',
    )
    .action(async () => {
      const results = await runDemo(output);
      output.result(Object.fromEntries(results.map(({ name, value }) => [name, value])), () => {
        const table = alignColumns(results.map(({ name, value }) => [`  ${name}`, value]));
        return ['', ...table, '', 'Every byte was compared, and every one was right.'];
      });
    });
  addExample(command, 'pcache demo');
}

interface Interrupt {
  by: NodeJS.Signals | undefined;
}

async function runDemo(output: Output): Promise<DemoResult[]> {
  const interrupt: Interrupt = { by: undefined };
  const note = (signal: NodeJS.Signals): void => {
    interrupt.by ??= signal;
  };
  // From here on there is something to take away.
  process.on('SIGINT', note).on('SIGTERM', note);
  const directory = mkdtempSync(join(tmpdir(), 'pcache-demo-'));
  const cacheDirectory = mkdtempSync(join(hasRoom('/dev/shm') ? '/dev/shm' : tmpdir(), 'pcache-demo-'));
  const paths: DemoPaths = {
    cache: join(cacheDirectory, 'cache.pmem'),
    backing: join(directory, 'backing.img'),
    mountpoint: join(directory, 'volume'),
  };
  const demo = new Demo(output, paths, interrupt);
  try {
    return await demo.run();
  } finally {
    process.off('SIGINT', note).off('SIGTERM', note);
    await demo.cleanUp();
    rmSync(cacheDirectory, { recursive: true, force: true });
    rmSync(directory, { recursive: true, force: true });
    if (interrupt.by === 'SIGINT') endByInterrupt(output, 'the demo is cleaned up');
  }
}

function hasRoom(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize > 2 * CACHE_BYTES;
  } catch {
    // Not there, or not for us.
    return false;
  }
}

class Demo {
  readonly #output: Output;
  readonly #paths: DemoPaths;
  readonly #results: DemoResult[] = [];
  /** What the volume must hold. */
  readonly #model = Buffer.alloc(VOLUME_BYTES);
  #volume: DemoVolume | undefined;
  readonly #interrupt: Interrupt;

  constructor(output: Output, paths: DemoPaths, interrupt: Interrupt) {
    this.#interrupt = interrupt;
    this.#output = output;
    this.#paths = paths;
  }

  async run(): Promise<DemoResult[]> {
    await this.#prepare();
    await this.#writeRandomly();
    await this.#verify('read back and compare');
    await this.#crashUnnoticed();
    await this.#crashHard();
    await this.#writeBack();
    return this.#results;
  }

  async cleanUp(): Promise<void> {
    try {
      await this.#volume?.abandon();
    } catch (error) {
      this.#output.warn(`demo: cleaning up ${this.#paths.mountpoint}: ${messageOf(error)}`);
    }
  }

  async #prepare(): Promise<void> {
    const { cache, backing, mountpoint } = this.#paths;
    mkdirSync(mountpoint);
    const fd = openSync(backing, 'wx', 0o600);
    ftruncateSync(fd, VOLUME_BYTES);
    closeSync(fd);
    createCache(cache, CACHE_BYTES, { dataCrc: true });
    this.#say(`${formatSize(CACHE_BYTES)} cache ${cache}, in front of ${formatSize(VOLUME_BYTES)} ${backing}`);
    this.#volume = this.#chooseVolume();
    const startedMs = performance.now();
    await this.#volume.start();
    const tookMs = performance.now() - startedMs;
    this.#say(`${this.#volume.description}, ready after ${Math.round(tookMs)} ms`);
    this.#results.push({ name: 'from start to a volume that can be read', value: `${Math.round(tookMs)} ms` });
  }

  #chooseVolume(): DemoVolume {
    const { cache, backing, mountpoint } = this.#paths;
    try {
      checkMount(cache, backing, mountpoint, 'dev-fuse');
      return new MountedDemoVolume(process.argv[1]!, this.#paths);
    } catch (error) {
      if (!(error instanceof PcacheError)) throw error;
      this.#output.warn(`no FUSE mount here (${error.message}): the demo goes on without one`);
      return new DirectDemoVolume(this.#paths);
    }
  }

  async #writeRandomly(): Promise<void> {
    const tookMs = await this.#writeBlocks('write 4 KiB blocks at random', RANDOM_WRITES_BYTES, (error) => Promise.reject(error));
    await this.#volume!.flush();
    this.#results.push({ name: `4 KiB random writes, ${DEPTH} at a time`, value: perSecond(RANDOM_WRITES_BYTES / BLOCK_BYTES, tookMs) });
  }

  /**
   * Writes random blocks at random places, DEPTH at a time, into volume and model. `onError` decides what becomes of a write that fails; the
   * model gets what was acknowledged. Returns how long it took, in milliseconds.
   */
  async #writeBlocks(label: string, totalBytes: number, onError: (error: Error) => Promise<void>): Promise<number> {
    const progress = startProgress(this.#output, label, totalBytes);
    const startedMs = performance.now();
    let started = 0;
    let done = 0;
    const busy = new Set<number>();
    const writer = async (): Promise<void> => {
      while (started < totalBytes) {
        this.#stopIfInterrupted();
        started += BLOCK_BYTES;
        const block = freeBlock(busy);
        busy.add(block);
        const bytes = randomFillSync(Buffer.alloc(BLOCK_BYTES));
        try {
          await this.#volume!.write(block * BLOCK_BYTES, bytes);
        } catch (error) {
          await onError(error as Error);
          return;
        }
        bytes.copy(this.#model, block * BLOCK_BYTES);
        busy.delete(block);
        done += BLOCK_BYTES;
        progress.update(done);
      }
    };
    try {
      await Promise.all(Array.from({ length: DEPTH }, writer));
    } finally {
      progress.stop();
    }
    const tookMs = performance.now() - startedMs;
    this.#say(`${label}: ${formatSize(done)} in ${(tookMs / 1000).toFixed(1)} s`);
    return tookMs;
  }

  /** Compares the whole volume with the model. */
  async #verify(label: string): Promise<void> {
    const progress = startProgress(this.#output, label, VOLUME_BYTES);
    const startedMs = performance.now();
    try {
      for (let offset = 0; offset < VOLUME_BYTES; offset += CHUNK_BYTES) {
        this.#stopIfInterrupted();
        compare(await this.#volume!.read(offset, CHUNK_BYTES), this.#model, offset, label);
        progress.update(offset + CHUNK_BYTES);
      }
    } finally {
      progress.stop();
    }
    const tookMs = performance.now() - startedMs;
    this.#say(`${label}: all ${formatSize(VOLUME_BYTES)} are right`);
    this.#results.push({ name: label, value: `${formatSize(Math.round((VOLUME_BYTES * 1000) / tookMs))}/s, no difference` });
  }

  /** kill -9 of the engine while writes go on: the supervisor starts another, and the writers see a pause and no error. */
  async #crashUnnoticed(): Promise<void> {
    const volume = this.#volume!;
    let longestMs = 0;
    let lastMs = performance.now();
    const watch = setInterval(() => undefined, 1000);
    const observed: DemoVolume = Object.create(volume) as DemoVolume;
    observed.write = async (offsetBytes, bytes) => {
      await volume.write(offsetBytes, bytes);
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - lastMs);
      lastMs = nowMs;
    };
    // Without a mount there is no supervisor: the next step kills everything anyway.
    if (!(volume instanceof MountedDemoVolume)) {
      clearInterval(watch);
      return;
    }
    this.#volume = observed;
    try {
      const writing = this.#writeBlocks('write on, engine killed with -9', CRASH_WRITES_BYTES, (error) => Promise.reject(error));
      await volume.killEngine();
      await writing;
    } finally {
      this.#volume = volume;
      clearInterval(watch);
    }
    await this.#verify('compare after the engine was killed');
    this.#results.push({
      name: 'engine killed with -9 under writes',
      value: `no error, no byte lost, longest pause ${Math.round(longestMs)} ms`,
    });
  }

  /** kill -9 of everything in the middle of writes, then a new start. */
  async #crashHard(): Promise<void> {
    const volume = this.#volume!;
    const inFlight = new Map<number, Uint8Array>();
    let failed = 0;
    let acknowledged = 0;
    const observed: DemoVolume = Object.create(volume) as DemoVolume;
    observed.write = async (offsetBytes, bytes) => {
      inFlight.set(offsetBytes, bytes);
      await volume.write(offsetBytes, bytes);
      inFlight.delete(offsetBytes);
      acknowledged++;
    };
    this.#volume = observed;
    try {
      const writing = this.#writeBlocks('write on, everything killed with -9', 2 * VOLUME_BYTES, () => {
        failed++;
        return Promise.resolve();
      });
      while (acknowledged < CRASH_WRITES_BYTES / BLOCK_BYTES) await new Promise((resolve) => setTimeout(resolve, 5));
      await volume.killAll();
      await writing;
    } finally {
      this.#volume = volume;
    }
    const startedMs = performance.now();
    await volume.start();
    const tookMs = performance.now() - startedMs;
    // Writes that nobody had acknowledged may be there or not, each as a whole.
    for (const [offset, bytes] of inFlight) {
      const found = Buffer.from(await volume.read(offset, bytes.length));
      if (found.equals(bytes)) found.copy(this.#model, offset);
    }
    await this.#verify('compare after everything was killed');
    this.#results.push({
      name: 'everything killed with -9 under writes',
      value: `${acknowledged} acknowledged writes, none lost (${failed} in flight failed); back after ${Math.round(tookMs)} ms`,
    });
  }

  /** Writes everything back, then compares the backing file alone. */
  async #writeBack(): Promise<void> {
    // As much as there can be: how much of it is dirty is shown as it becomes less.
    const writing = startProgress(this.#output, 'write everything back', VOLUME_BYTES);
    try {
      await this.#volume!.writeBack((bytesLeft) => writing.update(VOLUME_BYTES - bytesLeft));
    } finally {
      writing.stop();
    }
    await this.#volume!.stop();
    this.#say('write everything back and unmount: done');
    this.#volume = undefined;
    const file = await open(this.#paths.backing, 'r');
    const progress = startProgress(this.#output, 'compare the backing file alone', VOLUME_BYTES);
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      for (let offset = 0; offset < VOLUME_BYTES; offset += CHUNK_BYTES) {
        await file.read(chunk, 0, CHUNK_BYTES, offset);
        compare(chunk, this.#model, offset, 'backing file');
        progress.update(offset + CHUNK_BYTES);
      }
    } finally {
      progress.stop();
      await file.close();
    }
    this.#say('compare the backing file alone: identical');
    this.#results.push({ name: 'the backing file alone, cache taken away', value: 'identical to what was written' });
  }

  #say(text: string): void {
    this.#output.line(`- ${text}`);
  }

  #stopIfInterrupted(): void {
    if (this.#interrupt.by !== undefined) throw new PcacheError('closed', 'demo: interrupted, cleaned up');
  }
}

function freeBlock(busy: ReadonlySet<number>): number {
  for (;;) {
    const block = Math.floor(Math.random() * BLOCKS);
    if (!busy.has(block)) return block;
  }
}

function compare(found: Uint8Array, model: Buffer, offset: number, label: string): void {
  if (model.subarray(offset, offset + found.length).equals(found)) return;
  for (let at = 0; at < found.length; at++) {
    if (found[at] !== model[offset + at]) throw new PcacheError('internal', `demo: ${label}: byte ${offset + at} is wrong`);
  }
}

function perSecond(count: number, tookMs: number): string {
  return `${Math.round((count * 1000) / tookMs).toLocaleString('en')} a second`;
}
