// The monitor: a connection that brings news, a picture of what is known, and a screen that shows it and brings keys. However it ends, the
// terminal is given back as it was: every way out (q, a signal, a terminal that is gone, an error anywhere) leads through `finally`.

import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { PcacheError, messageOf } from '../errors.js';
import type { FlushProgressLine, SegmentMap } from '../gateway/control-protocol.js';
import type { StatusSnapshot } from '../gateway/status.js';
import { Connection, type Endpoint, type GatewayEnd } from './connection.js';
import { FIRST_UI, press, type Order } from './controls.js';
import { clockText } from './figures.js';
import { cellsWanted, frame } from './frame.js';
import { History } from './history.js';
import type { Terminal } from './look.js';
import type { Link, Ui } from './picture.js';
import { PLAIN_INTERVAL_MS, plainLine } from './plain.js';
import type { Screen } from './screen.js';
import { clean, type Style } from './text.js';
import { deadText, flushedNotice } from './verdict.js';

export interface MonitorOptions {
  readonly mountpoint: string;
  readonly endpoint: Endpoint;
  readonly terminal: Terminal;
  /** Bounds of the gateway's latency histograms. */
  readonly boundsUs: readonly number[];
}

/** Undefined: the user has quit. */
export type MonitorEnd = GatewayEnd | undefined;

const NOTICE_MS = 8000;
/** What happened while nobody may have looked stays longer. */
const NEWS_MS = 120_000;
/** Within which a signal to oneself is there. */
const STOP_MS = 100;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/**
 * Runs until the user quits or the gateway ends. SIGINT is as good as `q`; other signals that end a process do so when the terminal has been
 * given back. Rejects with what went wrong.
 */
export async function runMonitor(options: MonitorOptions): Promise<MonitorEnd> {
  const aborter = new AbortController();
  let signal: NodeJS.Signals | undefined;
  let failure: { readonly error: unknown } | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    signal = name;
    aborter.abort();
  };
  const onFailure = (error: unknown): void => {
    failure ??= { error };
    aborter.abort();
  };
  for (const name of SIGNALS) process.on(name, onSignal);
  process.on('uncaughtException', onFailure);
  try {
    const monitor = new Monitor(options, aborter, onFailure);
    const end = options.terminal.canDraw ? await monitor.runOnScreen() : await monitor.runInLines();
    if (failure !== undefined) throw failure.error;
    return end;
  } finally {
    for (const name of SIGNALS) process.off(name, onSignal);
    process.off('uncaughtException', onFailure);
    if (signal !== undefined && signal !== 'SIGINT') process.kill(process.pid, signal);
  }
}

class Monitor {
  readonly #options: MonitorOptions;
  readonly #aborter: AbortController;
  readonly #onFailure: (error: unknown) => void;
  readonly #history: History;
  readonly #connection: Connection;
  #open: (() => Screen) | undefined;
  #screen: Screen | undefined;
  #ui: Ui = FIRST_UI;
  #noticeEndsMs = 0;
  #link: Link = { kind: 'connecting', sinceMs: Date.now() };
  #segments: SegmentMap | undefined;
  #restarts: number | undefined;
  #willDraw = false;
  #lineDueMs = 0;
  #toggled = Promise.resolve();

  constructor(options: MonitorOptions, aborter: AbortController, onFailure: (error: unknown) => void) {
    this.#options = options;
    this.#aborter = aborter;
    this.#onFailure = onFailure;
    this.#history = new History(options.boundsUs);
    this.#connection = new Connection(options.endpoint, {
      onStatus: (status) => this.#takeStatus(status),
      onSegments: (map) => {
        this.#segments = map;
        this.#draw();
      },
      onLink: (link) => this.#takeLink(link),
      onTick: () => this.#tick(),
      cellsWanted: () => (this.#screen === undefined || this.#ui.isHelp ? 0 : cellsWanted(this.#ui.view, this.#screen.size)),
    });
  }

  async runOnScreen(): Promise<MonitorEnd> {
    // Loaded only here: nothing else needs blessed.
    const { Screen } = await import('./screen.js');
    this.#open = () =>
      new Screen(this.#options.terminal, {
        onKey: (key) => this.#press(key),
        onResize: () => {
          this.#connection.hurrySegments();
          this.#draw();
        },
        onGone: () => this.#aborter.abort(),
      });
    this.#screen = this.#open();
    try {
      this.#draw();
      return await this.#connection.run(this.#aborter.signal);
    } finally {
      this.#screen.close();
    }
  }

  /** As a shell's Ctrl-Z: gives the terminal back until the process is continued. */
  async #suspend(): Promise<void> {
    this.#screen?.close();
    process.kill(process.pid, 'SIGTSTP');
    // The process stops in here; or it does not, if it has no shell that could continue it.
    await delay(STOP_MS);
    if (this.#aborter.signal.aborted) return;
    this.#screen = this.#open?.();
    this.#draw();
  }

  async runInLines(): Promise<MonitorEnd> {
    this.#printLine(`${this.#options.mountpoint}: a line every ${PLAIN_INTERVAL_MS / 1000} s, since this terminal can't be drawn on`);
    return this.#connection.run(this.#aborter.signal);
  }

  #takeStatus(status: StatusSnapshot): void {
    this.#history.push(status, performance.now());
    const restarts = status.engine_restarts;
    if (this.#restarts !== undefined && restarts > this.#restarts) {
      this.#say(`${clockText(Date.now())}: the engine died and was replaced; acknowledged writes are all there`, 'warn', NEWS_MS);
    }
    this.#restarts = restarts;
  }

  #takeLink(link: Link): void {
    const before = this.#link;
    this.#link = link;
    if (link.kind === 'orphaned') this.#say('The supervisor is dead; the engine ends the mount', 'bad', NEWS_MS);
    if (link.kind === 'dead') {
      this.#ui = { ...this.#ui, notice: undefined };
      this.#printLine(deadText(this.#options.mountpoint));
    }
    if (link.kind === 'restarting' && before.kind !== 'connecting') this.#printLine('the engine is restarting');
    this.#draw();
  }

  #tick(): void {
    if (performance.now() > this.#noticeEndsMs) this.#ui = { ...this.#ui, notice: undefined };
    if (performance.now() >= this.#lineDueMs) {
      const line = plainLine(this.#history, Date.now());
      if (line !== undefined) {
        this.#printLine(line);
        this.#lineDueMs = performance.now() + PLAIN_INTERVAL_MS * 0.99;
      }
    }
    this.#draw();
  }

  #printLine(text: string): void {
    if (this.#screen === undefined) process.stdout.write(`${clean(text, this.#options.terminal.unicode)}\n`);
  }

  #say(text: string, style: Style, durationMs = NOTICE_MS): void {
    this.#ui = { ...this.#ui, notice: { text, style } };
    this.#noticeEndsMs = performance.now() + durationMs;
    if (durationMs === NEWS_MS) this.#printLine(text);
    this.#draw();
  }

  #press(key: string): void {
    const { view, isHelp } = this.#ui;
    const { ui, order } = press(this.#ui, key);
    this.#ui = ui;
    if (ui.notice !== undefined) this.#noticeEndsMs = Math.max(this.#noticeEndsMs, performance.now() + NOTICE_MS);
    if (view !== ui.view || isHelp !== ui.isHelp) this.#connection.hurrySegments();
    if (order !== undefined) this.#obey(order).catch((error: unknown) => this.#tellError(error));
    this.#draw();
  }

  async #obey(order: Order): Promise<void> {
    switch (order.kind) {
      case 'quit':
        this.#aborter.abort();
        return;
      case 'redraw':
        this.#screen?.forget();
        return;
      case 'suspend':
        await this.#suspend();
        return;
      case 'flush':
        await this.#flush();
        return;
      case 'toggle-writeback':
        // One after the other: pressed twice, it is as it was.
        this.#toggled = this.#toggled.then(() => this.#toggleWriteback()).catch((error: unknown) => this.#tellError(error));
        await this.#toggled;
        return;
      case 'set-gc-percent':
        await this.#connection.request({ op: 'message', gc_percent: order.percent });
        this.#say(`gc_percent is ${order.percent}`, 'good');
    }
  }

  async #flush(): Promise<void> {
    const startedMs = Date.now();
    const onProgress = ({ bytes_total, bytes_left }: FlushProgressLine): void => {
      this.#ui = { ...this.#ui, flush: { bytesTotal: bytes_total, bytesLeft: bytes_left, startedMs } };
      this.#draw();
    };
    this.#ui = { ...this.#ui, flush: { bytesTotal: undefined, bytesLeft: 0, startedMs } };
    let dirtyBytes: number;
    try {
      ({ dirty_bytes: dirtyBytes } = await this.#connection.status());
      await this.#connection.request({ op: 'flush' }, { onProgress });
    } finally {
      this.#ui = { ...this.#ui, flush: undefined };
    }
    const tookS = (Date.now() - startedMs) / 1000;
    const { text, style } = flushedNotice(dirtyBytes, await this.#connection.status(), tookS);
    this.#say(text, style);
  }

  async #toggleWriteback(): Promise<void> {
    const isPaused = this.#history.latest?.writeback_paused === true;
    await this.#connection.request({ op: 'message', writeback: isPaused ? 'resume' : 'pause' });
    // What the key does next depends on it, and is said in the last line.
    this.#history.look(await this.#connection.status());
    const paused = 'Writeback is paused: p resumes it; full caches and flushes write all the same';
    this.#say(isPaused ? 'Writeback goes on' : paused, isPaused ? 'good' : 'warn');
  }

  #tellError(error: unknown): void {
    if (!(error instanceof PcacheError)) this.#onFailure(error);
    else this.#say(messageOf(error), 'bad', NOTICE_MS);
  }

  /** Once for all that happens in one turn of the event loop. */
  #draw(): void {
    if (this.#screen === undefined || this.#willDraw) return;
    this.#willDraw = true;
    nextTurn()
      .then(() => {
        this.#willDraw = false;
        const { mountpoint, terminal } = this.#options;
        const picture = {
          mountpoint,
          link: this.#link,
          history: this.#history,
          segments: this.#segments,
          ui: this.#ui,
          nowMs: Date.now(),
        };
        if (!this.#aborter.signal.aborted && this.#screen !== undefined) this.#screen.draw(frame(picture, this.#screen.size, terminal));
      })
      .catch(this.#onFailure);
  }
}
