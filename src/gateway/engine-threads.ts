// The engine: opens the cache, starts the data threads over it, and ends them in order. Runs in the engine process's main thread, which
// touches no data.
//
// Order of the end: queue workers first (no new requests), then the lanes (what they hold is answered), then writeback, then the log (everything
// durable), then the media are marked clean. So whatever was acknowledged is on the media before the process is gone.

import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { Cache } from '../cache/cache.js';
import { printAtClose, printNow } from '../cache/changed-backing.js';
import { openCache, type OpenedCache } from '../cache/open.js';
import { Word } from '../cache/shared-state.js';
import { adoptBackingDevice, type FileBackingDevice } from '../device/file-backing-device.js';
import { adoptCacheDevice } from '../device/mapped-cache-device.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { closeWakeEvent, createWakeEvent } from '../device/wake-event.js';
import { PcacheError, messageOf } from '../errors.js';
import { stopQueues } from '../fuse/dev-fuse-transport.js';
import type { QueueEnd } from '../fuse/dev-fuse-transport.js';
import { wakeRings } from '../fuse/io-uring-transport.js';
import { createRequestSlots, destroyRequestSlots, lockRequestSlots } from '../fuse/request-slots.js';
import { requestResend, setNonBlocking } from '../fuse/session.js';
import { cacheFlagsOf } from '../media/cache-info.js';
import { COUNTER } from '../shared/counters.js';
import { IntRing } from '../shared/int-ring.js';
import { signal } from '../shared/event-word.js';
import { gatherHugePages, type HugePageGathering } from './huge-page-gathering.js';
import type { Engine, EngineEnd, EngineOptions, FlushProgress } from './engine.js';
import { dirtySinceOf, takeSnapshot } from './engine-status.js';
import { hostBootId } from './host-boot-id.js';
import { DataThread, GatewayWord, createGatewayShared, failCache } from './gateway-shared.js';
import type { DataThreadStart, GatewayShared } from './gateway-shared.js';
import { packageVersion } from './package-version.js';
import { loadInOrder } from './parked-threads.js';
import type { ParkedThreads } from './parked-threads.js';
import { processGone } from './process-death.js';
import { planQueues } from './queue-plan.js';
import type { QueuePlan } from './queue-plan.js';
import type { QueueWorkerStart } from './queue-worker.js';
import { replayHelpers } from './replay-helpers.js';
import type { StatusSnapshot } from './status.js';
import type { SegmentMap } from './control-protocol.js';
import { segmentMap } from './segment-map.js';
import { SharedText } from './shared-text.js';
import { MissLane } from './miss-lane.js';
import { MISS_WORKERS, missKind, threadKinds } from './thread-kinds.js';
import type { DataThreadKind } from './thread-kinds.js';
import type { ThreadMessage } from './thread-messages.js';
import { writeBackAll } from './write-back-all.js';
import { VolumeFiles, volumeNodeid } from './volume-files.js';
import type { VolumeFilesOptions } from './volume-files.js';

const GC_PERCENT_SHIFT = 6;
const GC_PERCENT_MASK = 0x7f;
const MAX_WRITE_DEFAULT_BYTES = 1024 * 1024;

/** Throws PcacheError as `openCache`; see `StartEngine`. */
export async function startThreadedEngine(options: EngineOptions, threads: ParkedThreads): Promise<Engine> {
  threads.release();
  const device = adoptCacheDevice(options.cache);
  let backing: FileBackingDevice | undefined;
  let engine: ThreadedEngine;
  try {
    backing = adoptBackingDevice(options.backing, options.kept?.backingLostBytes);
    engine = new ThreadedEngine(options, device, backing, threads);
  } catch (error) {
    backing?.close();
    device.close();
    throw error;
  }
  // From here on threads use the mapping: if one fails to start, the process ends, and the mapping with it.
  await engine.start();
  return engine;
}

interface Thread {
  readonly name: string;
  readonly worker: Worker;
  readonly loaded: Promise<void>;
  readonly ready: Promise<void>;
  /** Resolves when the thread is gone. */
  readonly exited: Promise<void>;
  queueEnd: QueueEnd | undefined;
}

class ThreadedEngine implements Engine {
  readonly ended: Promise<EngineEnd>;
  readonly #options: EngineOptions;
  readonly #device: MappedCacheDevice;
  readonly #backing: FileBackingDevice;
  readonly #parked: ParkedThreads;
  readonly #opened: OpenedCache;
  readonly #shared: GatewayShared;
  readonly #cache: Cache;
  readonly #plan: QueuePlan;
  readonly #queues: Thread[] = [];
  /** Resolves when all threads were started and have loaded their programs. */
  #started: Promise<void> = Promise.resolve();
  #wakeFd: number | undefined;
  readonly #lanes: Thread[] = [];
  #background: Thread | undefined;
  #gathering: HugePageGathering | undefined;
  #log: Thread | undefined;
  #libfuseEnded: Promise<void> | undefined;
  #end: (end: EngineEnd) => void = () => undefined;
  #stopping: Promise<void> | undefined;

  /** Throws PcacheError as `openCache`. */
  constructor(options: EngineOptions, device: MappedCacheDevice, backing: FileBackingDevice, parked: ParkedThreads) {
    this.#parked = parked;
    this.#options = options;
    this.#device = device;
    this.#backing = backing;
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.#plan = planQueues(options);
    const queueCount = this.#plan.threads;
    this.#opened = openCache(device, {
      volumeBytes: backing.sizeBytes,
      backingIdentity: backing.identity,
      backingPrint: () => printNow(backing),
      adopt: options.options.adopt,
      bootId: hostBootId(),
      // One for each queue worker, one for what misses bring in.
      writers: queueCount + 1,
      counterSlices: queueCount + MISS_WORKERS + 4,
      readOnly: options.options.readOnly,
      newUuid: randomBytes(16),
      nowMs: Date.now(),
      clock: now,
      tell: options.tell,
      helpers: replayHelpers(parked, device.handle),
    });
    const { shared, media } = this.#opened;
    const maxWriteBytes = options.session?.maxWriteBytes ?? MAX_WRITE_DEFAULT_BYTES;
    const slots = createRequestSlots(maxWriteBytes, this.#plan.slots, this.#plan.rings.length);
    // All that this process maps itself; V8's memory can't be locked (see memory-protection.ts).
    if (!lockRequestSlots(slots)) options.log.info('the request slots can be paged out: they could not be locked (needs CAP_IPC_LOCK)');
    this.#shared = createGatewayShared({
      cache: shared,
      cacheDevice: device.handle,
      backingDevice: backing.handle,
      slots,
      dirtySinceMs: dirtySinceOf(options),
      facts: {
        sbFlags: media.superblock.flags,
        segTotal: media.superblock.segmentCount,
        cacheFlags: cacheFlagsOf(media.cacheInfo) & ~(GC_PERCENT_MASK << GC_PERCENT_SHIFT),
        backingIdentity: backing.identity,
        version: packageVersion(),
        transport: options.options.transport,
        workers: Math.max(1, this.#plan.rings.length === 0 ? queueCount : this.#plan.rings.length),
        supervisorPid: options.supervisorPid,
        enginePid: process.pid,
        engineRestarts: options.engineRestarts,
        startedMs: options.startedMs,
        cache: options.cache.path,
        backing: options.backing.path,
        mountpoint: options.mountpoint,
      },
    });
    if (options.kept?.writebackPaused === true) Atomics.store(this.#shared.words, GatewayWord.writebackPaused, 1);
    this.#cache = new Cache(shared, device, 0, queueCount + MISS_WORKERS + 3, now);
    const { replay } = this.#opened;
    options.log.info(
      { ksets: replay.walk.ksets, keys: replay.walk.keys, stagedKeys: replay.stagedKeys, dirtyBytes: replay.dirtyBytes },
      'replayed the log',
    );
    this.#cache.counters[COUNTER.corrupt_keys]! += replay.corruptKeys;
    if (replay.corruptKeys > 0)
      options.log.error({ corruptKeys: replay.corruptKeys }, 'damaged payload: its ranges give EIO; pcache check names them');
    if (replay.stagedDamage !== undefined)
      options.log.warn(`acknowledged writes that had not been flushed are lost: ${replay.stagedDamage}`);
    if (replay.stagedKeysLost) options.log.warn('acknowledged writes that had not been flushed are gone: the kernel used the cache since');
    const { gcPercent } = options.options;
    if (gcPercent !== undefined && gcPercent !== media.cacheInfo.gcPercent && !shared.readOnly) this.setGcPercent(gcPercent);
  }

  async start(): Promise<void> {
    await this.#serve();
    this.#gathering = gatherHugePages(this.#device);
  }

  async #serve(): Promise<void> {
    const { options, fuseFds, mountKind } = this.#options;
    const files = {
      kind: mountKind,
      readOnly: options.readOnly,
      kernelCache: options.kernelCache,
      uid: options.uid ?? process.getuid!(),
      gid: options.gid ?? process.getgid!(),
      umask: options.umask,
    };
    if (options.transport === 'libfuse') {
      void this.#startThreads(0, files);
      await this.#serveLibfuse(files);
      return;
    }
    if (this.#options.resume) this.#resume(fuseFds[0]!);
    const isRinged = this.#plan.rings.length > 0;
    if (isRinged) {
      setNonBlocking(fuseFds[0]!);
      this.#wakeFd = createWakeEvent();
    }
    const queuesFirst = isRinged ? this.#plan.threads : 1;
    const isServing = this.#startThreads(queuesFirst, files);
    void this.#started.then(async () => {
      await exits(this.#queues);
      this.#end({ reason: 'unmounted', isAborted: this.#queues.some(({ queueEnd }) => queueEnd === 'aborted') });
    });
    // What is cached can be served now. What needs the others waits in their lanes until they are there, so they need not hold this up.
    await isServing;
  }

  /** Resolves when `queuesFirst` queue workers are ready; with 0, there will be none. The others follow, see `#started`. */
  #startThreads(queuesFirst: number, files: VolumeFilesOptions): Promise<unknown> {
    const { readOnly } = this.#options.options;
    const kinds = threadKinds({ queues: queuesFirst === 0 ? 0 : this.#plan.threads, queuesFirst, readOnly });
    const first = kinds.slice(0, queuesFirst).map((kind) => this.#startThread(kind, files));
    const { predecessors } = this.#options;
    // The one that writes to the backing device comes last, and waits.
    const isHeldBack = ({ role }: DataThreadKind): boolean => predecessors.length > 0 && role === 'background';
    const starter = (kind: DataThreadKind) => (): Thread => this.#startThread(kind, files);
    const others = kinds.slice(queuesFirst).filter((kind) => !isHeldBack(kind));
    const inOrder = this.#loadInOrder([...first.map((thread) => () => thread), ...others.map(starter)], queuesFirst + 1);
    this.#started = inOrder.then(async () => {
      await Promise.all(predecessors.map(processGone));
      await loadInOrder(kinds.filter(isHeldBack).map(starter), 1);
    });
    return Promise.all(first.map((thread) => thread.ready));
  }

  /** The first `neededCount`, without which there is no first read, as fast as can be; then the others, which leave a core to whoever reads. */
  async #loadInOrder(starters: readonly (() => Thread)[], neededCount: number): Promise<void> {
    const cores = availableParallelism();
    await loadInOrder(starters.slice(0, neededCount), cores);
    await loadInOrder(starters.slice(neededCount), Math.max(1, cores - 1));
  }

  #startThread(kind: DataThreadKind, files: VolumeFilesOptions): Thread {
    const { role, index } = kind;
    const queueCount = this.#plan.threads;
    if (role === 'queue') {
      const { fuseFds, eagerFds } = this.#options;
      const start: Omit<QueueWorkerStart, 'shared'> = {
        fuseFd: fuseFds[index % fuseFds.length]!,
        eagerFd: eagerFds?.[index % eagerFds.length],
        files,
        head: index,
        counterSlice: index,
        ring: this.#plan.rings[index],
        pollUs: this.#options.options.pollUs,
        wakeFd: this.#wakeFd,
      };
      const thread = this.#thread(kind, start);
      this.#queues.push(thread);
      return thread;
    }
    // All that misses bring in goes to one data head, after those of the queue workers.
    const starts = {
      miss: { head: queueCount, counterSlice: queueCount + index },
      write: { head: 0, counterSlice: queueCount + MISS_WORKERS },
      log: { head: 0, counterSlice: queueCount + MISS_WORKERS + 1 },
      background: { head: 0, counterSlice: queueCount + MISS_WORKERS + 2 },
    } as const;
    const thread = this.#thread(kind, starts[role]);
    if (role === 'log') this.#log = thread;
    else if (role === 'background') this.#background = thread;
    else this.#lanes.push(thread);
    if (role === 'miss' && index === 0) void thread.ready.then(() => this.#startMissWorkers(files));
    return thread;
  }

  /** Those that are needed beside the first if that can have no more than one read under way. */
  #startMissWorkers(files: VolumeFilesOptions): void {
    if (this.#stopping !== undefined || new MissLane(this.#shared.misses).hasRing) return;
    for (let index = 1; index < MISS_WORKERS; index++) this.#startThread(missKind(index), files);
  }

  /** This transport calls back into the main thread, so here the main thread is the queue worker. */
  async #serveLibfuse(files: VolumeFilesOptions): Promise<void> {
    const { log, mountpoint, options, cache } = this.#options;
    const thread = new DataThread({ shared: this.#shared, head: 0, counterSlice: 0 });
    const { mountLibfuse } = await import('../fuse/libfuse-transport.js');
    const session = await mountLibfuse({
      mountpoint,
      fsName: cache.path,
      readOnly: options.readOnly,
      allowOther: options.allowOther,
      fileSystem: new VolumeFiles(thread, files),
      slots: thread.slots,
      timer: thread.times,
      onError: (operation, error) => log.error(`${operation}: ${messageOf(error)}`),
    });
    this.#libfuseEnded = session.ended;
    void session.ended.then(() => {
      thread.end();
      this.#end({ reason: 'unmounted' });
    });
  }

  #resume(fd: number): void {
    try {
      requestResend(fd);
    } catch (error) {
      if (!(error instanceof PcacheError)) throw error;
      // Unmounted meanwhile: the queue workers will see it. On a kernel before 6.9 the interrupted requests stay without answer.
      this.#options.log.warn({ error: messageOf(error) }, 'unanswered requests of the engine before');
    }
  }

  #thread(kind: DataThreadKind, start: Omit<DataThreadStart, 'shared'>): Thread {
    const { name } = kind;
    const parked = this.#parked.take(kind);
    const { worker, loaded } = parked;
    let isReady = (): void => undefined;
    const ready = new Promise<void>((resolve, reject) => {
      isReady = resolve;
      worker.once('error', reject);
    });
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    const thread: Thread = { name, worker, loaded, ready, exited, queueEnd: undefined };
    worker.on('message', (message: ThreadMessage) => {
      if (message.type === 'ready') isReady();
      else if (message.type === 'note') this.#options.log[message.level](`${name}: ${message.text}`);
      else if (message.type === 'ended') thread.queueEnd = message.queueEnd;
    });
    worker.on('error', (error) =>
      this.#end({ reason: 'failed', error: new PcacheError('internal', `${name} thread: ${messageOf(error)}`, { cause: error }) }),
    );
    // Whoever awaits `ready` hears of it; nobody else must crash the process over it.
    ready.catch(() => undefined);
    parked.go({ ...start, shared: this.#shared });
    return thread;
  }

  snapshot(): StatusSnapshot {
    return takeSnapshot(this.#shared);
  }

  async flush(onProgress: (progress: FlushProgress) => void): Promise<void> {
    if (this.#shared.cache.readOnly) throw new PcacheError('permission', 'flush: the volume is mounted read-only');
    await writeBackAll(this.#shared, this.#cache, () => this.#stopping !== undefined, onProgress);
  }

  backingLostBytes(): number {
    return this.#backing.lostBytes;
  }

  setGcPercent(percent: number): void {
    if (this.#shared.cache.readOnly) throw new PcacheError('permission', 'gc_percent: the volume is mounted read-only');
    if (!Number.isInteger(percent) || percent < 0 || percent > 90)
      throw new PcacheError('usage', `gc_percent ${percent}: it must be 0 to 90`);
    try {
      this.#cache.records.storeGcPercent(percent);
    } catch (error) {
      // The kernel tells of a failed write once: whoever hears it must see to it that no later flush is answered with success.
      if (failCache(this.#shared, error)) this.#options.log.error({ error: messageOf(error) }, 'cache device');
      throw error;
    }
    signal(this.#shared.cache.words, Word.backgroundWorkEvent);
  }

  setWritebackPaused(isPaused: boolean): void {
    if (this.#shared.cache.readOnly) throw new PcacheError('permission', 'writeback: the volume is mounted read-only');
    Atomics.store(this.#shared.words, GatewayWord.writebackPaused, isPaused ? 1 : 0);
    signal(this.#shared.cache.words, Word.backgroundWorkEvent);
  }

  setUnmountWanted(): void {
    Atomics.store(this.#shared.words, GatewayWord.unmountWanted, 1);
  }

  segments(cells: number): SegmentMap {
    return segmentMap(this.#shared.cache, this.#shared.facts.segTotal, cells);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#gathering?.stop();
    // What is waiting in the lanes has threads that take it.
    await this.#started;
    const { words, cache } = this.#shared;
    const { fuseFds, mountKind, mountpoint } = this.#options;
    if (fuseFds.length > 0 && Atomics.load(words, GatewayWord.stopQueues) === 0) {
      this.#stopQueues(fuseFds[0]!, mountKind, mountpoint);
    }
    await exits(this.#queues);
    await this.#libfuseEnded;
    Atomics.store(words, GatewayWord.stopLanes, 1);
    new MissLane(this.#shared.misses).wakeAll();
    IntRing.attach(this.#shared.writes).wakeAll();
    signal(cache.words, Word.roomEvent);
    await exits(this.#lanes);
    Atomics.store(words, GatewayWord.stopBackground, 1);
    signal(cache.words, Word.backgroundWorkEvent);
    if (this.#background !== undefined) await this.#background.exited;
    Atomics.store(words, GatewayWord.stopLog, 1);
    signal(cache.words, Word.logWorkEvent);
    if (this.#log !== undefined) await this.#log.exited;
    try {
      if (Atomics.load(words, GatewayWord.cacheFailed) !== 0) {
        throw new PcacheError('io', `cache device: ${new SharedText(this.#shared.cacheError).get()?.text ?? 'it failed'}`);
      }
      if (!cache.readOnly)
        this.#cache.markClean(printAtClose(this.#backing, new SharedText(this.#shared.backingError).get() !== undefined));
    } finally {
      destroyRequestSlots(this.#shared.slots);
      if (this.#wakeFd !== undefined) closeWakeEvent(this.#wakeFd);
      this.#backing.close();
      this.#device.close();
    }
  }

  #stopQueues(fd: number, kind: EngineOptions['mountKind'], mountpoint: string): void {
    if (this.#queues.every((thread) => thread.queueEnd !== undefined)) return;
    if (this.#wakeFd !== undefined) {
      Atomics.store(this.#shared.words, GatewayWord.stopQueues, 1);
      wakeRings(this.#shared.slots.rings, this.#wakeFd);
      return;
    }
    try {
      stopQueues({
        fd,
        stopWord: this.#shared.words.subarray(0, 1),
        workerCount: this.#queues.length,
        nodeid: volumeNodeid(kind),
        mountpoint,
      });
    } catch (error) {
      // The session is gone: the workers have seen it, or will.
      if (!(error instanceof PcacheError) || error.code !== 'closed') throw error;
    }
  }
}

async function exits(threads: readonly Thread[]): Promise<void> {
  await Promise.all(threads.map((thread) => thread.exited));
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
