import test from 'ava';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { cleanText, flushedNotice, oldestText, verdictOf, type Verdict } from '../../src/monitor/verdict.js';
import { NOW_MS, quietStatus } from './pictures.js';

const MIB = 1 << 20;

const cases: readonly [Partial<StatusSnapshot>, Verdict['style'], RegExp][] = [
  [{}, 'good', /^All data is on the backing device$/],
  [{ dirty_bytes: 412 * MIB }, 'warn', /^412 MiB are only in the cache: don't pull the cache device$/],
  [{ dirty_bytes: 412 * MIB, persistence: 'memory' }, 'warn', /^412 MiB .* memory: don't cut the power$/],
  [{ dirty_bytes: 412 * MIB, state: 'cache-full' }, 'warn', /full: writers wait/],
  [{ dirty_bytes: 412 * MIB, state: 'backing-error' }, 'bad', /^The backing device fails: 412 MiB are only in the cache$/],
  [{ state: 'backing-error' }, 'bad', /^The backing device fails$/],
  [{ state: 'cache-error' }, 'bad', /^The cache device fails/],
  [{ dirty_bytes: MIB, corrupt_keys: 2 }, 'bad', /^Damaged data .*2 keys/],
];

for (const [changes, style, text] of cases) {
  test(`${JSON.stringify(changes)} is ${style}`, (t) => {
    const verdict = verdictOf(quietStatus(changes));
    t.is(verdict.style, style);
    t.regex(verdict.text, text);
  });
}

test('when it will be clean is told, or why nobody knows', (t) => {
  t.is(cleanText(quietStatus()), 'clean');
  t.is(cleanText(quietStatus({ dirty_bytes: 1, clean_in_s: 125 })), 'in 2 min 05 s');
  t.is(cleanText(quietStatus({ dirty_bytes: 1 })), 'not known yet');
  t.is(cleanText(quietStatus({ dirty_bytes: 1, clean_in_s: 5, writeback_paused: true })), 'paused');
});

test('the age of the oldest dirty write is told, if there is one', (t) => {
  t.is(oldestText(quietStatus({ dirty_since_ms: NOW_MS - 38_000 }), NOW_MS), '38 s ago');
  t.is(oldestText(quietStatus(), NOW_MS), '-');
});

test('a flush has written back what was dirty when it began, unless that is damaged', (t) => {
  const damaged = quietStatus({ dirty_bytes: 3 * MIB, corrupt_keys: 1 });
  t.deepEqual(flushedNotice(4 * MIB, quietStatus(), 62), { text: 'Flushed: 4.00 MiB written back in 1 min 02 s', style: 'good' });
  // What users have written meanwhile is another matter.
  t.deepEqual(flushedNotice(4 * MIB, quietStatus({ dirty_bytes: MIB }), 2), {
    text: 'Flushed: 4.00 MiB written back in 2 s',
    style: 'good',
  });
  t.deepEqual(flushedNotice(0, quietStatus(), 0), { text: 'Flushed: nothing was dirty', style: 'good' });
  const { text, style } = flushedNotice(4 * MIB, damaged, 2);
  t.regex(text, /^Flushed: 1\.00 MiB written back in 2 s, but damaged data stays in the cache \(1 key\): pcache check /);
  t.is(style, 'bad');
  t.regex(flushedNotice(3 * MIB, damaged, 2).text, /^Not flushed: damaged data stays /);
});
