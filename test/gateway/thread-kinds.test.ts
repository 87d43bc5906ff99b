// The order in which an engine's data threads are started.

import test from 'ava';
import { threadKinds } from '../../src/gateway/thread-kinds.js';

const names = (counts: Parameters<typeof threadKinds>[0]): string[] => threadKinds(counts).map(({ name }) => name);

test('what a first read needs comes first: a queue worker and a miss worker', (t) => {
  t.deepEqual(names({ queues: 3, queuesFirst: 1, readOnly: false }).slice(0, 2), ['queue 0', 'miss 0']);
});

test('rings serve together, so all of their threads come first', (t) => {
  t.deepEqual(names({ queues: 3, queuesFirst: 3, readOnly: false }).slice(0, 4), ['queue 0', 'queue 1', 'queue 2', 'miss 0']);
});

test('however many come first, the threads are the same, each once; without writing back where nothing is written', (t) => {
  const all = names({ queues: 3, queuesFirst: 1, readOnly: false });
  t.is(new Set(all).size, all.length);
  t.deepEqual([...all].sort(), names({ queues: 3, queuesFirst: 3, readOnly: false }).sort());
  t.deepEqual(
    names({ queues: 3, queuesFirst: 1, readOnly: true }),
    all.filter((name) => name !== 'background'),
  );
});

test('without queue workers, as where the main thread takes the requests, there are all the others', (t) => {
  const all = names({ queues: 2, queuesFirst: 1, readOnly: false });
  t.deepEqual(
    names({ queues: 0, queuesFirst: 0, readOnly: false }),
    all.filter((name) => !name.startsWith('queue')),
  );
});
