// `check` as a function: reads every structure of a cache and says what is wrong and what it means. Changes nothing, and no bytes on the media make
// it throw anything but PcacheError, or loop.

import type { CacheDevice } from '../device/device.js';
import { VOLUME_BYTES_MAX } from '../media/layout.js';
import type { Finding } from './check-finding.js';
import { FindingList } from './check-finding.js';
import type { LogTotals } from './check-log.js';
import { LogCheck } from './check-log.js';
import type { BackingFacts } from './check-records.js';
import { checkRecords } from './check-records.js';
import { inspectMedia } from './inspect-media.js';
import type { TellProgress } from './tell-progress.js';

export interface CheckOptions {
  /** The backing device that the cache is thought to belong to. */
  readonly backing?: BackingFacts;
  /** Of the running system (/proc/sys/kernel/random/boot_id); keys staged in this boot are then checked like all others. */
  readonly bootId?: string;
  readonly tell?: TellProgress | undefined;
}

export interface CheckResult {
  readonly findings: readonly Finding[];
  readonly totals: LogTotals;
}

/** Throws PcacheError `not-a-cache` if there is nothing to check. */
export function examineCache(device: CacheDevice, options: CheckOptions = {}): CheckResult {
  const media = inspectMedia(device);
  const list = new FindingList();
  checkRecords(device, media, options.backing, list);
  const header = media.gatewayHeader.ok ? media.gatewayHeader.value : undefined;
  const boundBytes = header === undefined || header.volumeBytes === 0 ? VOLUME_BYTES_MAX : header.volumeBytes;
  const log = new LogCheck(device, media, options.backing?.sizeBytes ?? boundBytes, list, options.tell);
  log.run(options.bootId);
  return { findings: list.finish(), totals: log.totals };
}

/** The findings alone: none of severity error or warning means that nothing is wrong. */
export function checkCache(device: CacheDevice, options: CheckOptions = {}): readonly Finding[] {
  return examineCache(device, options).findings;
}
