// Plans the repair of a damaged cache on a private copy of it. Nothing is guessed: what is written anew is a good copy of the same record, or follows from
// records that are whole, or is the end of the log at the last place up to which it can be read. The plan is tried out: the copy is opened as a mount
// would open it.

import type { CacheDevice } from '../device/device.js';
import { PcacheError, messageOf } from '../errors.js';
import { inspectMedia } from './inspect-media.js';
import { openUnbound } from './open-unbound.js';
import type { Refusal, RepairStep } from './repair-draft.js';
import { RepairDraft } from './repair-draft.js';
import { repairGatewayHeader } from './repair-header.js';
import { repairGenerations, repairLog, repairTails } from './repair-log.js';
import { repairStructure } from './repair-records.js';
import type { LogLoss } from './salvage-log.js';
import type { TellProgress } from './tell-progress.js';
import { CUT_ADVICE } from './unwritten-data.js';

export interface RepairPlan {
  readonly steps: readonly RepairStep[];
  /** Damage for which nothing safe can be done; if there is any, the cache can't be opened afterwards either. */
  readonly refusals: readonly Refusal[];
  /** What the steps give up; `undefined` if nothing. */
  readonly loss: LogLoss | undefined;
}

export interface RepairOptions {
  /** Of the running system (/proc/sys/kernel/random/boot_id): keys staged in it count. */
  readonly bootId: string;
  /** A gateway header that is lost is taken for one that never was: the caller vouches for the backing device. */
  readonly forgetLostHeader?: boolean;
  /** Data that is lost where the device was cut are no reason to refuse: the cache is going to be read only. */
  readonly acceptsLoss?: boolean;
  readonly tell?: TellProgress | undefined;
}

/** `copy`: of the device; the steps are made to it. Throws PcacheError `not-a-cache` if there is nothing of a cache on it. */
export function planRepair(copy: CacheDevice, options: RepairOptions): RepairPlan {
  copy.expectAccess('scattered');
  const draft = new RepairDraft(copy, options.tell);
  // Throws if it is no cache.
  inspectMedia(copy);
  repairGatewayHeader(draft, options);
  repairStructure(draft);
  repairTails(draft);
  repairLog(draft, options.bootId);
  repairGenerations(draft, options.bootId);
  copy.expectAccess('normal');
  if (draft.refusals.length === 0) tryOut(draft, options);
  return { steps: draft.steps, refusals: draft.refusals, loss: draft.steps.find(({ loss }) => loss !== undefined)?.loss };
}

function tryOut(draft: RepairDraft, { bootId, acceptsLoss = false }: RepairOptions): void {
  try {
    const { shared, replay } = openUnbound(draft.device, bootId, draft.tell);
    if (!acceptsLoss && shared.lostFrom !== Infinity && !shared.dataCrc && replay.corruptKeys > 0) {
      const why = 'keys of the log refer to what was never written: the file was cut and made longer since';
      draft.refuse({ place: 'end of the file', why, advice: CUT_ADVICE });
    }
  } catch (error) {
    if (!(error instanceof PcacheError) || error.code === 'internal') throw error;
    draft.refuse({
      place: 'cache',
      why: `it could not be opened even then: ${messageOf(error)}`,
      advice: 'this is no damage that a repair can undo; "pcache check" and "pcache dump" say what is there',
    });
  }
}
