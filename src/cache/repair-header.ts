// Repairs of the gateway header: its copies from each other, or from the backup in the superblock's page.

import { readGatewayBackup, readGatewayHeader, withLogPlaces, writeGatewayBackup, writeGatewayHeader } from '../media/gateway-header.js';
import type { DurablePlace } from '../media/gateway-header.js';
import { CACHE_CTRL_OFFSET, GATEWAY_BACKUP_OFFSET, GATEWAY_HEADER_BYTES, GATEWAY_HEADER_OFFSETS, PAGE_BYTES } from '../media/layout.js';
import { TAIL_BYTES, TAIL_OFFSETS, tailsAreStamped } from '../media/tails.js';
import { copyIsValid, sealCopy } from '../media/two-copy-record.js';
import { allZero } from '../media/u64.js';
import type { RepairDraft } from './repair-draft.js';

const PLACE = 'gateway header';
const NOTHING_LOST = 'nothing is lost: no data of the volume is concerned';

/** `forgetLostHeader`: one that is lost is taken for one that never was. */
export function repairGatewayHeader(draft: RepairDraft, { forgetLostHeader = false }: { forgetLostHeader?: boolean }): void {
  const { bytes } = draft.device.control;
  const header = readGatewayHeader(bytes);
  if (!header.ok) {
    const isLost = header.kind === 'damaged' || (header.kind === 'absent' && tailsAreStamped(bytes));
    if (isLost && forgetLostHeader) forgetHeader(draft, header.reason);
    else if (isLost) refuseHeader(draft, 'damaged', header.reason);
    else if (header.kind === 'newer') refuseHeader(draft, header.kind, header.reason);
    return;
  }
  if (header.fromBackup === true) {
    storeHeader(draft);
    draft.step({
      place: PLACE,
      why: 'neither of its two copies is valid',
      what: "rewrite both from the backup in the superblock's page",
      // The backup does not say how far the log has got.
      consequence: `${NOTHING_LOST}; but if the newest writes were damaged as well, that can not be noticed: compare what was written last`,
    });
    return;
  }
  const other = header.index === 0 ? 1 : 0;
  const good = GATEWAY_HEADER_OFFSETS[header.index];
  const bad = GATEWAY_HEADER_OFFSETS[other];
  if (!header.otherValid) {
    draft.change(bad, GATEWAY_HEADER_BYTES, () => bytes.copyWithin(bad, good, good + GATEWAY_HEADER_BYTES));
    draft.step({
      place: `${PLACE} copy ${other}`,
      why: 'one of its two copies is not valid',
      what: `rewrite it from the good copy ${header.index}`,
      consequence: NOTHING_LOST,
    });
  }
  if (readGatewayBackup(bytes) === undefined && !allZero(bytes, GATEWAY_BACKUP_OFFSET, GATEWAY_HEADER_BYTES)) {
    draft.change(GATEWAY_BACKUP_OFFSET, GATEWAY_HEADER_BYTES, () => writeGatewayBackup(bytes, header));
    draft.step({
      place: `${PLACE}: backup`,
      why: 'the backup is not valid',
      what: 'rewrite it from the header',
      consequence: NOTHING_LOST,
    });
  }
}

/** Takes away whatever says that there was one: the copies, the backup, and the stamps of the tails. */
function forgetHeader(draft: RepairDraft, reason: string): void {
  const { bytes } = draft.device.control;
  for (const [at, length] of [
    [GATEWAY_HEADER_OFFSETS[0], PAGE_BYTES],
    [GATEWAY_BACKUP_OFFSET, GATEWAY_HEADER_BYTES],
  ] as const) {
    draft.change(at, length, () => bytes.fill(0, at, at + length));
  }
  draft.change(CACHE_CTRL_OFFSET, 4 * TAIL_BYTES, () => {
    for (const at of Object.values(TAIL_OFFSETS).flat()) {
      if (copyIsValid(bytes, at, TAIL_BYTES)) sealCopy(bytes, at, TAIL_BYTES, bytes[at + 4]!);
    }
  });
  draft.step({
    place: PLACE,
    why: reason,
    what: 'do without it, as with a cache that the kernel made',
    consequence: 'that the cache belongs to this backing device can not be checked; writes of the last second before a crash are not taken',
  });
}

function refuseHeader(draft: RepairDraft, kind: 'damaged' | 'newer', reason: string): void {
  draft.refuse(
    kind === 'newer'
      ? { place: PLACE, why: reason, advice: 'use the version of pcache that wrote it' }
      : {
          place: PLACE,
          why: `${reason}; which backing device the cache belongs to can not be told`,
          advice: 'if you know which it is, "pcache recover CACHE BACKING --adopt" writes the dirty data to it',
        },
  );
}

/**
 * Both copies, one after the other, with another durable place or, without one, as they are. With another one the header no longer says where dirty_tail
 * was: the next opening stores it.
 */
export function storeHeader(draft: RepairDraft, durable?: DurablePlace): void {
  const { bytes } = draft.device.control;
  for (let copy = 0; copy < 2; copy++) {
    const current = readGatewayHeader(bytes);
    if (!current.ok) return;
    const value = durable === undefined ? current.value : withLogPlaces(current.value, durable, undefined);
    const index = current.index === 0 ? 1 : 0;
    draft.change(GATEWAY_HEADER_OFFSETS[index], GATEWAY_HEADER_BYTES, () => writeGatewayHeader(bytes, value, current));
  }
}
