// Runs simulated volumes: users, log worker and background worker as real threads of which one runs at a time (`SimTurns`), crashes tried at every persist,
// at every flush of the backing device and at random steps between (`SimJudge`), now and then one that is meant: then the volume is opened on what is
// left, and goes on. One seed, one run.

import { Worker } from 'node:worker_threads';
import { formatCache } from '../../src/cache/format.js';
import type { OpenedCache } from '../../src/cache/open.js';
import { Cache } from '../../src/cache/cache.js';
import { Word } from '../../src/cache/shared-state.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { PAGE_BYTES, SECTOR_BYTES, SUBTREE_BYTES } from '../../src/media/layout.js';
import { plantInJudge, rememberClasses } from './sim-bugs.js';
import type { SimBug } from './sim-bugs.js';
import { SimEvents, bytesOfOperation, createEvents } from './sim-events.js';
import { SimHistory } from './sim-history.js';
import { PromiseBroken, SimJudge } from './sim-judge.js';
import type { Aftermath, SimWorld, TrialCounts } from './sim-judge.js';
import { SectorMark, SimCacheDevice, createBacking, createMedia, windowBacking } from './sim-media.js';
import type { SimLife, SimThreadStart } from './sim-thread.js';
import { JudgeTurns, Reason, SimWord, createTurns } from './sim-turns.js';

const LOG_THREAD = 0;
const BACKGROUND_THREAD = 1;
const FIRST_USER = 2;
const USERS_MAX = 3;
const READY_MS = 60_000;

export interface InterleavingReport extends TrialCounts {
  /** The first thing that was wrong, with the seed; undefined if nothing was. */
  readonly problem: string | undefined;
  readonly crashes: number;
  /** Openings of the cache that the volume went on after. */
  readonly lives: number;
  readonly steps: number;
  readonly keys: number;
  readonly writes: number;
  readonly reads: number;
  readonly flushes: number;
  readonly faults: number;
  /** Clean keys: what read misses kept. */
  readonly fills: number;
}

export interface InterleavingOptions {
  readonly seed: number;
  /** The run ends when so many were tried. */
  readonly crashes: number;
  /** Whose calls fail now and then; by default the seed says. */
  readonly faults?: 'cache' | 'backing' | 'none';
  readonly dataCrc?: boolean;
  readonly bug?: SimBug;
  /** What the seed would draw, for bugs that few shapes show. */
  readonly shape?: Partial<Shape>;
}

/** What a run is like; drawn anew for each run, the later half for each life. */
export interface Shape {
  readonly users: number;
  readonly windowKib: number;
  readonly segments: number;
  readonly segmentKib: number;
  readonly gcPercent: number;
  /** Shares of 100. */
  readonly writes: number;
  readonly flushes: number;
  readonly reads: number;
  /** Of the reads, the share that go the engine's way, with read-ahead. */
  readonly ranges: number;
  /** Of the places where words are used without a lock, the share at which a step ends. */
  readonly fine: number;
  readonly aligned: number;
  readonly hot: number;
  readonly operations: number;
  /** Chance in 100,000 that a thread sleeps after a step. */
  readonly stalls: number;
  /** For so many milliseconds of the simulated clock, at most. */
  readonly stallMs: number;
  /** Share of the places where a crash can be tried at which one is: 1, but for bugs that users see without a crash. */
  readonly looks: number;
}

/** The threads, for any number of runs one after another. */
export class InterleavingSimulation {
  readonly #turnsState = createTurns(FIRST_USER + USERS_MAX);
  readonly #turns = new JudgeTurns(this.#turnsState);
  readonly #eventsState = createEvents();
  readonly #events = new SimEvents(this.#turnsState.words, this.#eventsState);
  readonly #workers: Worker[] = [];
  #failure: Error | undefined;

  constructor() {
    for (let self = 0; self < FIRST_USER + USERS_MAX; self++) {
      const role = self === LOG_THREAD ? 'log' : self === BACKGROUND_THREAD ? 'background' : 'user';
      const start: SimThreadStart = { self, role, turns: this.#turnsState, events: this.#eventsState };
      const worker = new Worker(new URL('sim-thread.js', import.meta.url), { workerData: start });
      worker.on('error', (error) => (this.#failure ??= error));
      this.#workers.push(worker);
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  async run(options: InterleavingOptions): Promise<InterleavingReport> {
    const restoreClasses = rememberClasses();
    plantInJudge(options.bug);
    try {
      return await new Run(this.#turns, this.#events, options, (life, users) => this.#start(life, users)).run();
    } finally {
      restoreClasses();
    }
  }

  /** Gives the threads a life; resolves when all of them wait for their first turn. */
  async #start(life: SimLife, users: number): Promise<void> {
    const workers = this.#workers.slice(0, FIRST_USER + users);
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('a simulated thread does not start')), READY_MS);
    });
    const ready = workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.once('message', resolve);
          worker.once('exit', (code) => reject(new Error(`a simulated thread ended with ${code}`)));
        }),
    );
    for (const worker of workers) worker.postMessage(life);
    try {
      await Promise.race([Promise.all(ready), tooLate]);
    } finally {
      clearTimeout(timer);
      for (const worker of workers) worker.removeAllListeners('message').removeAllListeners('exit');
    }
    if (this.#failure !== undefined) throw this.#failure;
  }
}

type StartLife = (life: SimLife, users: number) => Promise<void>;

class Run {
  readonly #turns: JudgeTurns;
  readonly #events: SimEvents;
  readonly #options: InterleavingOptions;
  readonly #start: StartLife;
  readonly #random: () => number;
  readonly #world: SimWorld;
  readonly #device: SimCacheDevice;
  readonly #judge: SimJudge;
  readonly #users: number;
  /** Steps between two looks that no persist asks for, at most. */
  #stepsBetween = 0;
  #lives = 0;
  #steps = 0;

  constructor(turns: JudgeTurns, events: SimEvents, options: InterleavingOptions, start: StartLife) {
    this.#turns = turns;
    this.#events = events;
    this.#options = options;
    this.#start = start;
    this.#random = seededRandom(options.seed);
    const { words } = turns;
    words[SimWord.tick] = 0;
    words[SimWord.eventWords] = 0;
    words[SimWord.operations] = 0;
    const { shape = {}, bug } = options;
    this.#users = shape.users ?? 1 + this.#pick(USERS_MAX);
    const windowBytes = (shape.windowKib ?? this.#one([24, 48, 96, 160])) * 1024;
    const windowStart = SUBTREE_BYTES - Math.floor(windowBytes / SECTOR_BYTES / 2) * SECTOR_BYTES;
    const media = createMedia(shape.segments ?? 6 + this.#pick(6), (shape.segmentKib ?? this.#one([12, 16, 32, 96])) * 1024);
    const backing = createBacking(2 * SUBTREE_BYTES, windowStart, windowBytes);
    const before = bytesOfOperation(-options.seed - 1, windowBytes);
    new Uint8Array(backing.volatile).set(before);
    new Uint8Array(backing.durable).set(before);
    this.#world = { media, backing, history: new SimHistory(before), boot: 1 };
    this.#judge = new SimJudge(this.#world, this.#random, bug);
    const dataCrc = options.dataCrc ?? this.#pick(3) === 0;
    this.#judge.useDataCrc(dataCrc);
    this.#device = new SimCacheDevice(media);
    formatCache(this.#device, {
      dataCrc,
      gcPercent: shape.gcPercent ?? this.#one([0, 0, 50, 90]),
      uuid: new Uint8Array(16).fill(7),
      nowMs: 1_700_000_000_000,
    });
    if (bug === 'the gateway header is not persisted') this.#device.loses = (offset) => offset < PAGE_BYTES;
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #one<T>(list: readonly T[]): T {
    return list[this.#pick(list.length)]!;
  }

  async run(): Promise<InterleavingReport> {
    let problem: string | undefined;
    try {
      this.#world.history.notePosition(0, 0, 0);
      let opened = this.#open();
      while (this.#judge.crashes < this.#options.crashes) {
        const aftermath = await this.#live(opened);
        opened = this.#goOn(aftermath);
      }
    } catch (error) {
      const isKnown = error instanceof PromiseBroken;
      problem = isKnown ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
    const { history } = this.#world;
    return {
      problem: problem === undefined ? undefined : `seed ${this.#options.seed}, crash ${this.#judge.crashes}: ${problem}`,
      crashes: this.#judge.crashes,
      ...this.#judge.counts,
      lives: this.#lives,
      steps: this.#steps,
      keys: history.keys,
      writes: history.writes,
      reads: history.reads,
      flushes: history.flushes,
      faults: history.faults,
      fills: history.fills,
    };
  }

  /** Opens the cache for the next life; the state of the log is what a user of the volume goes on from. */
  #open(): OpenedCache {
    const opened = this.#judge.open(this.#device, this.#world.boot);
    const { words } = opened.shared;
    this.#world.history.notePosition(words[Word.openSegment]!, words[Word.openOffset]!, this.#world.history.keys);
    return opened;
  }

  /** From an opening to a crash that is meant. */
  async #live(opened: OpenedCache): Promise<Aftermath> {
    const { words } = this.#turns;
    const random = this.#random;
    const { media, backing } = this.#world;
    this.#lives++;
    this.#stepsBetween = this.#one([60, 300, 1000]);
    this.#turns.reset(random, FIRST_USER + this.#users, this.#users);
    const faults = this.#options.faults ?? this.#one(['none', 'none', 'none', 'backing', 'backing', 'cache']);
    words[SimWord.backingFaults] = faults === 'backing' ? this.#one([500, 5000, 40_000]) : 0;
    words[SimWord.cacheFaults] = faults === 'cache' ? this.#one([1000, 5000]) : 0;
    const { shape = {} } = this.#options;
    const writes = shape.writes ?? this.#one([30, 50, 80]);
    const flushes = shape.flushes ?? this.#one([1, 5, 15]);
    if (shape.stalls !== undefined) words[SimWord.stalls] = shape.stalls;
    if (shape.stallMs !== undefined) words[SimWord.stallMs] = shape.stallMs;
    const life: SimLife = {
      bug: this.#options.bug,
      shared: { ...opened.shared, segmentDataBytes: media.segmentDataBytes },
      media,
      backing,
      operations: shape.operations ?? this.#one([10, 60, 200]),
      bytesMax: Math.min(this.#one([2, 6, 16]) * 1024, backing.volatile.byteLength),
      writes,
      flushes,
      reads: shape.reads ?? this.#one([0.3, 0.9, 0.98]) * (100 - writes - flushes),
      ranges: shape.ranges ?? this.#one([0, 50, 90]),
      fine: shape.fine ?? this.#one([0, 30, 100]),
      aligned: shape.aligned ?? this.#one([50, 80, 100]),
      hot: shape.hot ?? this.#one([0, 50, 90]),
    };
    words[SimWord.judgeAtStep] = this.#nextStep();
    await this.#start(life, this.#users);
    try {
      return this.#watch();
    } finally {
      this.#steps += words[SimWord.steps]!;
      this.#turns.end();
      this.#takeEvents();
    }
  }

  #nextStep(): number {
    return this.#turns.words[SimWord.steps]! + 1 + this.#pick(this.#stepsBetween);
  }

  #takeEvents(): void {
    this.#events.take((kind, tick, values, bytes) => this.#world.history.onEvent(kind, tick, values, bytes));
  }

  /** Has the turn whenever something may go wrong. Returns what the last crash left. */
  #watch(): Aftermath {
    const { words } = this.#turns;
    const { history } = this.#world;
    let thread = this.#pick(FIRST_USER + this.#users);
    for (;;) {
      const reason = this.#turns.run(thread);
      this.#takeEvents();
      if (history.problem !== undefined) throw new PromiseBroken(history.problem);
      if (reason === Reason.deadlock) throw new PromiseBroken('deadlock: no thread can go on');
      if (reason === Reason.stuck) throw new PromiseBroken('no operation ends any more');
      if (reason === Reason.step) words[SimWord.judgeAtStep] = this.#nextStep();
      const { looks = 1 } = this.#options.shape ?? {};
      if (reason === Reason.done || (reason !== Reason.events && (looks === 1 || this.#random() < looks))) {
        const aftermath = this.#judge.crash();
        const isEnough = this.#judge.crashes >= this.#options.crashes;
        if (reason === Reason.done || isEnough || this.#pick(200) === 0) return aftermath;
      }
      thread = this.#turns.handedBy;
    }
  }

  /** The crash is meant: the world becomes what it left, and the cache is opened, perhaps with more crashes on the way. */
  #goOn(aftermath: Aftermath): OpenedCache {
    const { backing, history } = this.#world;
    this.#device.copyFrom(this.#judge.image.volatile, this.#judge.image.durable);
    this.#world.boot = aftermath.boot;
    if (aftermath.isPowerLoss) {
      new Uint8Array(backing.volatile).set(aftermath.backing);
      new Uint8Array(backing.durable).set(aftermath.backing);
      new Uint8Array(backing.marks).fill(SectorMark.durable);
    }
    history.goOnFrom(aftermath.keys, this.#events.tick, aftermath.isPowerLoss ? aftermath.backing : undefined);
    if (this.#pick(4) === 0) this.#interruptedOpen();
    const opened = this.#open();
    return this.#pick(6) === 0 ? this.#writeBackAll(opened) : opened;
  }

  /** An opening that the process does not survive. */
  #interruptedOpen(): void {
    let left = 1 + this.#pick(8);
    this.#device.onPersist = () => {
      if (--left <= 0) throw new SimulatedCrash();
    };
    try {
      this.#open();
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
    } finally {
      this.#device.onPersist = undefined;
    }
  }

  /** Everything is written back and collected, the cache closed in order, and opened again. Then the backing device alone has it all. */
  #writeBackAll(opened: OpenedCache): OpenedCache {
    const { history, backing } = this.#world;
    const shared = { ...opened.shared, segmentDataBytes: this.#world.media.segmentDataBytes };
    const cache = new Cache(shared, this.#device, 0, 0, () => 0);
    const maintenance = new Maintenance(cache, windowBacking(backing));
    while (cache.logStep(0));
    while (maintenance.writebackStep());
    while (maintenance.forcedGcStep());
    const content = new Uint8Array(backing.volatile);
    new Uint8Array(backing.durable).set(content);
    new Uint8Array(backing.marks).fill(SectorMark.durable);
    const keys = history.prefixOf(content, history.keys);
    if (typeof keys === 'string') throw new PromiseBroken(`after writeback of everything: ${keys}`);
    if (cache.dirtyBytes !== 0) throw new PromiseBroken(`${cache.dirtyBytes} bytes are dirty after everything was written back`);
    cache.markClean(undefined);
    const { words } = shared;
    history.notePosition(words[Word.openSegment]!, words[Word.openOffset]!, history.keys);
    history.goOnFrom(history.keys, this.#events.tick, content);
    return this.#open();
  }
}
