import test from 'ava';
import { SUBTREE_SECTORS } from '../../src/cache/extent.js';
import { SubtreePainter } from '../../src/cache/subtree-painter.js';
import { seededRandom } from '../../src/device/seeded-random.js';

function runsOf(painter: SubtreePainter): string {
  const runs: string[] = [];
  while (painter.next()) runs.push(`${painter.runStart}-${painter.runEnd}:${painter.runLayer}`);
  return runs.join(' ');
}

test('what was painted later covers what was painted before', (t) => {
  const painter = new SubtreePainter();
  painter.begin();
  painter.paint(10, 20, 1);
  painter.paint(15, 5, 2);
  painter.paint(100, 1000, 3);
  painter.paint(29, 2, 4);
  t.is(runsOf(painter), '10-15:1 15-20:2 20-29:1 29-31:4 100-1100:3');
});

test('a painter that has nothing painted has no run, and begins again as often as it is told to', (t) => {
  const painter = new SubtreePainter();
  painter.begin();
  t.is(runsOf(painter), '');
  painter.paint(0, SUBTREE_SECTORS, 7);
  t.is(runsOf(painter), '0-8192:7');
  painter.begin();
  t.is(runsOf(painter), '');
  painter.paint(8191, 1, 1);
  painter.paint(0, 1, 2);
  t.is(runsOf(painter), '0-1:2 8191-8192:1');
});

test('runs are what a picture sector by sector shows', (t) => {
  const painter = new SubtreePainter();
  const random = seededRandom(3);
  for (let round = 0; round < 50; round++) {
    const sectors = new Array<number>(SUBTREE_SECTORS).fill(0);
    painter.begin();
    for (let layer = 1; layer <= 200; layer++) {
      const start = Math.floor(random() * SUBTREE_SECTORS);
      const length = 1 + Math.floor(random() * Math.min(64, SUBTREE_SECTORS - start));
      painter.paint(start, length, layer);
      sectors.fill(layer, start, start + length);
    }
    const seen = new Array<number>(SUBTREE_SECTORS).fill(0);
    let previousLayer = 0;
    let previousEnd = -1;
    while (painter.next()) {
      const { runStart, runEnd, runLayer } = painter;
      t.true(runEnd > runStart && runStart >= previousEnd && !(runStart === previousEnd && runLayer === previousLayer));
      seen.fill(runLayer, runStart, runEnd);
      previousLayer = runLayer;
      previousEnd = runEnd;
    }
    t.deepEqual(seen, sectors);
  }
});
