import test from 'ava';
import { beside, clean, fit, lineWidth, plainText, shorten, span, spread, wholeWords, wrap } from '../../src/monitor/text.js';

test('a line is cut off or filled up to its width', (t) => {
  t.is(plainText([fit([span('abc'), span('def', 'bad')], 4)]), 'abcd');
  t.is(lineWidth(fit([span('abc')], 10)), 10);
  t.is(lineWidth(fit([span('abc')], 0)), 0);
});

test('a line is broken between words, and a word that is too long is left whole', (t) => {
  const text = (words: string, width: number): string => plainText(wrap([span(words.slice(0, 5)), span(words.slice(5))], width));
  t.is(text('one two three four', 9), 'one two\nthree\nfour');
  t.is(text('one two', 7), 'one two');
  t.is(text('ab c defghijklmn op', 5), 'ab c\ndefghijklmn\nop');
});

test('what is cut off ends behind an item, a clause or a word, and a figure keeps its unit', (t) => {
  t.is(wholeWords('dirty 412 MiB, 600 MiB to write', 31), 'dirty 412 MiB, 600 MiB to write');
  t.is(wholeWords('dirty 412 MiB, 600 MiB to write', 28), 'dirty 412 MiB');
  t.is(wholeWords('writeback 34.1 MiB/s', 15), 'writeback');
  t.is(wholeWords('key tail 2:24  dirty tail 0:45336', 30), 'key tail 2:24');
  t.is(wholeWords('only in the cache: do not pull it', 25), 'only in the cache');
  t.is(wholeWords('oldest     38 seconds ago, or so', 24), 'oldest     38 seconds');
  t.is(wholeWords('oneword', 3), 'one');
  t.is(wholeWords('', 3), '');
});

test('left and right share a line, and the right one stays', (t) => {
  t.is(plainText([spread([span('a long name')], [span('end')], 9)]), 'a     end');
  t.is(plainText([spread([span('a')], [span('end')], 9)]), 'a     end');
});

test('blocks side by side keep their columns', (t) => {
  const lines = beside(
    [
      { lines: [[span('a')], [span('b')]], width: 3 },
      { lines: [[span('c')]], width: 2 },
    ],
    1,
  );
  t.is(plainText(lines), 'a   c\nb');
  for (const line of lines) t.is(lineWidth(line), 6);
});

test('names are shortened in their middle', (t) => {
  t.is(shorten('/very/long/name/of/a/file.img', 15), '/very/l..le.img');
  t.is(shorten('short', 15), 'short');
  for (let width = 0; width < 12; width++) t.true(shorten('/a/name/that/is/long', width).length <= width);
});

test('what comes from outside gives the terminal no orders, and each character is one column', (t) => {
  t.is(clean('a\u001b[2Jb\nc', true), 'a?[2Jb?c');
  t.is(clean('caf\u00e9', true), 'caf\u00e9');
  t.is(clean('cafe\u0301', true), 'caf\u00e9');
  t.is(clean('caf\u00e9', false), 'caf?');
  t.is(clean('\u65e5\u672c \u{1f600} \u202e', true), '?? ? ?');
});
