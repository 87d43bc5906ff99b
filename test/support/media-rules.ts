// Walks every kset on a cache device and says which of the rules that every writer keeps are broken (docs/media.md). It reads the log by
// itself, field by field, and shares with the program only what reads the records, so that a mistake there is not made here again.

import { readCacheMedia } from '../../src/cache/cache-media.js';
import type { CacheMedia } from '../../src/cache/cache-media.js';
import type { CacheDevice } from '../../src/device/device.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';

const DATA_START = 0x3000;
const DATA_BYTES = 16 * 1024 * 1024 - DATA_START;
const HEADER_BYTES = 24;
const KEY_BYTES = 40;
const KEYS_MAX = 128;
const LINE_BYTES = 4 * 1024 * 1024;
const SECTOR = 512;
const MAGIC = 0x676894a64e164f1an;
const LAST = 1n;
const BARRIER = 1n << 8n;
const BARRIER_BEFORE = 1n << 9n;
const BATCH_INDEX_UNKNOWN = 63;
/** Problems listed at most: the first ones tell the story. */
const PROBLEMS_MAX = 50;

export interface MediaRuleOptions {
  /** Payload of these keys may fail its CRC (damage that a test planted). */
  readonly damageExpected?: boolean;
}

/** Problems, one line each; none on a good cache. Throws PcacheError only where the records themselves can't be read. */
export function mediaRuleProblems(device: CacheDevice, options: MediaRuleOptions = {}): string[] {
  const walk = new RuleWalk(device, readCacheMedia(device), options);
  walk.run();
  return walk.problems;
}

class RuleWalk {
  readonly problems: string[] = [];
  readonly #device: CacheDevice;
  readonly #media: CacheMedia;
  readonly #options: MediaRuleOptions;
  readonly #logSegments: number[] = [];
  /** By cache_seg_id: for each sector of data, whether a key's payload is there. */
  readonly #payload = new Map<number, Uint8Array>();
  #sequence = 0;
  #batchIndex = BATCH_INDEX_UNKNOWN;
  #passedDirtyTail = false;

  constructor(device: CacheDevice, media: CacheMedia, options: MediaRuleOptions) {
    this.#device = device;
    this.#media = media;
    this.#options = options;
  }

  run(): void {
    let segment: number = this.#media.keyTail.cacheSegId;
    let offset: number = this.#media.keyTail.segOff;
    this.#logSegments.push(segment);
    for (;;) {
      const { dirtyTail } = this.#media;
      if (segment === dirtyTail.cacheSegId && offset === dirtyTail.segOff) this.#passedDirtyTail = true;
      const where = `kset at ${segment}:${offset}`;
      const { bytes, view } = this.#segment(segment);
      const at = DATA_START + offset;
      if (offset + HEADER_BYTES > DATA_BYTES) {
        this.#report(where, 'the log runs over the end of its segment');
        break;
      }
      const flags = view.getBigUint64(at + 16, true);
      const count = view.getUint32(at + 4, true);
      const isLast = (flags & LAST) !== 0n;
      const size = isLast ? HEADER_BYTES : HEADER_BYTES + count * KEY_BYTES;
      if (view.getBigUint64(at + 8, true) !== MAGIC || (!isLast && count > KEYS_MAX) || offset + size > DATA_BYTES) {
        this.#checkEnd(where, bytes, at);
        break;
      }
      if (pcacheCrcOfRange(bytes, at + 4, at + size) !== view.getUint32(at, true)) {
        this.#checkEnd(where, bytes, at);
        break;
      }
      this.#checkHeader(where, flags, isLast);
      if (isLast) {
        if (count >= this.#media.physicalOf.length || this.#logSegments.includes(count)) {
          this.#report(where, `LAST leads to segment ${count}`);
          break;
        }
        segment = count;
        offset = 0;
        this.#logSegments.push(segment);
        continue;
      }
      if (count === 0) this.#report(where, 'a kset without keys');
      if (offset + size + HEADER_BYTES > DATA_BYTES) this.#report(where, 'no room is left for LAST');
      for (let index = 0; index < count; index++) this.#checkKey(`${where} key ${index}`, view, at + HEADER_BYTES + index * KEY_BYTES);
      offset += size;
    }
    if (!this.#passedDirtyTail) this.#report('dirty_tail', 'it is not a place of the log');
    for (const log of this.#logSegments) if (this.#payload.has(log)) this.#report(`segment ${log}`, 'it holds ksets, but keys refer to it');
  }

  #segment(cacheSegId: number): { bytes: Uint8Array; view: DataView } {
    return this.#device.segment(this.#media.physicalOf[cacheSegId]!);
  }

  #report(where: string, what: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push(`${where}: ${what}`);
  }

  /** The log has an end: 24 zero bytes. While the cache is in use the flags of the kset to come may stand there. */
  #checkEnd(where: string, bytes: Uint8Array, at: number): void {
    const zero = this.#media.gatewayHeader?.state === 'open' ? HEADER_BYTES - 8 : HEADER_BYTES;
    if (bytes.subarray(at, at + zero).some((byte) => byte !== 0)) this.#report(where, 'what ends the log is not zero');
  }

  #checkHeader(where: string, flags: bigint, isLast: boolean): void {
    const sequence = Number(flags >> 16n);
    const batchIndex = Number((flags >> 10n) & 63n);
    const limit = this.#media.gatewayHeader?.sequenceLimit ?? 0;
    if (sequence <= this.#sequence) this.#report(where, `sequence ${sequence} comes after ${this.#sequence}`);
    if (sequence >= limit) this.#report(where, `sequence ${sequence} is not below the limit ${limit}`);
    this.#sequence = Math.max(this.#sequence, sequence);
    if ((flags & 0xfen) !== 0n) this.#report(where, 'flags that nobody defined');
    if (isLast) {
      if ((flags & (BARRIER | BARRIER_BEFORE)) !== 0n) this.#report(where, 'a LAST kset with a barrier');
      if (batchIndex !== BATCH_INDEX_UNKNOWN) this.#report(where, `a LAST kset with batch index ${batchIndex}`);
    } else if (batchIndex === BATCH_INDEX_UNKNOWN) {
      this.#report(where, 'a kset without a batch index');
    } else if (batchIndex > 0 && this.#batchIndex !== BATCH_INDEX_UNKNOWN && batchIndex !== this.#batchIndex + 1) {
      this.#report(where, `batch index ${batchIndex} comes after ${this.#batchIndex}`);
    }
    this.#batchIndex = batchIndex;
  }

  #checkKey(where: string, view: DataView, at: number): void {
    const off = view.getBigUint64(at, true);
    const len = view.getUint32(at + 8, true);
    const flags = view.getUint32(at + 12, true);
    const segment = view.getUint32(at + 16, true);
    const segmentOffset = view.getUint32(at + 20, true);
    const generation = view.getBigUint64(at + 24, true);
    const volumeBytes = this.#media.gatewayHeader?.volumeBytes ?? 0;
    if (len === 0) this.#report(where, 'it is empty');
    if (off % 512n !== 0n || len % SECTOR !== 0 || segmentOffset % SECTOR !== 0) this.#report(where, 'it is not made of sectors');
    if (len > 0 && off / BigInt(LINE_BYTES) !== (off + BigInt(len) - 1n) / BigInt(LINE_BYTES)) this.#report(where, 'it crosses 4 MiB');
    if (volumeBytes > 0 && off + BigInt(len) > BigInt(volumeBytes)) this.#report(where, 'it ends beyond the volume');
    if ((flags & ~2) !== 0) this.#report(where, `flags ${flags}`);
    if (segmentOffset + len > DATA_BYTES) this.#report(where, "it ends beyond its segment's data");
    if (segment >= this.#media.physicalOf.length) {
      this.#report(where, `there is no segment ${segment}`);
      return;
    }
    const now = BigInt(this.#media.generations[segment]!);
    // A later one is possible: the record of a generation may be lost with the power if the process had died before that.
    if (generation < now) this.#report(where, `it is stale: its segment is in generation ${now}, not ${generation}`);
    this.#checkPayload(where, view, at, { segment, segmentOffset, len });
  }

  #checkPayload(where: string, view: DataView, at: number, place: { segment: number; segmentOffset: number; len: number }): void {
    const { segment, segmentOffset, len } = place;
    if (segmentOffset + len > DATA_BYTES) return;
    const crc = view.getUint32(at + 32, true);
    if (this.#media.cacheInfo.dataCrc) {
      const start = DATA_START + segmentOffset;
      const good = pcacheCrcOfRange(this.#segment(segment).bytes, start, start + len) === crc;
      if (!good && this.#options.damageExpected !== true) this.#report(where, 'its payload does not match its CRC');
      // A damaged key is logged again with the same payload; only good payload must be nobody else's.
      if (!good) return;
    }
    let used = this.#payload.get(segment);
    if (used === undefined) this.#payload.set(segment, (used = new Uint8Array(DATA_BYTES / SECTOR)));
    const first = Math.floor(segmentOffset / SECTOR);
    const end = Math.floor((segmentOffset + len) / SECTOR);
    if (used.subarray(first, end).includes(1)) this.#report(where, 'another key has the same payload');
    used.fill(1, first, end);
  }
}
