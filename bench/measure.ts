// Figures beside the grid, such as the time of a replay: one value each, with what it was made of.

import type { Workspace } from './workspace.js';

export interface MeasureSetting {
  readonly workspace: Workspace;
  readonly isQuick: boolean;
  readonly rounds: number;
  /** Of each run of fio. */
  readonly seconds: number;
}

export interface Measured {
  readonly value: number;
  readonly unit: string;
  /** What it was made of, and what was done to get it. */
  readonly details: Readonly<Record<string, number | string>>;
  /** Why the value means less than it should, if so. */
  readonly doubt?: string;
}

export interface Wanted {
  readonly bound: 'at least' | 'at most';
  readonly value: number;
}

export interface Measure extends Partial<Measured> {
  readonly id: string;
  readonly title: string;
  /** Of the gateway, where it may matter; without one it is dev-fuse or none. */
  readonly transport?: string;
  readonly wanted?: Wanted;
  /** Why there is no value. */
  readonly missing?: string;
}
