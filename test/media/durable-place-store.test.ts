import test from 'ava';
import { DurablePlaceStore } from '../../src/media/durable-place-store.js';
import type { GatewayHeader } from '../../src/media/gateway-header.js';
import { encodeGatewayHeader, readGatewayHeader } from '../../src/media/gateway-header.js';
import type { CacheSegId, SegmentOffset } from '../../src/media/layout.js';
import { GATEWAY_HEADER_BYTES, GATEWAY_HEADER_OFFSETS, SEGMENTS_OFFSET } from '../../src/media/layout.js';

const place = (sequence: number, cacheSegId: number, segOff: number) => ({
  sequence,
  position: { cacheSegId: cacheSegId as CacheSegId, segOff: segOff as SegmentOffset },
});
const HEADER: GatewayHeader = {
  uuid: Uint8Array.from({ length: 16 }, (_, index) => index),
  volumeBytes: 1 << 30,
  backingIdentity: 'file:1:2',
  bootId: 'b0071d00-0000-4000-8000-000000000001',
  sequenceLimit: 2 ** 47,
  state: 'open',
  createdMs: 1_700_000_000_000,
  durable: place(5, 1, 64),
  dirtyTail: place(3, 0, 128),
};
const LATER = { ...HEADER, durable: place(2 ** 46 + 2 ** 31 + 7, 2 ** 16 - 1, 5144) };

function controlWith(generation: number): Uint8Array {
  const control = new Uint8Array(SEGMENTS_OFFSET);
  encodeGatewayHeader(control, 0, HEADER, generation);
  encodeGatewayHeader(control, 1, HEADER, (generation + 1) >>> 0);
  return control;
}

function writeLater(control: Uint8Array): number {
  const { sequence, position } = LATER.durable;
  return new DurablePlaceStore(control).write(sequence, position.cacheSegId, position.segOff);
}

for (const generation of [7, 2 ** 31 - 1, 2 ** 32 - 2, 2 ** 32 - 1]) {
  test(`the place goes to the copy that is not current, which becomes current, and nothing else changes (from generation ${generation})`, (t) => {
    const control = controlWith(generation);
    const before = control.slice();
    t.is(writeLater(control), 0);
    t.deepEqual(readGatewayHeader(control), {
      ok: true,
      value: LATER,
      index: 0,
      generation: (generation + 2) >>> 0,
      otherValid: true,
    });
    t.deepEqual(control.subarray(GATEWAY_HEADER_BYTES), before.subarray(GATEWAY_HEADER_BYTES));
    // Just what encoding the header would have made.
    const encoded = before.slice();
    encodeGatewayHeader(encoded, 0, LATER, (generation + 2) >>> 0);
    t.deepEqual(control, encoded);
    t.is(writeLater(control), 1);
    t.like(readGatewayHeader(control), { ok: true, index: 1, generation: (generation + 3) >>> 0 });
  });
}

test('a place that was written only in part leaves the other copy current', (t) => {
  const before = controlWith(1);
  const after = before.slice();
  writeLater(after);
  for (let cut = 1; cut < GATEWAY_HEADER_BYTES; cut++) {
    for (const [from, to] of [
      [0, cut],
      [cut, GATEWAY_HEADER_BYTES],
    ] as const) {
      const torn = before.slice();
      torn.set(after.subarray(from, to), from);
      const read = readGatewayHeader(torn);
      if (!read.ok) throw new Error(`cut at ${cut}: ${read.reason}`);
      const isWhole = Buffer.compare(torn, after) === 0;
      t.is(read.value.durable?.sequence, isWhole ? LATER.durable.sequence : 5, `cut at ${cut}`);
    }
  }
});

test('a copy that was damaged before it is written stays damaged, and the other one counts', (t) => {
  for (const at of [0, 4, 9, 16, 30, 617, 625, 700, GATEWAY_HEADER_BYTES - 1]) {
    const control = controlWith(1);
    control[GATEWAY_HEADER_OFFSETS[0] + at]! ^= 1;
    t.is(writeLater(control), 0, `byte ${at}`);
    const read = readGatewayHeader(control);
    t.like(read, { ok: true, index: 1, otherValid: false }, `byte ${at}`);
  }
});

test('a copy that could not be made durable does not count, and is the next one to be written', (t) => {
  const control = controlWith(1);
  const store = new DurablePlaceStore(control);
  const { sequence, position } = LATER.durable;
  store.spoil(store.write(sequence, position.cacheSegId, position.segOff));
  const read = readGatewayHeader(control);
  t.like(read, { ok: true, index: 1, otherValid: false });
  t.deepEqual(read.ok && read.value, HEADER);
});
