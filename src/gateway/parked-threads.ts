// Data threads that have loaded their programs and wait for what they are to work on. Loading takes some 60 to 100 ms of a core for each thread, and what
// waits for it while an engine is replaced is the users of the volume; so a spare engine has done it before. The first engine of a mount does it while
// the supervisor opens the devices and mounts.
//
// While they wait, they may help to replay the log (replay-helpers.ts).
//
// Invariants: a thread is taken once; one that is still loading may be taken too, and finds its work when it is done. A thread that fails while it is
// parked ends the process, as any uncaught error does.

import { Worker } from 'node:worker_threads';
import { programBuild } from './program-build.js';
import type { HelpOrder, ThreadGate } from './thread-messages.js';

/** Entry file of a data thread, relative to this one, and the name that debuggers see. */
export interface ThreadKind {
  readonly name: string;
  readonly file: string;
}

export interface ParkedThread {
  readonly worker: Worker;
  /** Resolves when it has loaded its program, or never will. */
  readonly loaded: Promise<void>;
  /** Tells it what to work on. Called once. */
  go(start: object): void;
  /** Has it help to replay a log, if it has time before it is told what to work on. */
  help(order: HelpOrder): void;
}

export class ParkedThreads {
  readonly #startThread: StartThread;
  readonly #parked: (ParkedThread & { readonly kind: ThreadKind })[] = [];
  #isWanted = true;

  /** Tests start other programs in place of the real ones. */
  constructor(startThread: StartThread = startDataThread) {
    this.#startThread = startThread;
  }

  /**
   * Loads threads in this order, `atATime` of them at a time, so that no more cores are busy with it. Ends early when `release` is called.
   */
  async park(kinds: readonly ThreadKind[], atATime = 1): Promise<void> {
    const starters = kinds.map((kind) => (): ParkedThread | undefined => {
      if (!this.#isWanted) return undefined;
      const thread = this.#startThread(kind);
      this.#parked.push({ ...thread, kind });
      return thread;
    });
    await loadInOrder(starters, atATime);
  }

  /** The thread of this kind, made now if it was not before. */
  take({ name, file }: ThreadKind): ParkedThread {
    const index = this.#parked.findIndex(({ kind }) => kind.name === name && kind.file === file);
    return index < 0 ? this.#startThread({ name, file }) : this.#parked.splice(index, 1)[0]!;
  }

  /** The first so many of those that have not been taken. */
  first(count: number): readonly ParkedThread[] {
    return this.#parked.slice(0, count);
  }

  /** From now on threads are made only when they are taken. */
  release(): void {
    this.#isWanted = false;
  }
}

/**
 * Calls all of `starters` in order, each when fewer than `atATime` of the threads before it are still loading: all at once, none would be there soon.
 * Resolves when all have loaded.
 */
export async function loadInOrder(starters: readonly (() => Pick<ParkedThread, 'loaded'> | undefined)[], atATime: number): Promise<void> {
  const left = [...starters];
  const loadSome = async (): Promise<void> => {
    for (let starter = left.shift(); starter !== undefined; starter = left.shift()) await starter()?.loaded;
  };
  await Promise.all(Array.from({ length: atATime }, loadSome));
}

export type StartThread = (kind: ThreadKind) => ParkedThread;

function startDataThread({ name, file }: ThreadKind): ParkedThread {
  const gate = closedGate();
  return parkedThread(
    new Worker(new URL(file, import.meta.url), { name: `pcache ${name}`, workerData: { gate, build: programBuild } satisfies ThreadGate }),
    gate,
  );
}

export function closedGate(): ThreadGate['gate'] {
  return new Int32Array(new SharedArrayBuffer(4));
}

/** A worker whose program calls `threadStart`, and which was given this gate. */
export function parkedThread(worker: Worker, gate: ThreadGate['gate']): ParkedThread {
  const tell = (message: object): void => {
    worker.postMessage(message);
    Atomics.add(gate, 0, 1);
    Atomics.notify(gate, 0);
  };
  return {
    worker,
    loaded: new Promise((resolve) => worker.once('message', () => resolve()).once('exit', () => resolve())),
    go: tell,
    help: tell,
  };
}
