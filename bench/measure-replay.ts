// How long opening a cache takes by the keys in its log, and what its index costs in memory. Both in processes of their own (replay-child.ts): a
// mount opens its cache in a new process too, before anything has warmed up.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.js';
import { MIB } from './fio.js';
import type { Measure, MeasureSetting } from './measure.js';
import type { ReplayFigures } from './replay-child.js';
import { median } from './statistics.js';

const CHILD = fileURLToPath(new URL('./replay-child.js', import.meta.url));
const CHILD_MS = 300_000;
/** A key of 512 bytes, with its share of a kset, and room for two segments more than there are keys. */
const CACHE_BYTES_PER_KEY = 560;
const CACHE_BYTES_EXTRA = 128 * MIB;

export async function measureReplay({ workspace, isQuick, rounds }: MeasureSetting): Promise<Measure[]> {
  const keys = isQuick ? 200_000 : 1_000_000;
  const cache = join(workspace.memory, 'replay.pmem');
  const cacheBytes = Math.ceil((keys * CACHE_BYTES_PER_KEY + CACHE_BYTES_EXTRA) / MIB) * MIB;
  const child = async (...args: string[]): Promise<string> =>
    run(process.execPath, [CHILD, ...args], { timeoutMs: CHILD_MS, signal: workspace.signal, env: workspace.env('replay') });
  await child('make', cache, String(keys), String(cacheBytes));
  const figures: ReplayFigures[] = [];
  const alone: ReplayFigures[] = [];
  for (let i = 0; i < rounds; i++) {
    figures.push(JSON.parse(await child('open', cache, String(keys))) as ReplayFigures);
    alone.push(JSON.parse(await child('open', cache, String(keys), 'alone')) as ReplayFigures);
  }
  const seconds = median(figures.map((each) => each.seconds));
  const secondsAlone = median(alone.map((each) => each.seconds));
  const { extents, indexBytes, usedBytes } = figures[0]!;
  return [
    {
      id: 'replay',
      title: 'replay, keys a second',
      value: keys / seconds,
      unit: '/s',
      wanted: { bound: 'at least', value: 1_000_000 },
      details: { keys, seconds, seconds_per_million: (seconds * 1e6) / keys, seconds_in_one_thread: secondsAlone },
    },
    {
      id: 'index',
      title: 'index, bytes an extent',
      value: indexBytes / extents,
      unit: 'bytes',
      wanted: { bound: 'at most', value: 32 },
      details: { extents, index_bytes: indexBytes, bytes_in_use: usedBytes, mib_per_million: (indexBytes / extents / MIB) * 1e6 },
    },
  ];
}
