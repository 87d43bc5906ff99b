// A worker of libc.test: adds to a word of a shared mapping through its own view of it.

import { workerData } from 'node:worker_threads';
import { view } from '../../src/device/libc.js';

const { address, times } = workerData as { address: number; times: number };
const words = new Int32Array(view(address, 4096));
for (let i = 0; i < times; i++) Atomics.add(words, 3, 1);
