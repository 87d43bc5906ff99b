// What runs in a thread of its own (task.ts). Arguments and results are copied between threads, so they are plain data; devices come as handles.

import type { BackingFacts } from '../cache/check-records.js';
import type { CheckResult } from '../cache/check-cache.js';
import { examineCache } from '../cache/check-cache.js';
import type { InspectedLog } from '../cache/inspect-log.js';
import { inspectLog } from '../cache/inspect-log.js';
import { inspectMedia } from '../cache/inspect-media.js';
import type { RepairPlan } from '../cache/repair-plan.js';
import { planRepair } from '../cache/repair-plan.js';
import type { TellProgress } from '../cache/tell-progress.js';
import type { CacheDeviceHandle } from '../device/mapped-cache-device.js';
import { attachCacheDevice } from '../device/mapped-cache-device.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import { idleStatusOf } from '../gateway/idle-status.js';
import type { IdleStatus } from '../gateway/status.js';
import { aboutCache } from './cache-file.js';
import { makeCache } from './format-cache.js';
import { openToRecover, readIn, salvage } from './recover-tasks.js';

export interface TaskContext {
  /** Throws at an interrupt; what has begun is then undone, or left so that it can be begun anew. */
  readonly tell: TellProgress;
  /** To be called before something is done that changes what an interrupt should say; 1 or more, rising. */
  readonly reached: (stage: number) => void;
}

export interface CheckTask {
  readonly cache: CacheDeviceHandle;
  readonly backing: BackingFacts | undefined;
}

export interface PlanRepairTask {
  /** Of a private copy. */
  readonly copy: CacheDeviceHandle;
  readonly forgetLostHeader?: boolean;
  readonly acceptsLoss?: boolean;
}

export interface InspectLogTask {
  readonly cache: CacheDeviceHandle;
}

export interface IdleStatusTask {
  readonly cache: CacheDeviceHandle;
}

export const tasks = {
  check,
  planRepair: planRepairOf,
  inspectLog: inspectLogOf,
  idleStatus,
  format: makeCache,
  readIn,
  openToRecover,
  salvage,
};

export type Tasks = typeof tasks;

function check({ cache, backing }: CheckTask, { tell }: TaskContext): CheckResult {
  const options = { bootId: hostBootId(), tell, ...(backing === undefined ? {} : { backing }) };
  return aboutCache(cache.path, () => examineCache(attachCacheDevice(cache), options));
}

function planRepairOf({ copy, ...options }: PlanRepairTask, { tell }: TaskContext): RepairPlan {
  return aboutCache(copy.path, () => planRepair(attachCacheDevice(copy), { ...options, bootId: hostBootId(), tell }));
}

function inspectLogOf({ cache }: InspectLogTask, { tell }: TaskContext): InspectedLog | undefined {
  return aboutCache(cache.path, () => inspectLog(inspectMedia(attachCacheDevice(cache)), tell));
}

function idleStatus({ cache }: IdleStatusTask, { tell }: TaskContext): IdleStatus {
  return aboutCache(cache.path, () => idleStatusOf(attachCacheDevice(cache), cache.path, tell));
}
