// Stores the durable place alone in the gateway header, as each group of flushes wants it: in the copy that is not current, which becomes the current
// one. Nothing is decoded, encoded or allocated, and the CRC is not made anew but changed by what the changed bits change of it. So the cost does not
// depend on the size of the header, and a copy that was damaged stays so: it never gets a CRC that fits.
//
// It counts on both copies being the same but for generation and place, as whoever stores other fields leaves them.

import { pcacheCrc } from './crc32c.js';
import { GATEWAY_HEADER_LAYOUT, isLaterGeneration, nextGeneration } from './gateway-header.js';
import { GATEWAY_HEADER_BYTES, GATEWAY_HEADER_OFFSETS } from './layout.js';
import type { CopyIndex } from './two-copy-record.js';
import { viewOf } from './u64.js';

const AT = GATEWAY_HEADER_LAYOUT;

/** The words that change, by their places in a copy. */
const WORDS = [AT.generation, AT.durable_sequence, AT.durable_sequence + 4, AT.durable_segment, AT.durable_offset] as const;

/** How the CRC changes with each byte of them: 256 entries a byte, for each difference one. Made by the first thread that stores a place. */
let crcChanges: Int32Array | undefined;

function makeCrcChanges(): Int32Array {
  const changes = new Int32Array(WORDS.length * 4 * 256);
  const covered = new Uint8Array(GATEWAY_HEADER_BYTES - AT.format_version);
  const unchanged = pcacheCrc(covered);
  for (let byte = 0; byte < WORDS.length * 4; byte++) {
    const at = WORDS[byte >> 2]! + (byte & 3) - AT.format_version;
    for (let difference = 1; difference < 256; difference++) {
      const lowest = difference & -difference;
      if (lowest === difference) {
        covered[at] = difference;
        changes[byte * 256 + difference] = pcacheCrc(covered) ^ unchanged;
      } else {
        // A CRC is linear.
        changes[byte * 256 + difference] = changes[byte * 256 + lowest]! ^ changes[byte * 256 + (difference ^ lowest)]!;
      }
    }
    covered[at] = 0;
  }
  return changes;
}

export class DurablePlaceStore {
  readonly #view: DataView;
  #changes: Int32Array = new Int32Array(0);
  /** Of the copy that is being written. */
  #start = 0;
  #crc = 0;

  /** `control`: device bytes from 0. */
  constructor(control: Uint8Array) {
    this.#view = viewOf(control);
  }

  /**
   * Writes the copy that is not current, by its generation, and returns which that is; the caller persists it. Both must be valid. `sequence`, `segment`,
   * `offset`: as in `DurablePlace`.
   */
  write(sequence: number, segment: number, offset: number): CopyIndex {
    this.#changes = crcChanges ??= makeCrcChanges();
    const view = this.#view;
    const first = view.getUint32(GATEWAY_HEADER_OFFSETS[0] + AT.generation, true);
    const second = view.getUint32(GATEWAY_HEADER_OFFSETS[1] + AT.generation, true);
    const index: CopyIndex = isLaterGeneration(second, first) ? 0 : 1;
    const start = GATEWAY_HEADER_OFFSETS[index];
    this.#start = start;
    this.#crc = view.getInt32(start + AT.crc, true);
    this.#put(0, nextGeneration(index === 0 ? second : first) | 0);
    this.#put(1, sequence | 0);
    this.#put(2, (sequence / 2 ** 32) | 0);
    this.#put(3, segment);
    this.#put(4, offset);
    view.setInt32(start + AT.crc, this.#crc, true);
    return index;
  }

  /** `word`: of WORDS; `value`: 32 bits. */
  #put(word: number, value: number): void {
    const at = this.#start + WORDS[word]!;
    const difference = this.#view.getInt32(at, true) ^ value;
    this.#view.setInt32(at, value, true);
    const changes = this.#changes;
    const entry = word * 4 * 256;
    this.#crc ^=
      changes[entry + (difference & 255)]! ^
      changes[entry + 256 + ((difference >>> 8) & 255)]! ^
      changes[entry + 512 + ((difference >>> 16) & 255)]! ^
      changes[entry + 768 + (difference >>> 24)]!;
  }

  /** Makes a copy invalid: it was written and could not be made durable, so it must not count, and the other one must not be overwritten. */
  spoil(index: CopyIndex): void {
    const at = GATEWAY_HEADER_OFFSETS[index] + AT.crc;
    this.#view.setInt32(at, ~this.#view.getInt32(at, true), true);
  }
}
