// The parts of a torture run in their order, how the time is shared among them, and what of them the summary adds up.

import { damageMatrixPart } from './damage-matrix-part.js';
import { faultPart } from './fault-part.js';
import { fileSystemKillPart, fioKillPart } from './fio-kill-part.js';
import { garbagePart } from './garbage-part.js';
import { interleavingPart } from './interleaving-part.js';
import { kernelTurnsPart } from './kernel-turns-part.js';
import { killPart } from './kill-part.js';
import type { Headline, Part } from './part.js';
import { crashPart, damagePart, modelPart } from './simulated-parts.js';

export interface PartRow {
  readonly part: Part;
  /** Of the time of the whole run, relative to the other parts. */
  readonly share: number;
  /** What the part's tries are; undefined if they are neither. */
  readonly countsAs: Headline | undefined;
}

export const partRows: readonly PartRow[] = [
  { part: crashPart, share: 4, countsAs: 'crashes' },
  { part: interleavingPart, share: 4, countsAs: 'crashes' },
  { part: kernelTurnsPart, share: 1, countsAs: 'crashes' },
  { part: modelPart, share: 1.5, countsAs: undefined },
  { part: damagePart, share: 1.5, countsAs: 'bad inputs' },
  { part: damageMatrixPart, share: 2, countsAs: 'bad inputs' },
  { part: faultPart, share: 1.5, countsAs: 'faults' },
  { part: garbagePart, share: 1, countsAs: 'bad inputs' },
  { part: killPart, share: 4, countsAs: 'crashes' },
  { part: fioKillPart, share: 2, countsAs: 'crashes' },
  { part: fileSystemKillPart, share: 2, countsAs: 'crashes' },
];

/** What `--only` calls a part: its name in small letters, anything else between them a dash. */
export function slugOf({ name }: Part): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');
}

/** The rows whose slug is, or begins with, one of the names; all if none is given. Undefined if a name fits none. */
export function chooseRows(rows: readonly PartRow[], names: readonly string[]): readonly PartRow[] | undefined {
  if (names.length === 0) return rows;
  const fits = (row: PartRow, name: string): boolean => name !== '' && slugOf(row.part).startsWith(name.toLowerCase());
  if (!names.every((name) => rows.some((row) => fits(row, name)))) return undefined;
  return rows.filter((row) => names.some((name) => fits(row, name)));
}
