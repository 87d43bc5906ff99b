// The measures beside the grid, each with a workspace of its own, one after another.

import { lacking } from './command.js';
import type { Measure, MeasureSetting } from './measure.js';
import { measureMisses } from './measure-misses.js';
import { measureMonitor } from './measure-monitor.js';
import { measureReplay } from './measure-replay.js';
import { measureStart } from './measure-start.js';
import { measureWriteback } from './measure-writeback.js';
import { lacksFuse } from './machine.js';
import { lacksNullImage } from './null-image.js';

export interface MeasureRow {
  /** For `--only`. */
  readonly id: string;
  readonly title: string;
  readonly lacks: string | undefined;
  /** Part of `--quick`. */
  readonly isQuick: boolean;
  readonly run: (setting: MeasureSetting) => Promise<Measure[]>;
}

export const measureRows: readonly MeasureRow[] = [
  { id: 'replay', title: 'replay, and memory of the index', lacks: undefined, isQuick: true, run: measureReplay },
  { id: 'start', title: 'start to first read', lacks: lacksFuse(), isQuick: true, run: measureStart },
  { id: 'writeback', title: 'writeback', lacks: lacksFuse(), isQuick: true, run: measureWriteback },
  { id: 'misses', title: 'hits beside misses', lacks: lacksFuse() ?? lacksNullImage(), isQuick: true, run: measureMisses },
  {
    id: 'monitor',
    title: 'processor time of the monitor',
    lacks: lacksFuse() ?? lacking('script', 'stty'),
    isQuick: false,
    run: measureMonitor,
  },
];
