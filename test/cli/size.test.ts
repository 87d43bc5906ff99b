import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { exactSize, formatDuration, formatSize, formatTook, parseSize } from '../../src/cli/size.js';

test('K, M, G and T are powers of 1024, in either case, with or without iB', (t) => {
  const sizes = {
    '512': 512,
    '64K': 65536,
    '1.5M': 1572864,
    '8G': 8589934592,
    '8g': 8589934592,
    '2T': 2199023255552,
    '1KiB': 1024,
    '1kb': 1024,
  };
  for (const [text, bytes] of Object.entries(sizes)) t.is(parseSize(text, 'size'), bytes, text);
  t.is(parseSize('0.5K', 'size'), 512);
});

test('what is no size of a whole number of bytes is a usage error', (t) => {
  for (const text of [
    '',
    '0',
    '-1',
    'G',
    '1X',
    '1.3',
    '1e9',
    '0x10',
    '1 2',
    '8GG',
    '0.0001K',
    '9999999999999999T',
    '99999999999999999',
    'Infinity',
  ]) {
    t.throws(() => parseSize(text, '--size'), { instanceOf: PcacheError, message: `--size '${text}': not a size` }, text);
  }
});

test('sizes are printed with three digits in the largest unit', (t) => {
  const texts = { 0: '0 B', 1023: '1023 B', 1024: '1 KiB', 1536: '1.50 KiB', 12288: '12 KiB', 10752: '10.5 KiB', 536870912: '512 MiB' };
  for (const [bytes, text] of Object.entries(texts)) t.is(formatSize(Number(bytes)), text);
  t.is(formatSize(16 * 1024 ** 4), '16 TiB');
  t.is(formatSize(5000 * 1024 ** 4), '5000 TiB');
});

test('where every byte counts they are told too, unless the size is round', (t) => {
  const texts = {
    0: '0 B',
    1023: '1023 B',
    1536: '1.50 KiB',
    1537: '1.50 KiB (1537 bytes)',
    100663296: '96 MiB',
    100662784: '96.0 MiB (100662784 bytes)',
  };
  for (const [bytes, text] of Object.entries(texts)) t.is(exactSize(Number(bytes)), text);
});

test('what took no second took less than one', (t) => {
  t.deepEqual([0, 0.99, 1, 65].map(formatTook), ['less than a second', 'less than a second', '1 s', '1 min 05 s']);
});

test('durations are seconds, minutes or hours', (t) => {
  t.deepEqual([0, 3.4, 59.4, 65, 3599.6, 3840].map(formatDuration), ['0 s', '3 s', '59 s', '1 min 05 s', '1 h 00 min', '1 h 04 min']);
  t.is(formatDuration(-1), '0 s');
});
