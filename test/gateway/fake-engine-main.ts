// The engine process of the supervisor's tests: the real process around an engine without a cache. It serves the backing file as it is through
// the test file system of test/fuse. How it misbehaves is told by PCACHE_FAKE_ENGINE at its start, and by odd gc_percents later.

import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { PcacheError } from '../../src/errors.js';
import { createRequestSlots } from '../../src/fuse/request-slots.js';
import { requestResend } from '../../src/fuse/session.js';
import type { Engine, EngineEnd, EngineOptions } from '../../src/gateway/engine.js';
import { runEngineProcess } from '../../src/gateway/engine-process.js';
import { IntRing } from '../../src/shared/int-ring.js';
import { COUNT_WORDS, mapVolumeFile, type MemoryState } from '../fuse/memory-file-system.js';
import type { MemoryWorkerData } from '../fuse/memory-worker.js';
import { DIES_UNCAUGHT_PERCENT, DIRTY_BYTES, THREAD_FAILS_PERCENT, type FakeEngineMode } from './fake-gateway.js';
import { sampleStatus } from './sample-status.js';

async function startFakeEngine(options: EngineOptions): Promise<Engine> {
  const mode = process.env.PCACHE_FAKE_ENGINE as FakeEngineMode | undefined;
  if (mode === 'refuse') throw new PcacheError('mismatch', 'the cache belongs to another backing device', { hint: 'Adopt it.' });
  if (mode === 'die') process.kill(process.pid, 'SIGKILL');
  if (mode === 'slow') await delay(60_000);
  const state: MemoryState = {
    address: mapVolumeFile(options.backing.path, options.backing.sizeBytes),
    sizeBytes: options.backing.sizeBytes,
    kind: options.mountKind,
    pending: IntRing.create(1024, 1).state,
    counts: new Int32Array(new SharedArrayBuffer(COUNT_WORDS * 4)),
  };
  const slots = createRequestSlots(options.session!.maxWriteBytes, 64);
  const stopWord = new Int32Array(new SharedArrayBuffer(4));
  const helperStopWord = new Int32Array(new SharedArrayBuffer(4));
  if (options.resume) requestResend(options.fuseFds[0]!);
  let endWith: (end: EngineEnd) => void = () => undefined;
  const ended = new Promise<EngineEnd>((resolve) => (endWith = resolve));
  const startWorker = (fd: number | undefined): Worker => {
    const workerData: MemoryWorkerData = { fd, slots, state, stopWord: fd === undefined ? helperStopWord : stopWord, swallow: false };
    return new Worker(new URL('../fuse/memory-worker.js', import.meta.url), { workerData });
  };
  const helper = startWorker(undefined);
  const workers = options.fuseFds.map(startWorker);
  const exits = Promise.all(workers.map((worker) => once(worker, 'exit')));
  void exits.then(() => endWith({ reason: 'unmounted' }));
  let dirtyBytes = DIRTY_BYTES;
  let isPaused = false;
  let isUnmountWanted = false;
  const snapshot: Engine['snapshot'] = () =>
    sampleStatus({
      mountpoint: options.mountpoint,
      cache: options.cache.path,
      backing: options.backing.path,
      volume_bytes: options.backing.sizeBytes,
      dirty_bytes: dirtyBytes,
      writeback_pending_bytes: dirtyBytes,
      workers: workers.length,
      supervisor_pid: options.supervisorPid,
      engine_pid: process.pid,
      engine_restarts: options.engineRestarts,
      started_ms: options.startedMs,
      writeback_paused: isPaused,
      unmount_wanted: isUnmountWanted,
    });
  return {
    snapshot,
    flush: async (onProgress) => {
      onProgress({ bytesTotal: dirtyBytes, bytesLeft: dirtyBytes });
      await delay(mode === 'slow-flush' ? 60_000 : 1);
      dirtyBytes = 0;
    },
    backingLostBytes: () => 0,
    setGcPercent: (percent) => {
      if (percent === DIES_UNCAUGHT_PERCENT) {
        setImmediate(() => {
          throw new Error('told to die');
        });
      }
      if (percent === THREAD_FAILS_PERCENT) endWith({ reason: 'failed', error: new Error('a thread was told to fail') });
    },
    setWritebackPaused: (value) => (isPaused = value),
    setUnmountWanted: () => (isUnmountWanted = true),
    segments: (cells) => ({
      seg_total: 2,
      segments_per_cell: Math.ceil(2 / cells),
      cells: 'L.'.slice(0, cells),
      key_tail: 0,
      dirty_tail: 0,
      key_head: 0,
    }),
    stop: async () => {
      await exits;
      Atomics.store(helperStopWord, 0, 1);
      await once(helper, 'exit');
      if (mode === 'stop-fails') throw new PcacheError('io', 'cache: sync: EIO');
    },
    ended,
  };
}

runEngineProcess({ start: startFakeEngine });
