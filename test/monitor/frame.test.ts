// The whole screen as text, kept in a snapshot for the sizes that matter; styles where they carry the meaning.

import test from 'ava';
import { cellsWanted, frame } from '../../src/monitor/frame.js';
import { plainLine } from '../../src/monitor/plain.js';
import { VIEWS } from '../../src/monitor/picture.js';
import { lineWidth, plainText, type Line, type Size, type Style } from '../../src/monitor/text.js';
import { NOW_MS, busyHistory, busyStatus, picture } from './pictures.js';
import { History } from '../../src/monitor/history.js';
import { help } from '../../src/monitor/view-help.js';
import { LATENCY_BOUNDS_US } from '../../src/shared/latency.js';

const MIB = 1 << 20;
const SMALL: Size = { columns: 80, rows: 24 };
const sizes: readonly Size[] = [SMALL, { columns: 120, rows: 40 }, { columns: 200, rows: 60 }];
const UNICODE = { unicode: true };
const ASCII = { unicode: false };

function styled(lines: readonly Line[], style: Style): string {
  return lines
    .map((line) =>
      line
        .filter((each) => each.style === style)
        .map(({ text }) => text)
        .join(''),
    )
    .join('\n');
}

for (const view of VIEWS) {
  for (const size of sizes) {
    test(`the view ${view} at ${size.columns} x ${size.rows}`, (t) => {
      t.snapshot(plainText(frame(picture({}, { view }), size, UNICODE)));
    });
  }
  test(`the view ${view} in ASCII`, (t) => {
    const text = plainText(frame(picture({}, { view }), SMALL, ASCII));
    t.regex(text, /^[\n\u0020-\u007e]*$/);
    t.snapshot(text);
  });
}

test('help at 80 x 24', (t) => {
  const text = plainText(frame(picture({}, { isHelp: true }), SMALL, ASCII));
  t.regex(text, /^[\n\u0020-\u007e]*$/);
  t.snapshot(text);
});

test('whatever the size, there are exactly as many lines and columns', (t) => {
  const wrong: string[] = [];
  for (const look of [UNICODE, ASCII]) {
    for (const ui of [{ isHelp: true }, ...VIEWS.map((view) => ({ view }))]) {
      for (const rows of [1, 2, 3, 5, 8, 14, 23, 31, 70]) {
        for (const columns of [1, 2, 7, 20, 39, 61, 79, 133, 210]) {
          const lines = frame(picture({}, ui), { columns, rows }, look);
          if (lines.length !== rows || lines.some((line) => lineWidth(line) !== columns))
            wrong.push(`${JSON.stringify(ui)} ${columns} x ${rows}`);
        }
      }
    }
  }
  t.deepEqual(wrong, []);
});

test('a terminal that is too small says so, and still says whether the data is safe', (t) => {
  for (const size of [
    { columns: 40, rows: 10 },
    { columns: 47, rows: 50 },
    { columns: 200, rows: 11 },
  ]) {
    const words = plainText(frame(picture(), size, ASCII)).replaceAll(/\s+/g, ' ');
    t.is(
      words.trim(),
      `* 412 MiB are only in the cache: don't pull the cache device ${size.columns} x ${size.rows} is too small, 48 x 12 is needed q quits`,
    );
    t.is(cellsWanted('log', size), 0);
  }
  t.regex(plainText(frame(picture(), { columns: 48, rows: 12 }, ASCII)), /SAFETY/);
});

test('help fits 80 columns and 24 rows', (t) => {
  const lines = help(SMALL.columns - 2);
  t.true(lines.length <= SMALL.rows - 5);
  for (const line of lines) t.true(lineWidth(line) <= SMALL.columns - 2, plainText([line]));
});

test('before anything is known there is a frame that says so', (t) => {
  const history = new History(LATENCY_BOUNDS_US);
  const text = plainText(frame(picture({ history, link: { kind: 'connecting', sinceMs: NOW_MS }, segments: undefined }), SMALL, ASCII));
  t.regex(text, /\/mnt\/vol .*connecting/);
  t.regex(text, /q quit$/);
});

test('latency is drawn as two graphs, and as one where there is no room for two', (t) => {
  const wide = plainText(frame(picture({}, { view: 'requests' }), SMALL, ASCII));
  t.is(wide.match(/p50 (?:-|\S+ us) +(?:max )?\d+ us +p99 (?:-|\S+ us) +(?:max )?\d+ us$/gm)?.length, 3, wide);
  const narrow = plainText(frame(picture({}, { view: 'requests' }), { columns: 60, rows: 24 }, ASCII));
  t.is(narrow.match(/p99 (?:-|\S+ us)(?: {2}p50 (?:-|\S+ us))?$/gm)?.length, 3, narrow);
});

test('an error of the backing device is red, with its text and since when', (t) => {
  const history = busyHistory({
    state: 'backing-error',
    last_error: { message: 'write: EIO: input/output error', since_ms: NOW_MS - 12_000, device: 'backing' },
  });
  const red = styled(frame(picture({ history }), SMALL, ASCII), 'bad');
  t.regex(red, /^backing +write: EIO: input\/output error, for 12 s$/m);
  t.regex(red, /The backing device fails: 412 MiB are only in the cache/);
  t.regex(red, /backing-error/);
});

test('errors of the backing device that are over are told for ten minutes', (t) => {
  const history = busyHistory({ writeback_errors: 3 });
  t.regex(styled(frame(picture({ history }), SMALL, ASCII), 'warn'), /3 errors in 10 min, works again/);
});

test('an engine that is being replaced is told, and what that means', (t) => {
  const lines = frame(picture({ link: { kind: 'restarting', sinceMs: NOW_MS - 3000 } }), SMALL, ASCII);
  t.regex(styled(lines, 'warn'), /the engine is restarting, for 3 s/);
  t.regex(styled(lines, 'warn'), /no acknowledged write is lost/);
});

test('a dead supervisor is told in red', (t) => {
  t.regex(styled(frame(picture({ link: { kind: 'orphaned', sinceMs: NOW_MS } }), SMALL, ASCII), 'bad'), /supervisor is dead/);
});

test('of a gateway of which nothing lives it is told what to do, and nothing that nobody knows', (t) => {
  const history = busyHistory({ dirty_bytes: 0, writeback_pending_bytes: 0 });
  for (const columns of [48, 80, 200]) {
    const lines = frame(picture({ history, link: { kind: 'dead', sinceMs: NOW_MS } }), { columns, rows: 24 }, ASCII);
    const name = columns < 70 ? 'MOUNTPOINT' : '/mnt/vol';
    t.regex(
      styled(lines, 'bad'),
      columns < 60 ? /The gateway is dead/ : new RegExp(`^\\* The gateway is dead: pcache umount ${name}, then mount again$`, 'm'),
    );
    t.regex(plainText(lines), /SAFETY -+ as last heard/);
    t.notRegex(plainText(lines), /All data is on/);
  }
});

test('paused writeback is told, and how to resume it', (t) => {
  const text = plainText(frame(picture({ history: busyHistory({ writeback_paused: true }) }), SMALL, ASCII));
  t.regex(text, /clean +paused, p resumes writeback/);
  t.regex(text, /p resume/);
});

test('a flush shows how far it is and how long it will take', (t) => {
  const flush = { bytesTotal: 400 * MIB, bytesLeft: 100 * MIB, startedMs: NOW_MS - 6000 };
  const text = plainText(frame(picture({}, { flush }), SMALL, ASCII));
  t.regex(text, /flushing #+-+ 100 MiB of 400 MiB to write, 2 s left/);
});

test('the prompt shows what is typed and what is set', (t) => {
  t.regex(plainText(frame(picture({}, { prompt: '6' }), SMALL, ASCII)), /gc_percent, 0 to 90, now 70: 6_/);
});

test('names and errors with control characters reach no terminal', (t) => {
  const history = busyHistory({ backing: '/dev/\u001b[2J', last_error: null });
  const lines = frame(
    picture({ history, mountpoint: '/mnt/\u001b]0;x\u0007' }, { notice: { text: '\u001b[H', style: 'bad' } }),
    SMALL,
    UNICODE,
  );
  t.notRegex(plainText(lines).replaceAll('\n', ''), /\p{Cc}/u);
});

test('a volume that is unmounted when its users are gone says so while there is nothing newer to say', (t) => {
  const history = busyHistory({ unmount_wanted: true });
  const told = /^ *It will unmount when its users are gone *$/m;
  for (const size of [SMALL, { columns: 50, rows: 24 }]) t.regex(plainText(frame(picture({ history }), size, ASCII)), told);
  t.notRegex(plainText(frame(picture({ history }, { notice: { text: 'Flushed', style: 'good' } }), SMALL, ASCII)), told);
  t.regex(plainLine(history, NOW_MS) ?? '', /^\S+ serving, will unmount when its users are gone: /);
  t.notRegex(plainText(frame(picture(), SMALL, ASCII)), /unmount/);
});

test('restarts of the engine stay in sight', (t) => {
  const history = new History(LATENCY_BOUNDS_US);
  history.push(busyStatus(3, { engine_restarts: 2 }), 0);
  t.regex(plainText(frame(picture({ history }), SMALL, ASCII)), /2x restarted/);
});

test('at 50 columns the last line has the numbers of the views, and a space between any two items', (t) => {
  for (const columns of [48, 50, 68]) {
    for (const paused of [false, true]) {
      const lines = frame(picture({ history: busyHistory({ writeback_paused: paused }) }), { columns, rows: 24 }, ASCII);
      t.is(
        plainText(lines).split('\n').at(-1)?.trim().replaceAll(/ +/g, ' '),
        `1 2 3 f flush p ${paused ? 'resume' : 'pause'} g gc ? help q quit`,
        String(columns),
      );
    }
  }
  t.regex(plainText(frame(picture(), { columns: 80, rows: 24 }, ASCII)), /1 overview {2}2 requests {2}3 log .*q quit$/);
});

test('a volume that is clean tells no rate of writing back', (t) => {
  const history = busyHistory({ dirty_bytes: 0, writeback_pending_bytes: 0, clean_in_s: null, writeback_bytes_per_s: 1 << 20 });
  const text = plainText(frame(picture({ history }), SMALL, ASCII));
  t.regex(text, /clean +now/);
  t.notRegex(text, /writeback at/);
});
