import test from 'ava';
import { structLayout } from '../../src/media/struct-layout.js';

test('a table of fields gives their offsets', (t) => {
  t.deepEqual(structLayout('thing', 16, { a: [0, 4], b: [4, 2], c: [6, 2], d: [8, 8] }), { a: 0, b: 4, c: 6, d: 8 });
});

test('a table with an unnamed gap, an overlap, a misaligned field or another size is refused', (t) => {
  t.throws(() => structLayout('thing', 16, { a: [0, 4], b: [8, 8] }), {
    message: 'layout of thing: b is at 8, the field before it ends at 4',
  });
  t.throws(() => structLayout('thing', 8, { a: [0, 4], b: [2, 4] }), {
    message: 'layout of thing: b is at 2, the field before it ends at 4',
  });
  t.throws(() => structLayout('thing', 12, { a: [0, 4], b: [4, 8] }), { message: 'layout of thing: b at 4 is not aligned to 8' });
  t.throws(() => structLayout('thing', 16, { a: [0, 8] }), {
    message: 'layout of thing: its fields end at 8, not at 16',
    code: 'internal',
  });
});
