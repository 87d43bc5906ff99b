import test from 'ava';
import { ReadAhead, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN } from '../../src/gateway/read-ahead.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** What a miss has it read ahead. */
function noted(ahead: ReadAhead, start: number, length: number): [start: number, end: number] | undefined {
  return ahead.note(start, start + length) ? [ahead.startBytes, ahead.endBytes] : undefined;
}

test('the second miss of two in order starts reading ahead, and a miss alone does not', (t) => {
  const ahead = new ReadAhead(64 * MIB);
  t.is(noted(ahead, 0, 4 * KIB), undefined);
  t.deepEqual(noted(ahead, 4 * KIB, 4 * KIB), [8 * KIB, 8 * KIB + WINDOW_BYTES_MIN]);
  t.is(noted(ahead, 32 * MIB, 4 * KIB), undefined);
});

test('the window doubles each time the reader comes to its end, up to a bound', (t) => {
  const ahead = new ReadAhead(64 * MIB);
  noted(ahead, 0, 64 * KIB);
  let position = 64 * KIB;
  const windows: number[] = [];
  for (let miss = 0; miss < 6; miss++) {
    const [start, end] = noted(ahead, position, 64 * KIB)!;
    t.is(start, position + 64 * KIB);
    windows.push(end - start);
    position = end;
  }
  t.deepEqual(
    windows,
    [1, 2, 4, 8, 8, 8].map((times) => times * WINDOW_BYTES_MIN),
  );
  t.is(windows[5], WINDOW_BYTES_MAX);
});

test('who catches up with what is being read ahead has more read before the end of it, and not at each miss', (t) => {
  const ahead = new ReadAhead(64 * MIB);
  noted(ahead, 0, 4 * KIB);
  let [, end] = noted(ahead, 4 * KIB, 4 * KIB)!;
  let extended = 0;
  for (let position = 8 * KIB; position < 136 * KIB; position += 4 * KIB) {
    const more = noted(ahead, position, 4 * KIB);
    if (more === undefined) continue;
    extended++;
    t.is(more[0], end);
    end = more[1];
  }
  t.is(extended, 1);
});

test('nothing is read beyond the end of the volume', (t) => {
  const volumeBytes = MIB + 512;
  const ahead = new ReadAhead(volumeBytes);
  noted(ahead, MIB - 128 * KIB, 64 * KIB);
  t.deepEqual(noted(ahead, MIB - 64 * KIB, 32 * KIB), [MIB - 32 * KIB, volumeBytes]);
  t.is(noted(ahead, MIB - 32 * KIB, 32 * KIB), undefined);
  t.is(noted(ahead, MIB, 512), undefined);
});

test('several readers are told apart, and those that are quiet are forgotten', (t) => {
  const ahead = new ReadAhead(1024 * MIB);
  const places = [0, 100, 200, 300].map((place) => place * MIB);
  for (const place of places) t.is(noted(ahead, place, 4 * KIB), undefined);
  for (const place of places) t.deepEqual(noted(ahead, place + 4 * KIB, 4 * KIB)?.[0], place + 8 * KIB);
  // Many others, none of which goes on.
  for (let other = 0; other < 16; other++) t.is(noted(ahead, (500 + other * 10) * MIB, 4 * KIB), undefined);
  t.is(noted(ahead, 136 * KIB, 4 * KIB), undefined);
});

test('requests of one reader that come out of order are one stream', (t) => {
  const ahead = new ReadAhead(64 * MIB);
  const starts = [0, 8, 4, 16, 12, 24, 20, 28].map((start) => start * KIB);
  const windows = starts.map((start) => noted(ahead, start, 4 * KIB)).filter((window) => window !== undefined);
  t.is(windows.length, 1);
});

test('scattered misses, and misses that go backwards, have nothing read ahead', (t) => {
  const ahead = new ReadAhead(1024 * MIB);
  for (let miss = 0; miss < 200; miss++) t.is(noted(ahead, ((miss * 7919) % 1000) * MIB, 4 * KIB), undefined);
  for (let miss = 200; miss > 0; miss--) t.is(noted(ahead, 512 * MIB + miss * 4 * KIB, 4 * KIB), undefined);
});

test('what was declined is asked for again by the next miss, with the smallest window', (t) => {
  const ahead = new ReadAhead(64 * MIB);
  noted(ahead, 0, 64 * KIB);
  const [, end] = noted(ahead, 64 * KIB, 64 * KIB)!;
  t.truthy(noted(ahead, end, 64 * KIB));
  ahead.decline();
  t.deepEqual(noted(ahead, end + 64 * KIB, 64 * KIB), [end + 128 * KIB, end + 128 * KIB + WINDOW_BYTES_MIN]);
});

test('after a failure of the device it begins again', (t) => {
  const ahead = new ReadAhead(64 * MIB);
  noted(ahead, 0, 64 * KIB);
  ahead.forget();
  t.is(noted(ahead, 64 * KIB, 64 * KIB), undefined);
  t.truthy(noted(ahead, 128 * KIB, 64 * KIB));
});
