// What the keys do and what the words mean.

import { left, span, wrap, type Line } from './text.js';

export const KEYS = [
  ['1 2 3, Tab', 'overview, requests, log'],
  ['f', 'flush: write all dirty data to the backing device now'],
  ['p', 'pause writeback, or resume it; a full cache writes all the same'],
  ['g', 'change gc_percent: gc runs when more of the segments are used'],
  ['h, ?', 'this help'],
  ['q, Ctrl-C', 'quit; the volume goes on'],
] as const;

const WORDS = [
  ['dirty', 'bytes of the volume that only the cache has; each counts once'],
  ['oldest', 'how long ago the oldest of these writes was made'],
  ['hits', 'reads from the cache alone; writes over data that was in it'],
  ['p50, p99', 'half of the requests, 99 of 100, took this long at most'],
  ['segment', '16 MiB of the cache: data, or log, which says where data is'],
  ['damaged', 'x in the map: data of it is; pcache check says what and where'],
  ['dirty tail', 'how far writeback has come in the log; gc follows: key tail'],
] as const;

const NAME_COLUMNS = 13;

/** Lines of at most `columns`; more of them where there are few columns. */
export function help(columns: number): Line[] {
  const rows = (words: readonly (readonly [string, string])[]): Line[] =>
    words.flatMap(([name, meaning]) =>
      wrap([span(meaning)], columns - NAME_COLUMNS).map((line, at) => [left(at === 0 ? name : '', NAME_COLUMNS, 'key'), ...line]),
    );
  return [
    [span('KEYS', 'strong')],
    ...rows(KEYS),
    [],
    [span('WORDS', 'strong')],
    ...rows(WORDS),
    [],
    ...wrap([span('Figures are of the last 10 s. Graphs move left, 1 or 2 s a character.', 'dim')], columns),
    ...wrap([span('pcache status MOUNTPOINT --json prints all counters once.', 'dim')], columns),
  ];
}
