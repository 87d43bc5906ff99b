// Damaged payload: with data CRC on, its range answers EIO and nothing else does; it is neither written back nor dropped.

import test from 'ava';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { SEGMENT_DATA_BYTES } from '../../src/media/layout.js';
import { mediaRuleProblems } from '../support/media-rules.js';
import { damagePayload, MIB, Rig, sameBytes } from '../support/model-rig.js';
import { payload } from '../support/model-payload.js';

const KIB = 1024;

/** Writes 0 to 16 KiB in keys of 4 KiB each and damages those that start at `damaged`. */
function damagedVolume(damaged: readonly number[]): { rig: Rig; volume: InlineVolume; written: Uint8Array } {
  const rig = new Rig({ volumeBytes: 4 * MIB, dataCrc: true });
  rig.backing.fill(0, new Uint8Array(64 * KIB).fill(0xee));
  const volume = rig.open();
  const written = payload(1, 16 * KIB).slice();
  for (let offset = 0; offset < written.length; offset += 4 * KIB) {
    volume.write(offset, written.subarray(offset, offset + 4 * KIB));
    volume.flush();
  }
  for (const offset of damaged) damagePayload(rig, volume, offset);
  return { rig, volume, written };
}

/** Writes back until nothing is left to do, but not for ever. */
function writeBackBounded(volume: InlineVolume): number {
  volume.flush();
  let steps = 0;
  while (steps < 50 && volume.writebackStep()) {
    steps++;
    volume.flush();
  }
  return steps;
}

test('a damaged key is not written back, its range answers corrupt-data, and everything else goes on', (t) => {
  const { rig, volume, written } = damagedVolume([4 * KIB]);
  t.true(writeBackBounded(volume) < 50);
  const backing = rig.backing.content(0, 16 * KIB);
  t.true(sameBytes(backing.subarray(0, 4 * KIB), written.subarray(0, 4 * KIB)));
  t.true(backing.subarray(4 * KIB, 8 * KIB).every((byte) => byte === 0xee));
  t.true(sameBytes(backing.subarray(8 * KIB), written.subarray(8 * KIB)));
  t.throws(() => volume.read(4 * KIB, 512), { code: 'corrupt-data' });
  t.throws(() => volume.read(0, 16 * KIB), { code: 'corrupt-data' });
  t.throws(() => volume.write(5 * KIB + 1, new Uint8Array(10)), { code: 'corrupt-data' });
  t.true(sameBytes(volume.read(0, 4 * KIB), written.subarray(0, 4 * KIB)));
  t.true(sameBytes(volume.read(8 * KIB, 8 * KIB), written.subarray(8 * KIB)));
  t.is(volume.dirtyBytes, 4 * KIB);
  t.is(volume.counters.corrupt_keys, 1);
});

test('several damaged keys, each behind a flush of its own, do not keep writeback busy for ever', (t) => {
  const { volume } = damagedVolume([0, 4 * KIB, 12 * KIB]);
  t.true(writeBackBounded(volume) < 50);
  t.is(volume.dirtyBytes, 12 * KIB);
  // Nothing new has come: nothing is done.
  t.is(writeBackBounded(volume), 0);
});

test('a damaged key survives collection, a reopen and a process kill, and is not taken for what the backing device has', (t) => {
  const { rig, volume } = damagedVolume([4 * KIB]);
  let current = volume;
  for (let round = 0; round < 3; round++) {
    current.write(32 * KIB, payload(round + 2, 4 * KIB));
    writeBackBounded(current);
    while (current.gcStep());
    if (round === 1) {
      current.close({ crash: true });
      rig.killProcess();
    } else {
      current.close();
    }
    t.deepEqual(mediaRuleProblems(rig.device, { damageExpected: true }), []);
    current = rig.open();
    t.throws(() => current.read(4 * KIB, 512), { code: 'corrupt-data' }, `round ${round}`);
    t.true(rig.backing.content(4 * KIB, 4 * KIB).every((byte) => byte === 0xee));
  }
});

test('a damaged range is cured by overwriting, as far as it is overwritten', (t) => {
  const { rig, volume } = damagedVolume([4 * KIB]);
  writeBackBounded(volume);
  const cure = payload(9, 2 * KIB);
  volume.write(4 * KIB, cure);
  t.true(sameBytes(volume.read(4 * KIB, 2 * KIB), cure));
  t.throws(() => volume.read(6 * KIB, 512), { code: 'corrupt-data' });
  writeBackBounded(volume);
  t.is(volume.dirtyBytes, 2 * KIB);
  volume.write(6 * KIB, cure);
  writeBackBounded(volume);
  t.is(volume.dirtyBytes, 0);
  t.true(sameBytes(rig.backing.content(4 * KIB, 2 * KIB), cure));
  t.true(sameBytes(rig.backing.content(6 * KIB, 2 * KIB), cure));
});

test('dirty_tail does not pass a damaged key before it is durable in its new place', (t) => {
  const { rig, volume } = damagedVolume([4 * KIB]);
  // The power goes at every persist from here on, one after another, until writeback and collection are through.
  let isThrough = false;
  for (let fatal = 1; !isThrough && fatal < 100; fatal++) {
    const trial = rig.device.fork();
    const backing = rig.backing.fork();
    const once = new Rig({ volumeBytes: 4 * MIB, dataCrc: true, devices: { device: trial, backing } });
    let current = once.open();
    current.write(32 * KIB, payload(5, 512));
    let left = fatal;
    trial.onPersist = () => {
      if (--left === 0) throw new Error('power');
    };
    try {
      current.flush();
      // Writeback and collection come as far as they can before the log is closed again.
      for (let round = 0; round < 4; round++) {
        for (let steps = 0; steps < 8; steps++) current.writebackStep();
        while (current.gcStep());
        current.logStep(0);
      }
      isThrough = true;
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'power') throw error;
    }
    trial.onPersist = undefined;
    current.close({ crash: true });
    // What is not durable is lost, all of it.
    once.losePower(() => 0, 4096);
    current = once.open();
    t.throws(() => current.read(4 * KIB, 512), { code: 'corrupt-data' }, `power lost at persist ${fatal}`);
  }
  t.true(isThrough);
  volume.close();
});

test('payload that is damaged after it was written back is forgotten at the next open: the backing device has it', (t) => {
  const { rig, volume, written } = damagedVolume([]);
  volume.writeBackAll();
  damagePayload(rig, volume, 4 * KIB);
  volume.close();
  const again = rig.open();
  t.true(sameBytes(again.read(0, 16 * KIB), written));
  again.close();
});

test('a clean copy that is damaged is forgotten at the next open', (t) => {
  const rig = new Rig({ volumeBytes: 4 * MIB, dataCrc: true });
  rig.backing.fill(0, payload(3, 8 * KIB));
  const volume = rig.open();
  volume.read(0, 8 * KIB);
  damagePayload(rig, volume, 512);
  volume.close();
  const again = rig.open();
  t.true(sameBytes(again.read(0, 8 * KIB), payload(3, 8 * KIB)));
  again.close();
});

test('damage at the end of a full segment is found like any other', (t) => {
  const rig = new Rig({ volumeBytes: 64 * MIB, dataCrc: true });
  const volume = rig.open();
  for (let offset = 0; offset < SEGMENT_DATA_BYTES; offset += 512 * KIB) volume.write(offset, payload(offset / 512, 512 * KIB));
  const last = SEGMENT_DATA_BYTES - 512;
  damagePayload(rig, volume, last);
  writeBackBounded(volume);
  t.throws(() => volume.read(last, 512), { code: 'corrupt-data' });
  volume.close();
});
