import test from 'ava';
import fc from 'fast-check';
import { IntRing } from '../../src/shared/int-ring.js';
import { runWorkers } from './run-workers.js';

const WORKER = new URL('./int-ring-worker.js', import.meta.url);

test('a ring gives back what was pushed, oldest first, and says when it is full or empty', (t) => {
  const ring = IntRing.create(2, 3);
  const into = Int32Array.of(7, 7, 7);
  t.false(ring.pop(into));
  t.deepEqual([...into], [7, 7, 7]);
  t.true(ring.push(Int32Array.of(1, 2, 3)));
  t.true(ring.push(Int32Array.of(4, 5, -6)));
  t.false(ring.push(Int32Array.of(8, 8, 8)));
  t.is(ring.length, 2);
  t.true(ring.pop(into));
  t.deepEqual([...into], [1, 2, 3]);
  t.true(ring.pop(into));
  t.deepEqual([...into], [4, 5, -6]);
  t.false(ring.pop(into));
});

test('a ring behaves like a bounded list', (t) => {
  const operation = fc.oneof(fc.record({ push: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }) }), fc.constant({ pop: true }));
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 3 }),
      fc.array(operation, { maxLength: 60 }),
      (capacity, width, operations) => {
        const ring = IntRing.create(capacity, width);
        const attached = IntRing.attach(ring.state);
        const model: number[] = [];
        const tuple = new Int32Array(width);
        for (const op of operations) {
          if ('push' in op) {
            const fits = model.length < capacity;
            if (ring.push(tuple.fill(op.push)) !== fits) return false;
            if (fits) model.push(op.push);
          } else {
            const expected = model.shift();
            if (attached.pop(tuple) !== (expected !== undefined)) return false;
            if (expected !== undefined && !tuple.every((word) => word === expected)) return false;
          }
          if (attached.length !== model.length) return false;
        }
        return true;
      },
    ),
  );
  t.pass();
});

test('waitNotEmpty sees a tuple that is there, and gives up after its time if there is none', (t) => {
  const ring = IntRing.create(1, 1);
  t.false(ring.waitNotEmpty(1));
  ring.push(Int32Array.of(1));
  t.true(ring.waitNotEmpty(60_000));
});

test('a ring without a slot or a word is refused', (t) => {
  t.throws(() => IntRing.create(0, 1), { code: 'internal' });
  t.throws(() => IntRing.create(1, 0), { code: 'internal' });
});

test('between many producers and consumers every tuple arrives once, each producer’s in order', async (t) => {
  const ring = IntRing.create(8, 2);
  const count = 20_000;
  const consumers = runWorkers(WORKER, Array(2).fill({ ring: ring.state, producer: -1, count }));
  await runWorkers(
    WORKER,
    [0, 1].map((producer) => ({ ring: ring.state, producer, count })),
  );
  const stop = Int32Array.of(-1, 0);
  for (let stops = 0; stops < 2;) {
    if (ring.push(stop)) stops++;
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const seen = [new Uint8Array(count), new Uint8Array(count)];
  for (const got of (await consumers) as number[][]) {
    const last = [-1, -1];
    for (let i = 0; i < got.length; i += 2) {
      const producer = got[i]!;
      const number = got[i + 1]!;
      if (number <= last[producer]!) t.fail(`producer ${producer}: ${number} came after ${last[producer]!}`);
      last[producer] = number;
      seen[producer]![number]! += 1;
    }
  }
  t.true(seen.every((numbers) => numbers.every((times) => times === 1)));
  t.is(ring.length, 0);
});

test('wakeAll ends every wait on an empty ring', async (t) => {
  const ring = IntRing.create(4, 2);
  const waiting = runWorkers(WORKER, Array(2).fill({ ring: ring.state, producer: -1, count: 0 }));
  // Again and again, since a worker may not wait yet.
  const timer = setInterval(() => ring.wakeAll(), 2);
  try {
    t.deepEqual(await waiting, [false, false]);
  } finally {
    clearInterval(timer);
  }
});
