import test from 'ava';
import { terminalOf } from '../../src/monitor/look.js';

const UTF8 = { LANG: 'en_GB.UTF-8' };

test('terminals of today have 256 colours, older ones 16, some none', (t) => {
  for (const TERM of ['xterm-256color', 'tmux-256color', 'screen-256color', 'xterm-kitty', 'alacritty', 'foot']) {
    t.like(terminalOf({ TERM }), { colours: 256, canDraw: true, family: 'xterm-256color' }, TERM);
  }
  for (const TERM of ['xterm', 'screen', 'tmux', 'rxvt', 'linux']) t.is(terminalOf({ TERM }).colours, 16, TERM);
  for (const TERM of ['vt100', 'vt220', 'xterm-mono']) t.is(terminalOf({ TERM }).colours, 0, TERM);
  t.is(terminalOf({ TERM: 'xterm', COLORTERM: 'truecolor' }).colours, 256);
});

test('NO_COLOR with any content means no colours', (t) => {
  t.is(terminalOf({ TERM: 'xterm-256color', NO_COLOR: '1' }).colours, 0);
  t.is(terminalOf({ TERM: 'xterm-256color', NO_COLOR: '' }).colours, 256);
});

test('what is called dumb or not called anything is not drawn on', (t) => {
  for (const TERM of ['dumb', '', undefined, 'unknown']) t.false(terminalOf({ TERM }).canDraw);
});

test('Unicode is for locales in UTF-8, of which the strongest variable decides, and not for the console', (t) => {
  t.true(terminalOf({ TERM: 'xterm', ...UTF8 }).unicode);
  t.true(terminalOf({ TERM: 'xterm', LC_ALL: '', LC_CTYPE: 'C.utf8' }).unicode);
  t.false(terminalOf({ TERM: 'xterm', LC_ALL: 'C', ...UTF8 }).unicode);
  t.false(terminalOf({ TERM: 'xterm' }).unicode);
  t.false(terminalOf({ TERM: 'linux', ...UTF8 }).unicode);
  t.is(terminalOf({ TERM: 'linux' }).family, 'linux');
});
