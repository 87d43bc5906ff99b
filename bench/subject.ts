// What is compared: programs that serve a file which fio can use. A subject knows what it lacks on this machine; one that is running knows
// its file and its processes.

import type { Workspace } from './workspace.js';

export interface SubjectSetting {
  readonly workspace: Workspace;
  /** Of the volume that each serves. */
  readonly volumeBytes: number;
  /** Of each gateway's cache. */
  readonly cacheBytes: number;
}

export interface RunningSubject {
  readonly file: string;
  /** Living processes that do its work. Undefined if the kernel does it in threads of its own. */
  pids(): number[] | undefined;
  /** Waits until it does nothing any more of what it was asked before. */
  settle(): Promise<void>;
  /** How often a writer had to wait because its cache was full, since it was started; undefined if it has no such thing. */
  fullWaits(): Promise<number | undefined>;
}

/** `transport`: one of the gateway's transports, with nothing behind it. */
export type SubjectKind = 'gateway' | 'transport' | 'null' | 'peer';

export interface Subject {
  /** For `--only`, and as a name of files. */
  readonly id: string;
  /** For tables and pictures. */
  readonly title: string;
  readonly kind: SubjectKind;
  /** Why it can't run here; undefined if it can. */
  readonly lacks: string | undefined;
  /**
   * Its tests with `--quick`, of those that a target is about: all, those of 4 KiB at depth 16 with 4 jobs, or none, since no target is about it. Whatever is
   * asked for by name is measured, `none` with all of them.
   */
  readonly quick: 'all' | 'deep' | 'none';
  /** Whether what is read may have left its memory since it was written, so that it has to be read once before reads are measured. */
  readonly mayForget: boolean;
  start(setting: SubjectSetting): Promise<RunningSubject>;
}

/** A running subject that keeps no work for later. */
export function plainSubject(file: string, pids: () => number[] | undefined): RunningSubject {
  return { file, pids, settle: () => Promise.resolve(), fullWaits: () => Promise.resolve(undefined) };
}
