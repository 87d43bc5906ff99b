// Everything that a view draws from, as plain values: what is known of the gateway, and where the user is in the monitor.

import type { SegmentMap } from '../gateway/control-protocol.js';
import type { StatusSnapshot } from '../gateway/status.js';
import type { History } from './history.js';
import type { Style } from './text.js';

/**
 * - `connecting`: nothing has been heard yet.
 * - `serving`: the engine answers.
 * - `silent`: it is connected and does not answer.
 * - `restarting`: there is no engine; the supervisor lives and starts another.
 * - `orphaned`: the supervisor is dead; the engine takes the mount away.
 * - `dead`: neither lives, and the mount is still there.
 */
export interface Link {
  readonly kind: 'connecting' | 'serving' | 'silent' | 'restarting' | 'orphaned' | 'dead';
  /** Since when, milliseconds since 1970. */
  readonly sinceMs: number;
}

export const VIEWS = ['overview', 'requests', 'log'] as const;
export type ViewName = (typeof VIEWS)[number];

export interface FlushProgress {
  /** Undefined before the gateway has said it. */
  readonly bytesTotal: number | undefined;
  readonly bytesLeft: number;
  readonly startedMs: number;
}

export interface Notice {
  readonly text: string;
  readonly style: Style;
}

export interface Ui {
  readonly view: ViewName;
  readonly isHelp: boolean;
  /** The digits typed so far; undefined while nothing is asked. */
  readonly prompt: string | undefined;
  readonly flush: FlushProgress | undefined;
  readonly notice: Notice | undefined;
}

export interface Picture {
  readonly mountpoint: string;
  readonly link: Link;
  readonly history: History;
  /** Undefined until the gateway has sent one, or if it can't. */
  readonly segments: SegmentMap | undefined;
  readonly ui: Ui;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
}

/** A picture with its status, which all views but the first need. */
export interface Scene extends Picture {
  readonly status: StatusSnapshot;
}
