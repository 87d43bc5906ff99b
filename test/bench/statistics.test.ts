import test from 'ava';
import { median, spreadOf } from '../../bench/statistics.js';

test('the median is the middle value, whatever the order, and of an even number the mean of the two in the middle', (t) => {
  t.is(median([5, 1, 100]), 5);
  t.is(median([4, 1, 100, 2]), 3);
  t.is(median([10, 9]), 9.5);
  t.is(median([7]), 7);
  t.is(median([]), NaN);
});

test('values keep their order when their median is taken', (t) => {
  const values = [3, 1, 2];
  median(values);
  t.deepEqual(values, [3, 1, 2]);
});

test('a spread is the median between the extremes, and there is none of nothing', (t) => {
  t.deepEqual(spreadOf([3, 9, 1, 4]), { median: 3.5, min: 1, max: 9 });
  t.is(spreadOf([]), undefined);
});
