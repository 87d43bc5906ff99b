import test from 'ava';
import { mapLegend, mapLines, mapShape } from '../../src/monitor/segment-map.js';
import { segmentMapOfAnswer } from '../../src/monitor/segment-answer.js';
import { lineWidth, plainText } from '../../src/monitor/text.js';
import { SEGMENTS } from './pictures.js';

const ASCII = { unicode: false };

test('few segments are drawn wide, many one a character', (t) => {
  t.deepEqual(mapShape(20, 60, 2), { cellColumns: 6, cellsPerRow: 10, rows: 2 });
  t.deepEqual(mapShape(100, 60, 2), { cellColumns: 1, cellsPerRow: 60, rows: 2 });
  t.deepEqual(mapShape(0, 60, 2).rows, 1);
});

test('no map is larger than its place, whatever it was made for', (t) => {
  for (const cells of [0, 1, 63, 64, 500, 4096]) {
    for (const [columns, rows] of [
      [1, 1],
      [78, 2],
      [198, 40],
    ] as const) {
      const lines = mapLines({ ...SEGMENTS, cells: '5'.repeat(cells) }, columns, rows, ASCII);
      t.true(lines.length <= rows);
      for (const line of lines) t.true(lineWidth(line) <= columns);
    }
  }
});

test('without Unicode the characters are those of the gateway, and letters mark the three places', (t) => {
  const lines = mapLines({ ...SEGMENTS, cells: '.L05x-L.', key_tail: 1, dirty_tail: 4, key_head: 6 }, 8, 1, ASCII);
  t.is(plainText(lines), '.T05D-H.');
});

test('places in one cell are all named if there is room, else the key head is', (t) => {
  const map = { ...SEGMENTS, cells: 'L.', key_tail: 0, dirty_tail: 0, key_head: 0 };
  t.is(plainText(mapLines(map, 2, 1, ASCII)), 'H.');
  t.is(plainText(mapLines(map, 12, 1, ASCII)), 'TDHLL .....');
});

test('a place is in the cell that its segment belongs to', (t) => {
  const map = { ...SEGMENTS, segments_per_cell: 10, cells: 'LLL', key_tail: 9, dirty_tail: 10, key_head: 29 };
  t.is(plainText(mapLines(map, 3, 1, ASCII)), 'TDH');
});

test('the legend fits 80 columns', (t) => {
  for (const unicode of [true, false]) t.true(lineWidth(mapLegend({ unicode })) <= 78);
});

test('an answer that is no map is refused', (t) => {
  t.is(segmentMapOfAnswer(SEGMENTS), SEGMENTS);
  for (const wrong of [
    null,
    7,
    {},
    { ...SEGMENTS, cells: 'L\u001b[2J' },
    { ...SEGMENTS, segments_per_cell: 0 },
    { ...SEGMENTS, key_head: -1 },
  ]) {
    t.throws(() => segmentMapOfAnswer(wrong), { code: 'unsupported', message: /is not what it should be$/ });
  }
});
