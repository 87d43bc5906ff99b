// What keys do: from where the user is and a key, to where they are then, and what is to be done about the gateway. Pure.

import { VIEWS, type Ui, type ViewName } from './picture.js';

export type Order =
  | { readonly kind: 'quit' | 'flush' | 'toggle-writeback' | 'redraw' | 'suspend' }
  | { readonly kind: 'set-gc-percent'; readonly percent: number };

export interface Step {
  readonly ui: Ui;
  readonly order?: Order;
}

/** 0 to 90, as the media have it. */
const GC_PERCENT_MAX = 90;
const DIGITS_MAX = 2;

export const FIRST_UI: Ui = { view: 'overview', isHelp: false, prompt: undefined, flush: undefined, notice: undefined };

/** `key` as the screen names it. */
export function press(ui: Ui, key: string): Step {
  if (key === 'C-c') return { ui, order: { kind: 'quit' } };
  if (key === 'C-l') return { ui, order: { kind: 'redraw' } };
  if (key === 'C-z') return { ui, order: { kind: 'suspend' } };
  if (ui.prompt !== undefined) return typed({ ...ui, prompt: ui.prompt }, key);
  if (key === 'h' || key === '?') return { ui: { ...ui, isHelp: !ui.isHelp } };
  if (key === 'escape') return { ui: { ...ui, isHelp: false, notice: undefined } };
  if (key === 'tab') return { ui: show(ui, (VIEWS.indexOf(ui.view) + 1) % VIEWS.length) };
  if (key === 'S-tab') return { ui: show(ui, (VIEWS.indexOf(ui.view) + VIEWS.length - 1) % VIEWS.length) };
  const view = /^[1-9]$/.test(key) ? Number(key) - 1 : -1;
  if (view >= 0 && view < VIEWS.length) return { ui: show(ui, view) };
  switch (key) {
    case 'q':
      return { ui, order: { kind: 'quit' } };
    case 'f':
      return ui.flush === undefined ? { ui: { ...ui, notice: undefined }, order: { kind: 'flush' } } : { ui };
    case 'p':
      return { ui, order: { kind: 'toggle-writeback' } };
    case 'g':
      return { ui: { ...ui, prompt: '', notice: undefined } };
    default:
      return { ui };
  }
}

function show(ui: Ui, view: number): Ui {
  return { ...ui, view: VIEWS[view] as ViewName, isHelp: false };
}

function typed(ui: Ui & { readonly prompt: string }, key: string): Step {
  const { prompt } = ui;
  if (/^\d$/.test(key)) return { ui: { ...ui, prompt: prompt.length < DIGITS_MAX ? prompt + key : prompt } };
  if (key === 'backspace') return { ui: { ...ui, prompt: prompt.slice(0, -1) } };
  if (key === 'escape') return { ui: { ...ui, prompt: undefined } };
  if (key !== 'enter') return { ui };
  if (prompt === '') return { ui: { ...ui, prompt: undefined } };
  const percent = Number(prompt);
  if (percent > GC_PERCENT_MAX) {
    return { ui: { ...ui, prompt: undefined, notice: { text: `gc_percent ${percent}: not a number from 0 to 90`, style: 'bad' } } };
  }
  return { ui: { ...ui, prompt: undefined }, order: { kind: 'set-gc-percent', percent } };
}
