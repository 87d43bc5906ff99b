// From `pcache mount` to the first byte, on an empty cache.

import { run } from './command.js';
import { Gateway } from './gateway.js';
import { MIB } from './fio.js';
import type { Measure, MeasureSetting } from './measure.js';
import { spreadOf } from './statistics.js';

const CACHE_BYTES = 1024 * MIB;
const READ_MS = 10_000;

export async function measureStart({ workspace, isQuick, rounds }: MeasureSetting): Promise<Measure[]> {
  const { signal } = workspace;
  const seconds: number[] = [];
  for (let i = 0; i < (isQuick ? 3 : Math.max(5, rounds)); i++) {
    const gateway = await Gateway.create(workspace, {
      name: `start-${i}`,
      cacheBytes: CACHE_BYTES,
      volumeBytes: CACHE_BYTES,
      cacheOn: 'memory',
      dataCrc: false,
      transport: 'dev-fuse',
    });
    const startMs = performance.now();
    await gateway.mountOnly();
    await run('dd', [`if=${gateway.volume}`, 'of=/dev/null', 'bs=1', 'count=1', 'status=none'], { timeoutMs: READ_MS, signal });
    seconds.push((performance.now() - startMs) / 1000);
    await gateway.umount();
    gateway.remove();
  }
  const { median, min, max } = spreadOf(seconds)!;
  return [
    {
      id: 'start',
      title: 'pcache mount to the first byte, empty cache',
      value: median,
      unit: 's',
      wanted: { bound: 'at most', value: 0.5 },
      details: { min, max, mounts: seconds.length, cache_bytes: CACHE_BYTES },
    },
  ];
}
