// Control areas that are good, scribbled on or of any bytes, and what reading them must come to.

import fc from 'fast-check';
import { readCacheInfo } from '../../src/media/cache-info.js';
import { readGatewayHeader, writeGatewayHeader } from '../../src/media/gateway-header.js';
import type { CacheSegId, SegmentOffset } from '../../src/media/layout.js';
import { decodeSuperblock, encodeSuperblock } from '../../src/media/superblock.js';
import { readTail, writeTail } from '../../src/media/tails.js';
import { NO_COPY, sealCopy } from '../../src/media/two-copy-record.js';
import { viewOf } from '../../src/media/u64.js';

export const CONTROL_BYTES = 0x5000;

/** Everything that is read from a control area. Each result is a value or a reason. */
export function readControl(control: Uint8Array): { ok: boolean; reason?: string }[] {
  return [
    decodeSuperblock(control),
    readCacheInfo(control, 31),
    readTail(control, 'key_tail', 31),
    readTail(control, 'dirty_tail', 31),
    readGatewayHeader(control),
  ];
}

export function isAnswer(result: { ok: boolean; reason?: string }): boolean {
  return result.ok || (typeof result.reason === 'string' && result.reason.length > 0 && !result.reason.includes('\n'));
}

export function goodControl(): Uint8Array {
  const control = new Uint8Array(CONTROL_BYTES);
  const start = { cacheSegId: 0 as CacheSegId, segOff: 0 as SegmentOffset };
  encodeSuperblock(control, { flags: 0, segmentCount: 31 });
  writeTail(control, 'key_tail', start, NO_COPY);
  writeTail(control, 'dirty_tail', start, NO_COPY);
  const value = {
    uuid: new Uint8Array(16),
    volumeBytes: 0,
    backingIdentity: 'x',
    bootId: '',
    sequenceLimit: 1,
    state: 'clean',
    createdMs: 0,
  } as const;
  writeGatewayHeader(control, value, undefined);
  viewOf(control).setUint32(0x200c, 31, true);
  sealCopy(control, 0x2000, 24, 1);
  return control;
}

/** Bytes with some ranges overwritten by anything. */
export const scribbles = (size: number) =>
  fc.array(fc.record({ at: fc.nat(size - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }) }), { maxLength: 12 });

export function scribble(bytes: Uint8Array, marks: readonly { at: number; bytes: Uint8Array }[]): void {
  for (const mark of marks) bytes.set(mark.bytes.subarray(0, bytes.byteLength - mark.at), mark.at);
}

/** A control area of random bytes, or a good one with scribbles on it. */
export const controlNoise: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 1024 }), fc.nat(CONTROL_BYTES)).map(([bytes, length]) => {
    const control = new Uint8Array(length);
    for (let at = 0; at < length; at += bytes.byteLength) control.set(bytes.subarray(0, length - at), at);
    return control;
  }),
  scribbles(CONTROL_BYTES).map((marks) => {
    const control = goodControl();
    scribble(control, marks);
    return control;
  }),
);
