import test from 'ava';
import { NOTE_PAUSE_MS, RareNotes } from '../../src/gateway/rare-notes.js';

test('of thousands of errors the first has its line at once, and the others one in a while, with their number', (t) => {
  let nowMs = 0;
  const lines: string[] = [];
  const notes = new RareNotes(
    () => nowMs,
    (text) => lines.push(text),
  );
  for (let error = 0; error < 3000; error++) {
    notes.note(`error ${error}`);
    nowMs += NOTE_PAUSE_MS / 1000;
  }
  t.deepEqual(lines, [
    'error 0',
    'error 1000 (and 999 more since the last such line)',
    'error 2000 (and 999 more since the last such line)',
  ]);
});

test('errors that are rare have a line each', (t) => {
  let nowMs = 0;
  const lines: string[] = [];
  const notes = new RareNotes(
    () => nowMs,
    (text) => lines.push(text),
  );
  notes.note('one');
  nowMs += NOTE_PAUSE_MS;
  notes.note('two');
  t.deepEqual(lines, ['one', 'two']);
});
