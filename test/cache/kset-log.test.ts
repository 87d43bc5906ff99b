// The open kset, the ring of closed ones, flushes, barriers, the change of segments.

import test from 'ava';
import { NumberWord, SEALED_RING_ENTRIES, Word } from '../../src/cache/shared-state.js';
import { SEQUENCE_CLAIM } from '../../src/cache/sequence-claim.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SEGMENT_DATA_BYTES } from '../../src/media/layout.js';
import { PcacheError } from '../../src/errors.js';
import { MIB, Rig, layerOver } from '../support/model-rig.js';
import { appendKey, cacheRig, headerAt } from './cache-rig.js';

const options = { volumeBytes: 8 * MIB };
const BARRIER = 1n << 8n;
const BARRIER_BEFORE = 1n << 9n;
const sizeOf = (keys: number): number => KSET_HEADER_BYTES + keys * KEY_BYTES;

test('staged keys are no part of the log until a flush has made them durable', (t) => {
  const r = cacheRig(options);
  const { log } = r.cache;
  t.true(appendKey(r, 0));
  t.true(appendKey(r, 512));
  t.false(headerAt(r, 0, 0).isWhole);
  const sequence = log.requestFlush();
  t.false(log.isDurable(sequence));
  t.false(headerAt(r, 0, 0).isWhole);
  t.is(log.commitStep(), 1);
  t.true(log.isDurable(sequence));
  const header = headerAt(r, 0, 0);
  t.true(header.isWhole);
  t.is(header.keys, 2);
  t.is(header.flags & BARRIER, BARRIER);
  t.is(header.flags & BARRIER_BEFORE, BARRIER_BEFORE, 'the first kset after an open');
  t.is(Number(header.flags >> 16n), sequence);
  t.is(r.cache.dirtyBytes, 1024);
});

test('a kset closes by itself at 128 keys, without a barrier', (t) => {
  const r = cacheRig(options);
  for (let key = 0; key < 128; key++) t.true(appendKey(r, key * 512));
  t.is(r.cache.shared.words[Word.openKeys], 0);
  t.is(r.cache.log.commitStep(), 1);
  t.is(headerAt(r, 0, 0).keys, 128);
  t.is(headerAt(r, 0, 0).flags & BARRIER, 0n);
});

test('a kset that is old enough closes without a barrier, and one that is not stays open', (t) => {
  const r = cacheRig(options);
  appendKey(r, 0);
  r.rig.clockMs += 999;
  t.false(r.cache.log.closeIfOlder(1000));
  r.rig.clockMs += 1;
  t.true(r.cache.log.closeIfOlder(1000));
  t.false(r.cache.log.closeIfOlder(1000), 'nothing is open');
  t.is(r.cache.log.commitStep(), 1);
  t.is(headerAt(r, 0, 0).flags & BARRIER, 0n);
});

test('flushes without a write between them share one kset', (t) => {
  const r = cacheRig(options);
  appendKey(r, 0);
  const first = r.cache.log.requestFlush();
  t.is(r.cache.log.requestFlush(), first);
  t.is(r.cache.log.commitStep(), 1);
  t.is(r.cache.log.requestFlush(), first);
  t.is(r.cache.log.commitStep(), 0);
});

test('a flush that finds the kset closed already marks it, or, if its header is written, the next one', (t) => {
  const r = cacheRig(options);
  const { log } = r.cache;
  appendKey(r, 0);
  log.closeIfOlder(0);
  log.requestFlush();
  log.commitStep();
  t.is(headerAt(r, 0, 0).flags & BARRIER, BARRIER, 'closed, not yet written');
  appendKey(r, 512);
  log.closeIfOlder(0);
  log.commitStep();
  t.is(headerAt(r, 0, sizeOf(1)).flags & (BARRIER | BARRIER_BEFORE), 0n);
  t.true(log.isDurable(log.requestFlush()), 'all is durable');
  appendKey(r, 1024);
  log.closeIfOlder(0);
  log.commitStep();
  t.is(headerAt(r, 0, 2 * sizeOf(1)).flags & (BARRIER | BARRIER_BEFORE), BARRIER_BEFORE);
});

test('the header after the last kset is zero and durable before that kset counts', (t) => {
  const r = cacheRig(options);
  const { bytes } = r.cache.segments.view(r.opened.replay.end.cacheSegId);
  // What an earlier use of the segment left there.
  bytes.fill(0xaa, 0x3000 + sizeOf(1), 0x3000 + sizeOf(1) + 4096);
  r.rig.device.persist(0x5000 + 0x3000, 8192);
  appendKey(r, 0);
  r.cache.log.requestFlush();
  r.cache.log.commitStep();
  r.rig.losePower(() => 0, 4096);
  t.true(headerAt(r, 0, 0).isWhole);
  t.deepEqual([...bytes.subarray(0x3000 + sizeOf(1), 0x3000 + sizeOf(1) + KSET_HEADER_BYTES)], Array(KSET_HEADER_BYTES).fill(0));
});

test('where a persist may cover a span, a step costs two, and the place a third: what is asked for one by one elsewhere is in them', (t) => {
  const persistsOf = (persistsSpans: boolean): { offset: number; end: number }[] => {
    const rig = new Rig({ volumeBytes: 8 * MIB, cacheBytes: 160 * MIB });
    const persists: { offset: number; end: number }[] = [];
    const device = layerOver(rig.device, {
      ...(persistsSpans ? { persistsSpans: true } : {}),
      persist(offset, length) {
        persists.push({ offset, end: offset + length });
        rig.device.persist(offset, length);
      },
    });
    const volume = rig.open({ writers: 3, device });
    volume.logStep(0);
    persists.length = 0;
    for (let writer = 0; writer < 3; writer++) volume.write(writer * 8192, new Uint8Array(4096), writer);
    volume.flush();
    const all = persists.slice();
    volume.close();
    return all;
  };
  const single = persistsOf(false);
  const spans = persistsOf(true);
  t.is(single.length, 3 + 3, 'three data segments, keys, headers, the place');
  t.is(spans.length, 3);
  for (const [index, { offset, end }] of single.entries()) {
    const span = spans[Math.max(0, index - 3)]!;
    t.true(span.offset <= offset && span.end >= end, `persist ${index}`);
  }
});

test('the ksets of one step carry how many before them were not yet durable', (t) => {
  const r = cacheRig(options);
  for (let kset = 0; kset < 70; kset++) {
    appendKey(r, kset * 512);
    r.cache.log.closeIfOlder(0);
  }
  t.is(r.cache.log.commitStep(), 63);
  t.is(r.cache.log.commitStep(), 7);
  const index = (kset: number): number => Number((headerAt(r, 0, kset * sizeOf(1)).flags >> 10n) & 63n);
  t.deepEqual([0, 1, 62, 63, 69].map(index), [0, 1, 62, 0, 6]);
});

test('a device that fails leaves the ksets in the ring, and the next step makes them durable', (t) => {
  const r = cacheRig(options);
  appendKey(r, 0);
  const sequence = r.cache.log.requestFlush();
  let persists = 0;
  for (let failing = 1; failing <= 3; failing++) {
    persists = 0;
    r.rig.device.onPersist = () => {
      if (++persists === failing) throw new PcacheError('io', 'device: it fails');
    };
    t.throws(() => r.cache.log.commitStep(), { code: 'io' });
    t.false(r.cache.log.isDurable(sequence));
  }
  r.rig.device.onPersist = undefined;
  t.is(r.cache.log.commitStep(), 1);
  t.true(r.cache.log.isDurable(sequence));
});

test('a full ring refuses keys until a step has made room, and loses none', (t) => {
  const r = cacheRig({ ...options, cacheBytes: 160 * MIB });
  let count = 0;
  while (r.cache.log.mayAppend()) {
    t.true(count++ <= SEALED_RING_ENTRIES);
    appendKey(r, (count % 1000) * 512);
    r.cache.log.closeIfOlder(0);
  }
  t.is(r.cache.log.mayAppend(), false);
  const keysBefore = r.cache.dirtyBytes;
  t.false(appendKey(r, 0));
  t.is(r.cache.dirtyBytes, keysBefore);
  r.cache.log.commitStep();
  t.true(r.cache.log.mayAppend());
  while (r.cache.log.commitStep() > 0);
  t.is(r.cache.shared.numbers[NumberWord.durableSequence], r.cache.shared.numbers[NumberWord.lastSealedSequence]);
});

test('the log changes to the segment that was made ready, by a LAST kset, and waits if none is', (t) => {
  const r = cacheRig(options);
  const { words } = r.cache.shared;
  const last = SEGMENT_DATA_BYTES - 24 - 5143;
  words[Word.openOffset] = last - (last % 8) + 8;
  const from = words[Word.openOffset]!;
  t.false(r.cache.log.mayAppend());
  t.false(appendKey(r, 0));
  t.true(r.cache.log.prepareNextLogSegment());
  t.false(r.cache.log.prepareNextLogSegment(), 'one is enough');
  const next = words[Word.nextLogSegment]!;
  t.true(appendKey(r, 0));
  t.is(words[Word.openSegment], next);
  t.is(words[Word.nextLogSegment], -1);
  const header = headerAt(r, 0, from);
  t.true(header.isWhole);
  t.is(header.flags & 1n, 1n);
  t.is(header.keys, next);
  t.false(headerAt(r, next, 0).isWhole);
  r.cache.log.requestFlush();
  t.is(r.cache.log.commitStep(), 2);
  t.true(headerAt(r, next, 0).isWhole);
  t.is(headerAt(r, next, 0).flags >> 16n, (header.flags >> 16n) + 1n);
});

test('no sequence is used that the gateway header does not cover durably', (t) => {
  const r = cacheRig(options);
  const { numbers } = r.cache.shared;
  numbers[NumberWord.openSequence] = numbers[NumberWord.sequenceLimit]! - 2;
  t.false(r.cache.log.mayAppend());
  t.false(appendKey(r, 0));
  const persistsBefore = r.rig.device.persists;
  t.true(r.cache.logStep(1000), 'prepares a segment, too');
  t.true(r.rig.device.persists > persistsBefore);
  const header = readGatewayHeader(r.rig.device.control.bytes);
  t.true(header.ok && header.value.sequenceLimit >= numbers[NumberWord.openSequence]! + SEQUENCE_CLAIM / 2);
  t.true(appendKey(r, 0));
});
