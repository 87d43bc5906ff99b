// The two helpers of `check` that keep track of ranges, against a plain array of bytes.

import fc from 'fast-check';
import test from 'ava';
import { DamagedRanges } from '../../src/cache/check-damage.js';
import { PayloadMap } from '../../src/cache/check-payload.js';
import { SEGMENT_DATA_BYTES, SUBTREE_BYTES } from '../../src/media/layout.js';

const SECTORS = 64;
/** Ranges around the line between two subtrees, which no key crosses. */
const BASE = SUBTREE_BYTES - (SECTORS / 2) * 512;

const keys = fc.array(
  fc.record({
    start: fc.nat(SECTORS - 1),
    length: fc.integer({ min: 1, max: 12 }),
    damage: fc.constantFrom('none' as const, 'none' as const, 'copy' as const, 'only-copy' as const),
  }),
  { maxLength: 40 },
);

test('damaged ranges are those of the last key on each sector, merged where they touch and are alike', (t) => {
  fc.assert(
    fc.property(keys, (list) => {
      const ranges = new DamagedRanges();
      const model = new Array<string>(SECTORS).fill('none');
      for (const { start, length, damage } of list) {
        const line = start < SECTORS / 2 ? SECTORS / 2 : SECTORS;
        const end = Math.min(start + length, line);
        ranges.key(BASE + start * 512, (end - start) * 512, damage);
        model.fill(damage, start, end);
      }
      const seen = new Array<string>(SECTORS).fill('none');
      let last: { end: number; isOnlyCopy: boolean } | undefined;
      for (const { start, end, isOnlyCopy } of ranges.merged()) {
        if (last !== undefined && (last.end > start || (last.end === start && last.isOnlyCopy === isOnlyCopy))) return false;
        last = { end, isOnlyCopy };
        seen.fill(isOnlyCopy ? 'only-copy' : 'copy', (start - BASE) / 512, (end - BASE) / 512);
      }
      t.deepEqual(seen, model);
      return true;
    }),
  );
});

const payloads = fc.array(fc.record({ start: fc.nat(100), length: fc.integer({ min: 1, max: 70 }), delta: fc.nat(1) }), { maxLength: 12 });

test('payload is shared if two keys overlap that are not parts of one, at the end of a segment too', (t) => {
  fc.assert(
    fc.property(payloads, fc.boolean(), (list, atEnd) => {
      const map = new PayloadMap();
      const base = atEnd ? SEGMENT_DATA_BYTES - 170 * 512 : 0;
      const passes = [
        (start: number, length: number): void => {
          map.take(3, base + start * 512, length * 512);
        },
        (start: number, length: number, delta: number): void => {
          map.place(3, base + start * 512, length * 512, delta * 1024 ** 2 + base + start * 512);
        },
      ];
      for (const pass of passes) for (const { start, length, delta } of list) pass(start, length, delta);
      const overlaps = (a: (typeof list)[number], b: (typeof list)[number]): boolean =>
        a.start < b.start + b.length && b.start < a.start + a.length;
      const pairs = list.flatMap((a, index) =>
        list
          .slice(index + 1)
          .filter((b) => overlaps(a, b))
          .map((b) => a.delta !== b.delta),
      );
      t.is(map.isCrowded, pairs.length > 0);
      t.is(map.shared().length > 0, pairs.includes(true));
    }),
  );
});
