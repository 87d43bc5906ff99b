// What the three processes of a mount tell each other over their IPC channels: command line and supervisor, supervisor and engine. Both ends
// are this program in one version, and the channel has no other user, so messages are typed and not validated.

import type { ControlErrorBody } from './control-protocol.js';
import type { EngineOutline, EngineStart, KeptState } from './engine.js';
import type { LogFormat } from './log.js';
import type { LogLevel } from './log-level.js';
import type { LogTarget } from './log-target.js';
import type { MountOptions } from './mount-options.js';

/** All that a supervisor needs. Paths are absolute; `mountpoint` is a name from mountPointName. */
export interface MountPlan {
  readonly cachePath: string;
  readonly backingPath: string;
  readonly mountpoint: string;
  readonly mountKind: 'directory' | 'file';
  readonly options: MountOptions;
  readonly runtimeDirectory: string;
  readonly logLevel: LogLevel;
  /** `json` only for the log among the runtime files, which a mount empties before it writes to it. */
  readonly logFormat: LogFormat;
  /** The path of the file that the log goes to, if its user named one. */
  readonly logFile?: string | undefined;
  /** What the system's tables show as the source of the mount; undefined: the cache. */
  readonly fsName?: string | undefined;
  /** The service manager that wants to hear of this mount. */
  readonly service?: ServicePlan | undefined;
}

/** What a service manager told the command line, see sd_notify(3). */
export interface ServicePlan {
  /** NOTIFY_SOCKET. */
  readonly socket: string;
  /** WATCHDOG_USEC: the service is taken for hung if it says nothing for so many microseconds. Undefined: it is not watched. */
  readonly watchdogUs: number | undefined;
}

/** Command line to supervisor. */
export interface MountMessage {
  readonly type: 'mount';
  readonly plan: MountPlan;
  /** What becomes its descriptors 1 and 2; undefined: they stay what they are. */
  readonly log?: LogTarget;
}

/** Supervisor to command line, before the outcome: how far a start is that takes long. */
export interface MountProgress extends OpeningProgress {
  readonly type: 'opening';
}

export interface OpeningProgress {
  /** What is being done, in words. */
  readonly phase: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** Supervisor to command line, exactly one. */
export type MountOutcome =
  | {
      readonly type: 'ready';
      readonly supervisorPid: number;
      readonly enginePid: number;
      readonly volumeBytes: number;
      /** What the user should know although all is well: one line. */
      readonly note: string | undefined;
    }
  | { readonly type: 'failed'; readonly error: ControlErrorBody };

/** Supervisor to engine, once, first of all. */
export interface EnginePrepareMessage {
  readonly type: 'prepare';
  readonly outline: EngineOutline;
}

/** Supervisor to engine, once, at any time or never. The descriptors come at the same time over the socket ENGINE_SOCKET_FD, and are numbered by their place there. */
export interface EngineStartMessage {
  readonly type: 'start';
  readonly start: EngineStart;
  /** Where the engine serves its clients. */
  readonly socket: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly logFile?: string | undefined;
}

/** Supervisor to engine, while it writes back at the end (option flush_on_stop): the rest is to stay in the cache. */
export interface GiveUpFlushMessage {
  readonly type: 'give-up-flush';
}

/** Supervisor to engine, at most once: the volume was told to end while it was in use. What is started later hears of it with its start. */
export interface UnmountWantedMessage {
  readonly type: 'unmount-wanted';
}

export type MessageToEngine = EnginePrepareMessage | EngineStartMessage | GiveUpFlushMessage | UnmountWantedMessage;

/** Number of that socket in the engine: 0 to 2 as usual, 3 the message channel. */
export const ENGINE_SOCKET_FD = 4;

/** Engine to supervisor. */
export type EngineMessage =
  /** How far it is with what comes before. */
  | ({ readonly type: 'opening' } & OpeningProgress)
  /** The volume can be read. */
  | { readonly type: 'ready'; readonly volumeBytes: number }
  /** Changed; told at once or within KEPT_INTERVAL_MS, until the end begins. */
  | { readonly type: 'kept'; readonly kept: KeptState }
  /** It can't, and the engine exits. */
  | { readonly type: 'failed'; readonly error: ControlErrorBody }
  /** Something broke; the process ends at once and must be replaced. */
  | { readonly type: 'fatal'; readonly message: string }
  /** Unmounted: the end has begun. */
  | { readonly type: 'unmounted' }
  /** How far the writing back at the end is. */
  | { readonly type: 'flushing'; readonly bytesTotal: number; readonly bytesLeft: number }
  /** Unmounted and stopped, in order unless there is an error; the process exits. */
  | { readonly type: 'ended'; readonly error: ControlErrorBody | undefined };
