// Whether two keys share bytes of a segment without being parts of one payload. A bit for each sector tells which segments to look at at all;
// those are then looked at again, key by key. So the memory of a check of a sound cache stays at 4 KiB a segment.

import { SECTOR_BYTES, SEGMENT_DATA_BYTES } from '../media/layout.js';

const WORDS_PER_SEGMENT = Math.ceil(SEGMENT_DATA_BYTES / SECTOR_BYTES / 32);

export class PayloadMap {
  readonly #taken: (Int32Array | undefined)[] = [];
  readonly #crowded = new Map<number, Payload[]>();

  /** First pass: a key that is not stale; offset and length are whole sectors within the segment's data. */
  take(segment: number, segmentOffset: number, lengthBytes: number): void {
    const taken = (this.#taken[segment] ??= new Int32Array(WORDS_PER_SEGMENT));
    let isTwice = false;
    const end = (segmentOffset + lengthBytes) / SECTOR_BYTES;
    for (let sector = segmentOffset / SECTOR_BYTES; sector < end;) {
      const bits = Math.min(32 - (sector & 31), end - sector);
      const mask = (bits === 32 ? -1 : ((1 << bits) - 1) << (sector & 31)) | 0;
      const word = taken[sector >> 5]!;
      isTwice ||= (word & mask) !== 0;
      taken[sector >> 5] = word | mask;
      sector += bits;
    }
    if (isTwice) this.#crowded.set(segment, []);
  }

  /** Whether a second pass has to be made over all keys. */
  get isCrowded(): boolean {
    return this.#crowded.size > 0;
  }

  /** Second pass: the same keys again, with their volume offsets. */
  place(segment: number, segmentOffset: number, lengthBytes: number, volumeOffset: number): void {
    this.#crowded.get(segment)?.push({ start: segmentOffset, end: segmentOffset + lengthBytes, delta: volumeOffset - segmentOffset });
  }

  /** Pairs that overlap and place the shared bytes in different parts of the volume, by segment. */
  shared(): { segment: number; pairs: number; firstOffset: number }[] {
    const found: { segment: number; pairs: number; firstOffset: number }[] = [];
    for (const [segment, payloads] of this.#crowded) {
      payloads.sort((a, b) => a.start - b.start || a.end - b.end);
      let pairs = 0;
      let firstOffset = 0;
      let widest: Payload | undefined;
      for (const payload of payloads) {
        if (widest !== undefined && payload.start < widest.end && payload.delta !== widest.delta) {
          if (pairs === 0) firstOffset = payload.start;
          pairs++;
        }
        if (widest === undefined || payload.end > widest.end) widest = payload;
      }
      if (pairs > 0) found.push({ segment, pairs, firstOffset });
    }
    return found;
  }
}

interface Payload {
  readonly start: number;
  readonly end: number;
  /** Volume offset less segment offset: the same for parts of one payload. */
  readonly delta: number;
}
