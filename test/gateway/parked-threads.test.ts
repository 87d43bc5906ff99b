// In which order data threads are loaded, and how many at a time; the threads are fakes, but for one.

import { EventEmitter, once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker as RealWorker, type Worker } from 'node:worker_threads';
import test from 'ava';
import {
  ParkedThreads,
  closedGate,
  loadInOrder,
  parkedThread,
  type ParkedThread,
  type ThreadKind,
} from '../../src/gateway/parked-threads.js';
import { OTHER_BUILD } from '../../src/gateway/program-build.js';
import type { ThreadGate } from '../../src/gateway/thread-messages.js';

const kind = (name: string): ThreadKind => ({ name, file: `./${name}.js` });
const kinds = ['a', 'b', 'c', 'd', 'e'].map(kind);

/** Threads that load when they are told to. */
class FakeThreads {
  readonly started: string[] = [];
  readonly #workers = new Map<string, EventEmitter>();

  readonly start = ({ name }: ThreadKind): ParkedThread => {
    const worker = new EventEmitter();
    this.started.push(name);
    this.#workers.set(name, worker);
    const asWorker: unknown = worker;
    return parkedThread(asWorker as Worker, closedGate());
  };

  /** Has a thread say that it is parked, or end. */
  async tell(name: string, event: 'message' | 'exit' = 'message'): Promise<void> {
    this.#workers.get(name)!.emit(event);
    await turn();
  }
}

test('threads are loaded in order, and no more at a time than said', async (t) => {
  const fakes = new FakeThreads();
  const parked = new ParkedThreads(fakes.start).park(kinds, 2);
  t.deepEqual(fakes.started, ['a', 'b']);
  await fakes.tell('b');
  t.deepEqual(fakes.started, ['a', 'b', 'c']);
  await fakes.tell('a');
  await fakes.tell('c');
  t.deepEqual(fakes.started, ['a', 'b', 'c', 'd', 'e']);
  await fakes.tell('d');
  await fakes.tell('e');
  await t.notThrowsAsync(parked);
});

test('a spare loads one thread after the other', async (t) => {
  const fakes = new FakeThreads();
  void new ParkedThreads(fakes.start).park(kinds);
  t.deepEqual(fakes.started, ['a']);
  await fakes.tell('a');
  t.deepEqual(fakes.started, ['a', 'b']);
});

test('once threads are taken no other is parked, and what was parked is taken once', async (t) => {
  const fakes = new FakeThreads();
  const threads = new ParkedThreads(fakes.start);
  const parked = threads.park(kinds, 2);
  threads.release();
  const a = threads.take(kind('a'));
  const c = threads.take(kind('c'));
  t.deepEqual(fakes.started, ['a', 'b', 'c']);
  t.not(a, c);
  await fakes.tell('a');
  await fakes.tell('b');
  await parked;
  t.deepEqual(fakes.started, ['a', 'b', 'c']);
  t.not(threads.take(kind('a')), a);
  t.deepEqual(fakes.started, ['a', 'b', 'c', 'a']);
});

test('a thread that ends instead of loading holds up no other', async (t) => {
  const fakes = new FakeThreads();
  const starters = kinds.map((each) => () => fakes.start(each));
  void loadInOrder(starters, 1);
  await fakes.tell('a', 'exit');
  t.deepEqual(fakes.started, ['a', 'b']);
});

test('a thread that has loaded, or need not be, does not count', async (t) => {
  const fakes = new FakeThreads();
  const threads = new ParkedThreads(fakes.start);
  void threads.park([kind('a')]);
  await fakes.tell('a');
  const starters = [
    (): ParkedThread => threads.take(kind('a')),
    (): undefined => undefined,
    () => fakes.start(kind('b')),
    () => fakes.start(kind('c')),
  ];
  void loadInOrder(starters, 1);
  await turn();
  t.deepEqual(fakes.started, ['a', 'b']);
});

test('a thread of another build than the program that starts it takes nothing to work on', async (t) => {
  const workerData = { gate: closedGate(), build: 'another' } satisfies ThreadGate;
  const worker = new RealWorker(new URL('../../src/gateway/background-worker.js', import.meta.url), { workerData });
  const [error] = (await once(worker, 'error')) as [Error];
  t.is(error.message, OTHER_BUILD);
});
