// What a monitor costs that is left open: processor time of `pcache monitor` in a large terminal, while nothing happens and under load, as a share of a core.

import { dirname } from 'node:path';
import { Daemon, pause, waitUntil } from './command.js';
import { MIB } from './fio.js';
import { Gateway, PCACHE } from './gateway.js';
import { fio } from './grid.js';
import type { Measure, MeasureSetting } from './measure.js';
import { cpuSecondsOf } from './processes.js';

const CACHE_BYTES = 512 * MIB;
const TERMINAL = { columns: 200, rows: 60 };
const WATCH_SECONDS = 20;
const WATCH_SECONDS_QUICK = 4;
/** The first pictures are drawn by code that nothing has been compiled of. */
const WARM_UP_MS = 3000;
const START_MS = 20_000;
/** On every picture, see the monitor's first view. */
const DRAWN = 'SAFETY';

export async function measureMonitor(setting: MeasureSetting): Promise<Measure[]> {
  const { workspace, isQuick } = setting;
  const { signal } = workspace;
  const seconds = isQuick ? WATCH_SECONDS_QUICK : WATCH_SECONDS;
  const gateway = await Gateway.create(workspace, {
    name: 'watched',
    cacheBytes: CACHE_BYTES,
    volumeBytes: CACHE_BYTES,
    cacheOn: 'memory',
    dataCrc: false,
    transport: 'dev-fuse',
  });
  await gateway.mount();
  const command = `stty cols ${TERMINAL.columns} rows ${TERMINAL.rows}; exec "$NODE" "$PCACHE" monitor "$MOUNTPOINT"`;
  const watcher = new Daemon('script', ['--quiet', '--flush', '--return', '--command', command, '/dev/null'], {
    ...workspace.env('monitor'),
    ...{ TERM: 'xterm-256color', LC_ALL: 'C.UTF-8', SHELL: '/bin/sh' },
    ...{ NODE: process.execPath, PCACHE, MOUNTPOINT: dirname(gateway.volume) },
  });
  workspace.atEnd(() => watcher.kill());
  await waitUntil(() => watcher.hasEnded || watcher.stdout.includes(DRAWN), 'the monitor draws', START_MS, signal);
  await pause(WARM_UP_MS, signal);
  /** In percent of a core, script(1), which has the terminal, included. */
  const share = async (): Promise<number> => {
    const pids = workspace.processesOf('monitor');
    const [startSeconds, startMs] = [cpuSecondsOf(pids), performance.now()];
    await pause(seconds * 1000, signal);
    if (watcher.hasEnded) throw new Error(`the monitor ended: ${watcher.lastWords}`);
    return ((cpuSecondsOf(pids) - startSeconds) * 100_000) / (performance.now() - startMs);
  };
  const idle = await share();
  const job = { rw: 'randwrite', blockBytes: 4096, depth: 1, jobs: 1, sizeBytes: CACHE_BYTES / 2, seconds: seconds + 1 } as const;
  const load = fio(setting, gateway.volume, job);
  const [busy] = await Promise.all([share(), load]);
  watcher.kill();
  await gateway.umount();
  gateway.remove();
  return [
    {
      id: 'monitor',
      title: 'monitor, share of a core, idle or under load',
      value: Math.max(idle, busy),
      unit: '%',
      wanted: { bound: 'at most', value: 2 },
      details: { idle_percent: idle, under_load_percent: busy, seconds_each: seconds, ...TERMINAL },
    },
  ];
}
