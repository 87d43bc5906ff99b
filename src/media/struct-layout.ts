// Field tables of the structures on the media. A table is checked once, when its module loads: fields lie in order, each on a multiple of its
// own size (of 8 at most), none overlap, no byte is left unnamed, and the last one ends at the structure's size. All integers are
// little-endian.

import { PcacheError } from '../errors.js';

/** Offset and size of a field, in bytes. */
export type Field = readonly [offsetBytes: number, sizeBytes: number];

/** Offsets of the fields by name. Throws PcacheError `internal` for a table that breaks the rules above. */
export function structLayout<Name extends string>(
  struct: string,
  sizeBytes: number,
  fields: Record<Name, Field>,
): Readonly<Record<Name, number>> {
  let end = 0;
  const offsets: Partial<Record<Name, number>> = {};
  for (const name of Object.keys(fields) as Name[]) {
    const [offset, size] = fields[name];
    const alignment = size % 8 === 0 ? 8 : size % 4 === 0 ? 4 : size;
    if (offset !== end)
      throw new PcacheError('internal', `layout of ${struct}: ${name} is at ${offset}, the field before it ends at ${end}`);
    if (offset % alignment !== 0)
      throw new PcacheError('internal', `layout of ${struct}: ${name} at ${offset} is not aligned to ${alignment}`);
    offsets[name] = offset;
    end = offset + size;
  }
  if (end !== sizeBytes) throw new PcacheError('internal', `layout of ${struct}: its fields end at ${end}, not at ${sizeBytes}`);
  return offsets as Record<Name, number>;
}
