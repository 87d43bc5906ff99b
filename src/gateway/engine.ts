// What the engine process and the data threads know of each other. `startEngine` (engine-threads) builds an Engine from EngineOptions;
// the engine process (engine-process) serves the control socket with it and ends it. The engine's main thread touches no data.

import type { InheritedBackingDevice } from '../device/file-backing-device.js';
import type { InheritedCacheDevice } from '../device/mapped-cache-device.js';
import type { NegotiatedSession } from '../fuse/init.js';
import type { TellProgress } from '../cache/tell-progress.js';
import type { SegmentMap } from './control-protocol.js';
import type { Logger } from './log.js';
import type { MountOptions } from './mount-options.js';
import type { ProcessIdentity } from './process-identity.js';
import { programBuild } from './program-build.js';
import type { StatusSnapshot } from './status.js';

/** Everything an engine is started with, but for its log. Structured-cloneable: it comes from the supervisor in a message. */
export interface EngineStart {
  /**
   * Open and locked by the supervisor, descriptors as numbered in this process (see `withDescriptors`); the locks belong to the open file
   * descriptions, so this process holds them too. For `adoptCacheDevice` and `adoptBackingDevice`.
   */
  readonly cache: InheritedCacheDevice;
  readonly backing: InheritedBackingDevice;
  /** Name of the mount point, see mount-point-name. No call of this process may touch it. */
  readonly mountpoint: string;
  /** A directory shows `volume.img` and its companions; a file is the volume. */
  readonly mountKind: 'directory' | 'file';
  /**
   * The mounted FUSE session: one descriptor a queue worker, fewer if the kernel gave fewer. The supervisor holds them too, so that the requests
   * in progress outlive this process. Empty for transport libfuse, where the engine mounts by itself.
   */
  readonly fuseFds: readonly number[];
  /** See WorkerDescriptors. */
  readonly eagerFds?: readonly number[] | undefined;
  /** What INIT settled (the supervisor answered it); undefined for transport libfuse. */
  readonly session: NegotiatedSession | undefined;
  /**
   * An engine died before this one: ask the kernel to send its unanswered requests again before serving. The session may have been unmounted
   * meanwhile; then start all the same, so that the log is closed, and let `ended` say so.
   */
  readonly resume: boolean;
  /**
   * Engines that died and may not be gone yet: writes to the backing device that they had under way could come in between, so nothing is written there before
   * they are.
   */
  readonly predecessors: readonly ProcessIdentity[];
  readonly options: MountOptions;
  readonly supervisorPid: number;
  /** When the volume was mounted, milliseconds since 1970. */
  readonly startedMs: number;
  readonly engineRestarts: number;
  /** See `Engine.setUnmountWanted`. */
  readonly unmountWanted?: boolean;
  /** Undefined if no engine was there before. */
  readonly kept?: KeptState | undefined;
}

/**
 * The descriptors of an engine, in the order in which its supervisor sends them, and a start in which they are numbered as they were received. The log is what becomes its
 * descriptors 1 and 2: an engine may have been started before its supervisor had a log.
 */
export const ENGINE_LOG_PLACE = 0;
export const ENGINE_CACHE_PLACE = 1;
export const ENGINE_BACKING_PLACE = 2;
export const ENGINE_FIRST_FUSE_PLACE = 3;

export function withDescriptors(start: EngineStart, fds: readonly number[]): EngineStart {
  const eagerPlace = ENGINE_FIRST_FUSE_PLACE + start.fuseFds.length;
  return {
    ...start,
    cache: { ...start.cache, fd: fds[ENGINE_CACHE_PLACE]! },
    backing: { ...start.backing, fd: fds[ENGINE_BACKING_PLACE]! },
    fuseFds: fds.slice(ENGINE_FIRST_FUSE_PLACE, eagerPlace),
    eagerFds: start.eagerFds === undefined ? undefined : fds.slice(eagerPlace),
  };
}

/** What an engine that takes over should know of the one that died. */
export interface KeptState {
  readonly writebackPaused: boolean;
  /** As `dirty_since_ms` of the status. */
  readonly dirtySinceMs: number | null;
  /** See `BackingDevice.lostBytes`. */
  readonly backingLostBytes: number;
}

export interface EngineOptions extends EngineStart {
  readonly log: Logger;
  /** Hears how far a long start is. */
  readonly tell?: TellProgress;
}

/** Why the engine's threads came to their end. */
export type EngineEnd =
  /** All queue workers saw ENODEV: the volume was unmounted. `isAborted`: its connection was ended while it had users, who got errors. */
  | { readonly reason: 'unmounted'; readonly isAborted?: boolean }
  /** A thread failed; the process must be replaced. */
  | { readonly reason: 'failed'; readonly error: Error };

export interface FlushProgress {
  /** Bytes of writes that writing back had to pass when the flush was asked for, what was written over included: see `writeback_pending_bytes`. */
  readonly bytesTotal: number;
  /** Of these, bytes not passed yet: never more than before, and 0 only when the backing device has everything durably. */
  readonly bytesLeft: number;
}

export interface Engine {
  /** Cheap; called for every status request and for `stats.json`. */
  snapshot(): StatusSnapshot;
  /** Writes back everything that is dirty now; resolves when the backing device has it durably. Rejects with PcacheError `io`, `mismatch` (it was cut) or `closed`. */
  flush(onProgress: (progress: FlushProgress) => void): Promise<void>;
  /** See `BackingDevice.lostBytes`. */
  backingLostBytes(): number;
  /** Takes effect at once and is stored on the media. Throws PcacheError `usage` out of 0 to 90. */
  setGcPercent(percent: number): void;
  /** See WritebackOrder. Not kept on the media. Throws PcacheError `permission` if the volume is mounted read-only. */
  setWritebackPaused(isPaused: boolean): void;
  /** From now on the status says `unmount_wanted`; nothing else changes. */
  setUnmountWanted(): void;
  /** `cells`: as in the control protocol. */
  segments(cells: number): SegmentMap;
  /**
   * Ends the threads and closes the open kset durably. Also called while the session is still mounted (the supervisor is gone): the workers
   * then take no further request. Idempotent. Rejects with PcacheError `io` if the log could not be made durable.
   */
  stop(): Promise<void>;
  /** Resolves once, never rejects. */
  readonly ended: Promise<EngineEnd>;
}

/** Resolves when the volume can be read. Rejects with a PcacheError and leaves nothing running if it can't. */
export type StartEngine = (options: EngineOptions) => Promise<Engine>;

/** What is known of an engine before it is needed. */
export interface EngineOutline extends Pick<MountOptions, 'workers' | 'readOnly' | 'transport'> {
  /** Whether users wait for it already, and it should use all cores to prepare itself. A spare is prepared beside an engine that needs them. */
  readonly isAwaited: boolean;
}

/** Of an engine process. */
export function engineArguments(): string[] {
  return [programBuild];
}

/** Whether a supervisor of another build made these arguments: what it will say may mean something else. */
export function areOfOtherBuild(args: readonly string[]): boolean {
  return args.length > 0 && args[0] !== programBuild;
}

/** What the main module of an engine process is made of. */
export interface EngineProgram {
  /** Does beforehand what takes long and needs nothing of the volume. May still be under way when `start` is called. */
  readonly prepare?: (outline: EngineOutline) => Promise<void>;
  readonly start: StartEngine;
}
