// The kernel's own media, read by the pure codecs alone: no device, just bytes of a file.

import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import test from 'ava';
import { cacheFlagsOf, readCacheInfo } from '../../src/media/cache-info.js';
import type { KeyCursor } from '../../src/media/cache-key.js';
import { validateKey } from '../../src/media/cache-key.js';
import { pcacheCrc } from '../../src/media/crc32c.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import type { CacheSegId, PhysicalSegmentId } from '../../src/media/layout.js';
import { SEGMENTS_OFFSET, SEGMENT_BYTES, SEGMENT_DATA_OFFSET, segmentDeviceOffset } from '../../src/media/layout.js';
import type { LogSource, SegmentData } from '../../src/media/log-walk.js';
import { walkLog } from '../../src/media/log-walk.js';
import { readSegmentChain } from '../../src/media/segment-chain.js';
import { readSegmentGeneration } from '../../src/media/segment-generation.js';
import { readSegmentInfo } from '../../src/media/segment-info.js';
import { decodeSuperblock } from '../../src/media/superblock.js';
import { readTail } from '../../src/media/tails.js';
import { viewOf } from '../../src/media/u64.js';
import type { GoldenExpectation } from '../support/golden.js';
import { goldenExpectations, unpackGolden } from '../support/golden.js';

function must<T extends { readonly ok: boolean }>(result: T): Extract<T, { readonly ok: true }> {
  if (!result.ok) throw new Error(`refused: ${(result as unknown as { reason: string }).reason}`);
  return result as Extract<T, { readonly ok: true }>;
}

function readAt(file: number, offset: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let done = 0;
  while (done < lengthBytes) {
    const length = readSync(file, bytes, done, lengthBytes - done, offset + done);
    if (length === 0) throw new Error(`the file ends before ${offset + lengthBytes}`);
    done += length;
  }
  return bytes;
}

/** A cache in a file, its segments read when first asked for. */
class CacheFile implements LogSource {
  readonly control: Uint8Array;
  readonly deviceSegmentCount: number;
  readonly info: ReturnType<typeof readInfo>;
  readonly segmentCount: number;
  readonly physicalOf: readonly PhysicalSegmentId[];
  readonly #file: number;
  readonly #segments = new Map<number, SegmentData>();

  constructor(file: number) {
    this.#file = file;
    this.control = readAt(file, 0, SEGMENTS_OFFSET);
    this.deviceSegmentCount = must(decodeSuperblock(this.control)).value.segmentCount;
    this.info = readInfo(this.control, this.deviceSegmentCount);
    this.segmentCount = this.info.segmentCount;
    const start = { ...this.info, deviceSegmentCount: this.deviceSegmentCount };
    this.physicalOf = must(readSegmentChain(start, (id) => readSegmentInfo(this.head(id), this.deviceSegmentCount))).value;
  }

  /** The first 12 KiB of a segment. */
  head(id: PhysicalSegmentId): Uint8Array {
    return readAt(this.#file, segmentDeviceOffset(id), SEGMENT_DATA_OFFSET);
  }

  generation(id: CacheSegId): number {
    const read = readSegmentGeneration(this.head(this.physicalOf[id]!));
    if (read.ok) return read.value;
    if (read.blank) return 0;
    throw new Error(read.reason);
  }

  data(id: CacheSegId): SegmentData {
    let data = this.#segments.get(id);
    if (data === undefined) {
      const bytes = readAt(this.#file, segmentDeviceOffset(this.physicalOf[id]!), SEGMENT_BYTES);
      data = { bytes, view: viewOf(bytes), base: SEGMENT_DATA_OFFSET };
      this.#segments.set(id, data);
    }
    return data;
  }
}

function readInfo(control: Uint8Array, deviceSegmentCount: number) {
  return must(readCacheInfo(control, deviceSegmentCount)).value;
}

function hashOf(file: number, lengthBytes: number): string {
  const hash = createHash('sha256');
  const step = 4 * 1024 * 1024;
  for (let offset = 0; offset < lengthBytes; offset += step) hash.update(readAt(file, offset, Math.min(step, lengthBytes - offset)));
  return hash.digest('hex');
}

function withGolden(name: string, use: (cache: number, backing: number) => void): void {
  const golden = unpackGolden(name);
  try {
    const cache = openSync(golden.cachePath, 'r');
    const backing = openSync(golden.backingPath, 'r+');
    try {
      use(cache, backing);
    } finally {
      closeSync(cache);
      closeSync(backing);
    }
  } finally {
    golden.remove();
  }
}

/** The walk from key_tail, with the keys counted and checked by `onKey`. */
function walk(cache: CacheFile, onKey: (key: KeyCursor) => void) {
  const keyTail = must(readTail(cache.control, 'key_tail', cache.segmentCount)).value;
  const dirtyTail = must(readTail(cache.control, 'dirty_tail', cache.segmentCount)).value;
  return { keyTail, dirtyTail, result: walkLog(cache, keyTail, { dirtyTail }, { onKey }) };
}

function checkStructures(t: { deepEqual(a: unknown, b: unknown): boolean }, cache: CacheFile, expected: GoldenExpectation): void {
  let cleanKeys = 0;
  const problems: string[] = [];
  const limits = { volumeBytes: expected.volume_bytes, segmentCount: cache.segmentCount };
  const { keyTail, dirtyTail, result } = walk(cache, (key) => {
    if (key.isClean) cleanKeys++;
    const problem = validateKey(key, limits);
    if (problem !== undefined) problems.push(problem);
  });
  const generations: Record<string, number> = {};
  for (let id = 0; id < cache.segmentCount; id++) {
    const generation = cache.generation(id as CacheSegId);
    if (generation !== 0) generations[id] = generation;
  }
  const superblock = must(decodeSuperblock(cache.control)).value;
  t.deepEqual(
    {
      superblock: { flags: superblock.flags, seg_num: superblock.segmentCount },
      cache_info: {
        n_segs: cache.info.segmentCount,
        flags: cacheFlagsOf(cache.info),
        data_crc: cache.info.dataCrc,
        gc_percent: cache.info.gcPercent,
      },
      key_tail: [keyTail.cacheSegId, keyTail.segOff],
      dirty_tail: [dirtyTail.cacheSegId, dirtyTail.segOff],
      key_head: [result.end.cacheSegId, result.end.segOff],
      ksets: result.ksets,
      last_ksets: result.lastKsets,
      keys: result.keys,
      clean_keys: cleanKeys,
      generations,
    },
    {
      superblock: expected.superblock,
      cache_info: expected.cache_info,
      key_tail: expected.key_tail,
      dirty_tail: expected.dirty_tail,
      key_head: expected.key_head,
      ksets: expected.ksets,
      last_ksets: expected.last_ksets,
      keys: expected.keys,
      clean_keys: expected.clean_keys,
      generations: expected.generations,
    },
  );
  t.deepEqual(problems, []);
  t.deepEqual([result.ending, result.damage, result.dirtyTailPassed, result.lastSequence], ['end', undefined, true, 0]);
  t.deepEqual(cache.info.mode, 'writeback');
  t.deepEqual(readGatewayHeader(cache.control), { ok: false, kind: 'absent', reason: 'no gateway header' });
}

/** Writes the payload of every key that is not stale over the backing file, in log order. Returns how many payloads failed their CRC. */
function rebuildVolume(cache: CacheFile, backing: number): number {
  const generations = Array.from({ length: cache.segmentCount }, (_, id) => cache.generation(id as CacheSegId));
  let badCrcs = 0;
  walk(cache, (key) => {
    if (key.segGen < generations[key.cacheSegId]!) return;
    const { bytes, base } = cache.data(key.cacheSegId as CacheSegId);
    const payload = bytes.subarray(base + key.cacheSegOff, base + key.cacheSegOff + key.len);
    if (cache.info.dataCrc && pcacheCrc(payload) !== key.dataCrc) badCrcs++;
    writeSync(backing, payload, 0, payload.byteLength, key.off);
  });
  return badCrcs;
}

test('all five golden images are here', (t) => {
  t.deepEqual(
    goldenExpectations.map(({ name }) => name),
    ['dirty-basic', 'clean-read', 'gc-reuse', 'mixed-dirty', 'log-wrap'],
  );
});

for (const expected of goldenExpectations) {
  test(`the kernel's ${expected.name} reads as expected.json says, and gives back its volume`, (t) => {
    withGolden(expected.name, (cacheFile, backing) => {
      const cache = new CacheFile(cacheFile);
      checkStructures(t, cache, expected);
      t.is(hashOf(backing, expected.volume_bytes), expected.backing_sha256);
      const start = performance.now();
      const badCrcs = rebuildVolume(cache, backing);
      t.log(`${expected.keys} keys rebuilt in ${Math.round(performance.now() - start)} ms`);
      t.is(badCrcs, 0);
      t.is(hashOf(backing, expected.volume_bytes), expected.volume_sha256);
    });
  });
}
