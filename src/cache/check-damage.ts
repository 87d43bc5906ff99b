// Which bytes of the volume are damaged: payloads whose data CRC does not match, less what later keys have overwritten. Fed in log order. Invariant:
// the ranges kept do not overlap. Costs next to nothing while nothing is damaged.

import { SUBTREE_BYTES } from '../media/layout.js';

export interface DamagedRange {
  readonly start: number;
  readonly end: number;
  /** The backing device does not have these bytes: what is damaged is the only copy. */
  readonly isOnlyCopy: boolean;
}

export class DamagedRanges {
  /** By subtree: a key never crosses from one to the next. */
  readonly #ranges = new Map<number, DamagedRange[]>();

  /** A key that is not stale overwrites its range; with `damage` its own payload is damaged. The key crosses no multiple of 4 MiB. */
  key(offset: number, lengthBytes: number, damage: 'none' | 'copy' | 'only-copy'): void {
    if (damage === 'none' && this.#ranges.size === 0) return;
    const subtree = Math.floor(offset / SUBTREE_BYTES);
    const end = offset + lengthBytes;
    const known = this.#ranges.get(subtree);
    if (known === undefined && damage === 'none') return;
    const kept = (known ?? []).flatMap((range) => cut(range, offset, end));
    if (damage !== 'none') kept.push({ start: offset, end, isOnlyCopy: damage === 'only-copy' });
    this.#ranges.set(subtree, kept);
  }

  /** In order of the volume; ranges that touch and are alike are one. */
  merged(): DamagedRange[] {
    const all = [...this.#ranges.values()].flat().sort((a, b) => a.start - b.start);
    const merged: DamagedRange[] = [];
    for (const range of all) {
      const last = merged.at(-1);
      if (last?.end === range.start && last.isOnlyCopy === range.isOnlyCopy) merged[merged.length - 1] = { ...last, end: range.end };
      else merged.push(range);
    }
    return merged;
  }
}

/** What is left of `range` without [start, end). */
function cut(range: DamagedRange, start: number, end: number): DamagedRange[] {
  if (end <= range.start || start >= range.end) return [range];
  const left: DamagedRange[] = [];
  if (range.start < start) left.push({ ...range, end: start });
  if (range.end > end) left.push({ ...range, start: end });
  return left;
}
