import test from 'ava';
import { bar, graph, graphMax, graphMaxBytes } from '../../src/monitor/graph.js';

test('the newest value is at the right, and older ones than there is room for are left out', (t) => {
  t.deepEqual(graph([4, 0, 1, 2, 3, 4], 5, 1, 4, false), [' .:|#']);
  t.deepEqual(graph([4], 3, 1, 4, false), ['  #']);
});

test('a graph of several lines fills from the bottom', (t) => {
  t.deepEqual(graph([8, 4, 6, 1], 4, 2, 8, false), ['# : ', '###.']);
});

test('in braille a character shows two seconds', (t) => {
  t.deepEqual(graph([4, 1], 1, 1, 4, true), ['⣇']);
  t.deepEqual(graph([8, 8, 4, 0], 2, 2, 8, true), ['⣿ ', '⣿⡇']);
});

test('what is above nothing shows, however little it is, and what is above the scale is cut', (t) => {
  t.deepEqual(graph([0.001], 1, 1, 1000, false), ['.']);
  t.deepEqual(graph([5000], 1, 1, 1000, false), ['#']);
});

test('a second without a value is a gap', (t) => {
  t.deepEqual(graph([2, null, 2], 3, 1, 2, false), ['# #']);
});

test('scales are round and fit what is shown, not what has left the graph', (t) => {
  t.is(graphMax([900, 3, 4], 2, false, 1), 5);
  t.is(graphMax([900, 3, 4], 3, false, 1), 1000);
  t.is(graphMax([2000], 2, false, 1), 2000);
  t.is(graphMax([], 2, false, 10), 10);
  t.is(graphMaxBytes([3 << 20], 2, false, 1 << 20), 4 << 20);
});

test('a bar is as long as it is said to be', (t) => {
  for (const share of [-1, 0, 0.3, 1, 7]) {
    const { filled, rest } = bar(share, 10, false);
    t.is(filled.length + rest.length, 10);
  }
  t.deepEqual(bar(0.3, 10, false), { filled: '###', rest: '-------' });
});
