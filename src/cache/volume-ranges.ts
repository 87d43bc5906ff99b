// A set of byte ranges of the volume, for saying which parts of it are concerned. Ranges are collected as they come and put in order at the end.

export interface VolumeRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export class VolumeRanges {
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  add(offsetBytes: number, lengthBytes: number): void {
    this.#starts.push(offsetBytes);
    this.#ends.push(offsetBytes + lengthBytes);
  }

  /** In order of the volume, without overlap; ranges that touch are one. */
  merged(): VolumeRange[] {
    // Starts and ends can be sorted apart: a range is over where as many have ended as have started.
    const starts = Float64Array.from(this.#starts).sort();
    const ends = Float64Array.from(this.#ends).sort();
    const merged: VolumeRange[] = [];
    let next = 0;
    let open = 0;
    let from = 0;
    for (const end of ends) {
      for (; next < starts.length && starts[next]! <= end; next++) {
        if (open++ === 0) from = starts[next]!;
      }
      if (--open === 0) merged.push({ offsetBytes: from, lengthBytes: end - from });
    }
    return merged;
  }
}

export function bytesOf(ranges: readonly VolumeRange[]): number {
  return ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
}
