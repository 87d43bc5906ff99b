// What a cache tree holds, counted; for the status, `check`, and tests.

import { EXTENT_WORDS, ExtentFlag, sectorCount } from './extent.js';
import type { SubtreeTable } from './subtree-table.js';

export interface CacheTreeStats {
  /** Subtrees with at least one extent. */
  subtrees: number;
  /** Extents that count: neither stale nor placeholders. */
  extents: number;
  staleExtents: number;
  placeholders: number;
  /** Sectors of extents that count; corrupt ones are in clean or dirty as well. */
  cleanSectors: number;
  dirtySectors: number;
  corruptSectors: number;
  /** Memory: in blocks that subtrees own, ever touched by the arena, and the arena's limit. */
  usedBytes: number;
  touchedBytes: number;
  capacityBytes: number;
}

/** Adds what a subtree holds to the counts of extents and sectors. Under its lock. */
export function addSubtreeStats(subtrees: SubtreeTable, subtree: number, stats: CacheTreeStats): void {
  const count = subtrees.count(subtree);
  const words = subtrees.words(subtree);
  const base = subtrees.base(subtree);
  if (count > 0) stats.subtrees++;
  for (let at = base; at < base + count * EXTENT_WORDS; at += EXTENT_WORDS) {
    const word0 = words[at]!;
    const sectors = sectorCount(word0);
    if ((word0 & ExtentFlag.empty) !== 0) {
      stats.placeholders++;
    } else if (subtrees.isStale(words, at)) {
      stats.staleExtents++;
    } else {
      stats.extents++;
      if ((word0 & ExtentFlag.clean) !== 0) stats.cleanSectors += sectors;
      else stats.dirtySectors += sectors;
      if ((word0 & ExtentFlag.corrupt) !== 0) stats.corruptSectors += sectors;
    }
  }
}
