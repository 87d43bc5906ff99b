// How far a flush is, from counters that only grow: what writing back has passed of the log, and what the backing device has taken. What users write meanwhile
// lies behind the flush in the log and does not count; the log's own number of what is left would, and would stand still or grow.
//
// Invariants:
// - What is left never grows, and is more than nothing until whoever asks knows that the flush is done: the device may have taken all and not made it durable.
// - What the device has taken of a batch is no more than the batch's keys have, some of which may be written over. So the batch that is under way is
//   followed byte by byte if nothing of it was, and jumps a bit at its end otherwise.

import { SECTOR_BYTES } from '../media/layout.js';

export class FlushGauge {
  readonly #totalBytes: number;
  readonly #firstPassedBytes: number;
  #passedBytes: number;
  /** Taken when the last batch was passed. */
  #takenBytes: number;
  #leftBytes: number;

  /**
   * @param totalBytes of keys that the flush has to pass
   * @param passedBytes NumberWord.passedBytes
   * @param takenBytes GatewayNumber.writebackTaken
   */
  constructor(totalBytes: number, passedBytes: number, takenBytes: number) {
    this.#totalBytes = totalBytes;
    this.#leftBytes = totalBytes;
    this.#firstPassedBytes = passedBytes;
    this.#passedBytes = passedBytes;
    this.#takenBytes = takenBytes;
  }

  /** Given what the counters say now. */
  leftBytes(passedBytes: number, takenBytes: number): number {
    if (passedBytes !== this.#passedBytes) {
      this.#passedBytes = passedBytes;
      this.#takenBytes = takenBytes;
    }
    const doneBytes = passedBytes - this.#firstPassedBytes + Math.max(0, takenBytes - this.#takenBytes);
    const leastBytes = Math.min(this.#totalBytes, SECTOR_BYTES);
    this.#leftBytes = Math.max(leastBytes, Math.min(this.#leftBytes, this.#totalBytes - doneBytes));
    return this.#leftBytes;
  }
}
