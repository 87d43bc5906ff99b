// Nothing on the screen runs into its neighbour, and nothing is cut off in the middle of a figure: in every width, view and state.

import test from 'ava';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { frame } from '../../src/monitor/frame.js';
import { VIEWS, type Link, type Picture } from '../../src/monitor/picture.js';
import { plainText, type Line, type Style } from '../../src/monitor/text.js';
import { NOW_MS, busyHistory, picture } from './pictures.js';

const ASCII = { unicode: false };
const CLEAN = { dirty_bytes: 0, writeback_pending_bytes: 0, clean_in_s: null, dirty_since_ms: null };
const failing = (device: 'backing' | 'cache'): StatusSnapshot['last_error'] => ({
  device,
  message: 'write: EIO: input/output error',
  since_ms: NOW_MS - 12_000,
});

const statuses: Readonly<Record<string, Partial<StatusSnapshot>>> = {
  dirty: {},
  clean: CLEAN,
  paused: { writeback_paused: true },
  'paused and clean': { ...CLEAN, writeback_paused: true },
  full: { state: 'cache-full', clean_in_s: 7200 },
  'a failing backing device': { state: 'backing-error', last_error: failing('backing'), clean_in_s: null },
  'a failing cache': { state: 'cache-error', last_error: failing('cache') },
  'a mended backing device': { writeback_errors: 12 },
  damaged: { corrupt_keys: 12 },
  'read-only and restarted': { ...CLEAN, read_only: true, engine_restarts: 12 },
  'wanted to end': { unmount_wanted: true },
  'with long places': { dirty_tail: { seg: 53, off: 14_453_312 }, key_head: { seg: 61, off: 15_728_640 }, persistence: 'memory' },
};
const links: readonly Link['kind'][] = ['serving', 'silent', 'restarting', 'orphaned', 'dead'];

/** Of cells of a map, whose neighbours touch; the frames and bars around figures; and of letters that are a word themselves. */
const drawn: ReadonlySet<Style> = new Set(['faint', 'data-low', 'data-half', 'data-high', 'log', 'key-tail', 'dirty-tail', 'key-head']);

/** Neighbours that would be read as one word. */
function touching(lines: readonly Line[]): string[] {
  return lines.flatMap((line) =>
    line.flatMap((each, at) => {
      const next = line[at + 1];
      const isWord = next !== undefined && ![each, next].some(({ style }) => drawn.has(style));
      return isWord && /[a-z\d%)]$/i.test(each.text) && /^[a-z\d(]/i.test(next.text) ? [`${each.text}|${next.text}`] : [];
    }),
  );
}

/** Every number with its unit; numbers alone too. */
function figuresOf(text: string): string[] {
  return text.match(/[<>]?\d[\d:.]*[kMx]?(?:\/s)?(?: (?:[KMGT]iB|B|us|ms|s|min|h|d|%)(?![a-z])(?:\/s)?)*/g) ?? [];
}

function eachPicture(told: (name: string, picture: Picture) => void): void {
  for (const [name, changes] of Object.entries(statuses)) {
    const history = busyHistory(changes);
    for (const kind of links) {
      for (const ui of [...VIEWS.map((view) => ({ view })), { isHelp: true }, { prompt: '6' }]) {
        if (kind !== 'serving' && !('view' in ui && ui.view === 'overview')) continue;
        told(`${name}, ${kind}, ${JSON.stringify(ui)}`, picture({ history, link: { kind, sinceMs: NOW_MS - 185_000 } }, ui));
      }
    }
  }
}

test('no two items touch, in any width, view and state', (t) => {
  const wrong: string[] = [];
  eachPicture((name, shown) => {
    for (let columns = 48; columns <= 140; columns++) {
      const rows = columns % 2 === 0 ? 15 : 40;
      for (const found of touching(frame(shown, { columns, rows }, ASCII))) wrong.push(`${name} ${columns} x ${rows}: ${found}`);
    }
    for (let columns = 20; columns < 48; columns++) wrong.push(...touching(frame(shown, { columns, rows: 24 }, ASCII)));
  });
  t.deepEqual([...new Set(wrong)].slice(0, 20), []);
});

test('every figure is there with its unit or not at all, in any width, view and state', (t) => {
  const wrong: string[] = [];
  eachPicture((name, shown) => {
    const whole = new Set([200, 140, 100].flatMap((columns) => figuresOf(plainText(frame(shown, { columns, rows: 60 }, ASCII)))));
    for (let columns = 48; columns <= 140; columns++) {
      for (const rows of [15, 24]) {
        // Of graphs: how many seconds they show and how much is full height depends on their width.
        const text = plainText(frame(shown, { columns, rows }, ASCII)).replaceAll(/last \d+ s(?= |$)/gm, '');
        for (const line of text.split('\n')) {
          // A map or a legend of it; a graph.
          if (/^ [-.:|#LTDHx0-9 ]+$/.test(line) || line.includes('live data') || /one every|a character/.test(line)) continue;
          const scales = new Set(line.match(/(?<=max | {2})\d+k?M?(?: (?:[KMGT]iB|us|ms|s))?(?= |$)/g));
          for (const figure of figuresOf(line)) {
            if (!whole.has(figure) && !scales.has(figure)) wrong.push(`${name} ${columns} x ${rows}: ${figure} in ${line}`);
          }
        }
      }
    }
  });
  t.deepEqual([...new Set(wrong)].slice(0, 20), []);
});
