// The five caches that a real kernel wrote (test/fixtures/golden), unpacked to sparse files in a temporary folder. Unpacking is done in JavaScript, so
// that a clone that has only Node can run every golden test; an image takes a second or two.

import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Decompress } from 'fzstd';
import { fixturePath } from './paths.js';

/** What expected.json says of an image. Places are [cache_seg_id, seg_off]. */
export interface GoldenExpectation {
  readonly name: string;
  readonly volume_bytes: number;
  readonly volume_sha256: string;
  readonly backing_sha256: string;
  readonly superblock: { readonly flags: number; readonly seg_num: number };
  readonly cache_info: { readonly n_segs: number; readonly flags: number; readonly data_crc: boolean; readonly gc_percent: number };
  readonly key_tail: readonly [number, number];
  readonly dirty_tail: readonly [number, number];
  readonly key_head: readonly [number, number];
  readonly ksets: number;
  readonly last_ksets: number;
  readonly keys: number;
  readonly clean_keys: number;
  /** By cache_seg_id; segments of generation 0 are left out. */
  readonly generations: Readonly<Record<string, number>>;
}

export const goldenExpectations = JSON.parse(readFileSync(fixturePath('golden/expected.json'), 'utf8')) as readonly GoldenExpectation[];

export interface UnpackedGolden {
  readonly cachePath: string;
  readonly backingPath: string;
  /** Deletes both files and their folder. */
  remove(): void;
}

/** Unpacks the image called `name`; the files are the caller's to change. Call `remove` in any case. */
export function unpackGolden(name: string): UnpackedGolden {
  const folder = mkdtempSync(join(tmpdir(), 'pcache-golden-'));
  const remove = (): void => {
    rmSync(folder, { recursive: true, force: true });
  };
  const cachePath = join(folder, `${name}.pmem`);
  const backingPath = join(folder, `${name}.backing`);
  try {
    unpack(fixturePath(`golden/${name}.pmem.zst`), cachePath);
    unpack(fixturePath(`golden/${name}.backing.zst`), backingPath);
  } catch (error) {
    remove();
    throw error;
  }
  return { cachePath, backingPath, remove };
}

const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(BLOCK_BYTES);
const INPUT_BYTES = 64 * 1024;

/** Unpacks a .zst file, leaving holes where blocks are zero. */
function unpack(fromPath: string, toPath: string): void {
  const input = openSync(fromPath, 'r');
  const output = openSync(toPath, 'wx', 0o600);
  try {
    let end = 0;
    const stream = new Decompress((chunk) => {
      writeSparse(output, chunk, end);
      end += chunk.byteLength;
    });
    while (true) {
      const part = new Uint8Array(INPUT_BYTES);
      const length = readSync(input, part, 0, INPUT_BYTES, null);
      stream.push(part.subarray(0, length), length === 0);
      if (length === 0) break;
    }
    ftruncateSync(output, end);
  } finally {
    closeSync(output);
    closeSync(input);
  }
}

/** Writes runs of blocks that are not all zero. */
function writeSparse(file: number, chunk: Uint8Array, position: number): void {
  let start = 0;
  while (start < chunk.byteLength) {
    let end = start;
    while (end < chunk.byteLength && !blockIsZero(chunk, end)) end = Math.min(end + BLOCK_BYTES, chunk.byteLength);
    if (end > start) writeAll(file, chunk.subarray(start, end), position + start);
    start = end;
    while (start < chunk.byteLength && blockIsZero(chunk, start)) start = Math.min(start + BLOCK_BYTES, chunk.byteLength);
  }
}

function blockIsZero(chunk: Uint8Array, start: number): boolean {
  const block = chunk.subarray(start, start + BLOCK_BYTES);
  return ZEROS.compare(block, 0, block.byteLength, 0, block.byteLength) === 0;
}

function writeAll(file: number, bytes: Uint8Array, position: number): void {
  let done = 0;
  while (done < bytes.byteLength) done += writeSync(file, bytes, done, bytes.byteLength - done, position + done);
}
