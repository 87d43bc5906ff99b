// What is left of many ranges of one subtree that were laid over each other, the later over the earlier: in time proportional to the sectors they cover,
// where sorting them in one by one takes their number squared. Replay and writeback have thousands of keys at a time to put in order.
//
// Invariants: a sector shows the layer that was painted last, 0 if none was since `begin`; runs come in ascending order, do not overlap, and two that
// touch are of different layers. Nothing is allocated after the constructor. For one thread.

import { SUBTREE_SECTORS } from './extent.js';

/** Up to this many sectors a loop is faster than a call of fill. */
const LOOP_FILL_SECTORS = 16;

export class SubtreePainter {
  /** Of the run that `next` came to: its first sector, the sector after its last, and its layer, 1 or more. */
  runStart = 0;
  runEnd = 0;
  runLayer = 0;
  readonly #layers = new Int32Array(SUBTREE_SECTORS);
  #start: number = SUBTREE_SECTORS;
  #end = 0;

  /** Takes everything away. */
  begin(): void {
    if (this.#start < this.#end) this.#layers.fill(0, this.#start, this.#end);
    this.#start = SUBTREE_SECTORS;
    this.#end = 0;
    this.runEnd = 0;
  }

  /** Lays `layer` (1 to 2^31 - 1) over sectors [sector, sector + sectors), which are in 0 to 8191. */
  paint(sector: number, sectors: number, layer: number): void {
    const layers = this.#layers;
    const end = sector + sectors;
    if (sectors <= LOOP_FILL_SECTORS) for (let i = sector; i < end; i++) layers[i] = layer;
    else layers.fill(layer, sector, end);
    if (sector < this.#start) this.#start = sector;
    if (end > this.#end) this.#end = end;
  }

  /** Goes on to the next run of one layer, the first one after `begin` and whatever was painted. Returns false if there is none. */
  next(): boolean {
    const layers = this.#layers;
    const end = this.#end;
    let sector = Math.max(this.runEnd, this.#start);
    while (sector < end && layers[sector] === 0) sector++;
    if (sector >= end) return false;
    const layer = layers[sector]!;
    this.runStart = sector;
    this.runLayer = layer;
    while (sector < end && layers[sector] === layer) sector++;
    this.runEnd = sector;
    return true;
  }
}
