// The threads of one open cache: starts them, passes messages on, and ends them in order: the lanes first, then the log (everything durable), then the media
// are marked clean and the devices are let go of. If one of them fails, the others are ended, and the devices are let go of as they are: as if the process had
// died, which loses nothing that was acknowledged.

import { setTimeout as delay } from 'node:timers/promises';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { Word } from '../cache/shared-state.js';
import { PcacheError } from '../errors.js';
import { signal } from '../shared/event-word.js';
import { errorFromPlain } from './messages.js';
import type { Answer, CloseOrder, OpenPlan, Request, ThreadData, ThreadMessage } from './messages.js';
import { LibraryWord, createThreadWords } from './thread-shared.js';
import type { OpenedShared, ThreadWords } from './thread-shared.js';

/**
 * What threads get to end by themselves, when one has failed or the process ends. Node would end them wherever they are: in the middle of native code that is
 * the end of the process, and the memory of a write that is under way would be used otherwise before the kernel is done with it.
 */
const GRACE_MS = 5000;

type Name = 'front' | 'miss' | 'log' | 'background';

const FILES: Readonly<Record<Name, URL>> = {
  front: new URL('./front-thread.js', import.meta.url),
  miss: new URL('./miss-thread.js', import.meta.url),
  log: new URL('./log-thread.js', import.meta.url),
  background: new URL('./background-thread.js', import.meta.url),
};

interface Thread {
  readonly worker: Worker;
  /** Resolves when it has come to its end by itself, with what went wrong at that. */
  readonly ended: Promise<PcacheError | undefined>;
  /** Resolves when it is gone, however. */
  readonly gone: Promise<void>;
}

/** Those whose threads are there. */
const groups = new Set<ThreadGroup>();

function settleAtExit(): void {
  for (const group of groups) group.abandon();
  const endMs = performance.now() + GRACE_MS;
  for (const group of groups) group.waitUntilGone(endMs);
}

function addGroup(group: ThreadGroup): void {
  if (groups.size === 0) process.on('exit', settleAtExit);
  groups.add(group);
}

function removeGroup(group: ThreadGroup): void {
  if (groups.delete(group) && groups.size === 0) process.off('exit', settleAtExit);
}

export class ThreadGroup {
  readonly threadWords: ThreadWords = createThreadWords();
  /** Rejects with PcacheError as `openCache`; then all threads are gone. */
  readonly opened: Promise<OpenedShared>;
  onAnswers: (answers: readonly Answer[]) => void = () => undefined;
  onFailure: (thread: string, error: unknown) => void = () => undefined;
  readonly #threads = new Map<Name, Thread>();
  #shared: OpenedShared | undefined;
  #resolveOpened: (opened: OpenedShared) => void = () => undefined;
  #rejectOpened: (error: PcacheError) => void = () => undefined;
  /** Once one has failed: resolves when everything is let go of. */
  #released: Promise<void> | undefined;

  constructor(plan: OpenPlan) {
    this.opened = new Promise((resolve, reject) => {
      this.#resolveOpened = resolve;
      this.#rejectOpened = reject;
    });
    addGroup(this);
    const miss = new MessageChannel();
    const log = new MessageChannel();
    const lateLog = new MessageChannel();
    const background = new MessageChannel();
    this.#start('front', { plan, inbox: [], toMiss: miss.port1, toLog: log.port1, toBackground: background.port1 });
    this.#start('miss', { inbox: [miss.port2] });
    // A read-only cache has nothing to write, anywhere.
    if (!plan.readOnly) {
      this.#start('log', { inbox: [log.port2, lateLog.port2] });
      this.#start('background', { inbox: [background.port2], toLog: lateLog.port1 });
    }
  }

  request(requests: readonly Request[], memory: ArrayBuffer[]): void {
    this.#tellFront(requests, memory);
  }

  #tellFront(message: readonly Request[] | CloseOrder, memory: ArrayBuffer[] = []): void {
    this.#threads.get('front')!.worker.postMessage(message, memory);
    signal(this.threadWords.words, LibraryWord.requests);
  }

  #signalCache(event: number): void {
    if (this.#shared !== undefined) signal(this.#shared.cache.words, event);
  }

  ref(): void {
    this.#threads.get('front')!.worker.ref();
  }

  /** Not while they are being let go of. */
  unref(): void {
    if (this.#released !== undefined) return;
    for (const { worker } of this.#threads.values()) worker.unref();
  }

  /**
   * Ends all threads in order and lets go of the devices. Nothing is asked of them any more. Rejects with PcacheError `io` if the log could not be closed; then
   * the devices are let go of all the same.
   */
  async end(): Promise<void> {
    if (this.#released === undefined) {
      const failure = await this.#endInOrder();
      if (failure !== undefined) throw failure;
    }
    await this.#released;
  }

  /** Has every thread end as soon as nothing of it is under way any more. */
  abandon(): void {
    const { words } = this.threadWords;
    Atomics.store(words, LibraryWord.abandon, 1);
    for (const event of [LibraryWord.requests, LibraryWord.misses, LibraryWord.start, LibraryWord.late]) signal(words, event);
    for (const event of [Word.logWorkEvent, Word.backgroundWorkEvent, Word.roomEvent]) this.#signalCache(event);
  }

  /** Blocks until all threads have come to their ends, or it is `endMs` of performance.now. */
  waitUntilGone(endMs: number): void {
    const { words } = this.threadWords;
    for (;;) {
      const running = Atomics.load(words, LibraryWord.running);
      const leftMs = endMs - performance.now();
      if (running === 0 || leftMs <= 0) return;
      Atomics.wait(words, LibraryWord.running, running, leftMs);
    }
  }

  async #endInOrder(): Promise<PcacheError | undefined> {
    const { words } = this.threadWords;
    Atomics.store(words, LibraryWord.stopLanes, 1);
    signal(words, LibraryWord.misses);
    signal(words, LibraryWord.late);
    this.#signalCache(Word.backgroundWorkEvent);
    await this.#endOf('miss', 'background');
    Atomics.store(words, LibraryWord.stopLog, 1);
    this.#signalCache(Word.logWorkEvent);
    const logFailure = await this.#endOf('log');
    const isClosed = logFailure === undefined && this.#threads.has('log');
    this.#tellFront({ markClean: isClosed });
    const frontFailure = await this.#endOf('front');
    removeGroup(this);
    return logFailure ?? frontFailure;
  }

  /** Resolves when they are gone, with the first thing that went wrong at their end. */
  async #endOf(...names: Name[]): Promise<PcacheError | undefined> {
    let failure: PcacheError | undefined;
    for (const name of names) {
      const thread = this.#threads.get(name);
      if (thread === undefined) continue;
      failure ??= await thread.ended;
      await thread.gone;
    }
    return failure;
  }

  #start(name: Name, data: Omit<ThreadData, 'threadWords'>): void {
    const workerData: ThreadData = { threadWords: this.threadWords, ...data };
    const ports = [...data.inbox, data.toMiss, data.toLog, data.toBackground].filter((port): port is MessagePort => port !== undefined);
    // The descriptors of the devices are the front thread's to close, or this group's, see `#release`.
    const worker = new Worker(FILES[name], {
      name: `pcache ${name}`,
      workerData,
      transferList: ports,
      trackUnmanagedFds: name !== 'front',
    });
    Atomics.add(this.threadWords.words, LibraryWord.running, 1);
    let hasEnded = false;
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    const ended = new Promise<PcacheError | undefined>((resolve) => {
      worker.on('message', (message: ThreadMessage) => {
        if (message.type === 'answers') {
          this.onAnswers(message.answers);
        } else if (message.type === 'opened') {
          this.#go(message.opened);
        } else {
          hasEnded = true;
          if (message.type === 'refused') void this.#refuse(errorFromPlain(message.error));
          else resolve(message.error === undefined ? undefined : errorFromPlain(message.error));
        }
      });
      worker.on('error', (error) => {
        resolve(undefined);
        this.#fail(name, error);
      });
      worker.on('exit', () => {
        resolve(undefined);
        if (!hasEnded && this.#released === undefined) this.#fail(name, new Error('it ended'));
      });
    });
    this.#threads.set(name, { worker, ended, gone });
  }

  /** The cache is open: the other threads are told what to work on. */
  #go(opened: OpenedShared): void {
    this.#shared = opened;
    for (const [name, { worker }] of this.#threads) if (name !== 'front') worker.postMessage(opened);
    signal(this.threadWords.words, LibraryWord.start);
    this.#resolveOpened(opened);
  }

  async #refuse(error: PcacheError): Promise<void> {
    this.#released ??= this.#release();
    await this.#released;
    this.#rejectOpened(error);
  }

  #fail(name: Name, error: unknown): void {
    if (this.#released !== undefined) return;
    this.#released = this.#release();
    if (this.#shared === undefined) {
      void this.#released.then(() => {
        this.#rejectOpened(new PcacheError('internal', `openCache: its ${name} thread failed`, { cause: error }));
      });
    } else {
      this.onFailure(name, error);
    }
  }

  /** Ends all threads, in whatever state, and lets go of the devices. */
  async #release(): Promise<void> {
    const threads = [...this.#threads.values()];
    for (const { worker } of threads) worker.ref();
    this.abandon();
    const gone = Promise.all(threads.map((thread) => thread.gone));
    // Not so who waits for a lock that is never given back.
    await Promise.race([gone, delay(GRACE_MS, undefined, { ref: false })]);
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
    removeGroup(this);
    if (this.#shared === undefined || Atomics.load(this.threadWords.words, LibraryWord.devicesClosed) !== 0) return;
    const { MappedCacheDevice } = await import('../device/mapped-cache-device.js');
    const { FileBackingDevice } = await import('../device/file-backing-device.js');
    new FileBackingDevice(this.#shared.backingDevice, true).close();
    new MappedCacheDevice(this.#shared.cacheDevice, true).close();
  }
}
