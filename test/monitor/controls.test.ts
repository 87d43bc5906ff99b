import test from 'ava';
import { FIRST_UI, press, type Order } from '../../src/monitor/controls.js';
import type { Ui } from '../../src/monitor/picture.js';

/** Where a row of keys leads, and the last order on the way. */
function after(...keys: string[]): { ui: Ui; order: Order | undefined } {
  let ui = FIRST_UI;
  let order: Order | undefined;
  for (const key of keys) {
    const step = press(ui, key);
    ui = step.ui;
    order = step.order ?? order;
  }
  return { ui, order };
}

test('digits and Tab change the view', (t) => {
  t.is(after('2').ui.view, 'requests');
  t.is(after('3').ui.view, 'log');
  t.is(after('tab').ui.view, 'requests');
  t.is(after('tab', 'tab', 'tab').ui.view, 'overview');
  t.is(after('S-tab').ui.view, 'log');
  t.is(after('9').ui.view, 'overview');
});

test('help comes and goes, and another view ends it', (t) => {
  t.true(after('?').ui.isHelp);
  t.true(after('h').ui.isHelp);
  t.false(after('h', 'h').ui.isHelp);
  t.false(after('h', 'escape').ui.isHelp);
  t.false(after('h', '2').ui.isHelp);
});

test('letters order what they stand for', (t) => {
  t.is(after('q').order?.kind, 'quit');
  t.is(after('C-c').order?.kind, 'quit');
  t.is(after('f').order?.kind, 'flush');
  t.is(after('p').order?.kind, 'toggle-writeback');
  t.is(after('x').order, undefined);
});

test('there is one flush at a time', (t) => {
  const ui: Ui = { ...FIRST_UI, flush: { bytesTotal: 1, bytesLeft: 1, startedMs: 0 } };
  t.is(press(ui, 'f').order, undefined);
});

test('gc_percent is asked for and set', (t) => {
  t.is(after('g').ui.prompt, '');
  t.is(after('g', '6', '5').ui.prompt, '65');
  t.deepEqual(after('g', '6', '5', 'enter').order, { kind: 'set-gc-percent', percent: 65 });
  t.is(after('g', '6', '5', 'enter').ui.prompt, undefined);
  t.deepEqual(after('g', '0', 'enter').order, { kind: 'set-gc-percent', percent: 0 });
  t.is(after('g', '6', '5', '1').ui.prompt, '65');
  t.is(after('g', '6', '5', 'backspace').ui.prompt, '6');
});

test('gc_percent is left as it is by Esc, by nothing typed, and by a number that is none', (t) => {
  for (const keys of [
    ['g', '6', 'escape'],
    ['g', 'enter'],
    ['g', '9', '1', 'enter'],
  ]) {
    const { ui, order } = after(...keys);
    t.is(order, undefined, keys.join(' '));
    t.is(ui.prompt, undefined);
  }
  t.is(after('g', '9', '1', 'enter').ui.notice?.style, 'bad');
});

test('while gc_percent is asked for, letters do nothing, but Ctrl-C quits', (t) => {
  t.is(after('g', 'q').order, undefined);
  t.is(after('g', 'f', 'p', 'x').order, undefined);
  t.is(after('g', 'C-c').order?.kind, 'quit');
});
