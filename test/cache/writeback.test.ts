// What a batch of writeback is, in which order it is written, and when dirty_tail moves.

import test from 'ava';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { NumberWord, Word } from '../../src/cache/shared-state.js';
import { errno } from '../../src/device/errno-codes.js';
import type { BackingCall } from '../../src/device/simulated-backing-device.js';
import { withErrors } from '../../src/device/simulated-backing-device.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { MIB, Rig, sameBytes } from '../support/model-rig.js';
import { payload } from '../support/model-payload.js';

/** The calls that reach the backing device from here on. */
function recordCalls(rig: Rig): BackingCall[] {
  const calls: BackingCall[] = [];
  rig.backing.onCall = (call) => void calls.push(call);
  return calls;
}

const shortOf = (calls: readonly BackingCall[]): string[] =>
  calls.map(({ kind, offsetBytes, lengthBytes }) => (kind === 'flush' ? 'flush' : `${kind} ${offsetBytes}+${lengthBytes}`));

const dirtyTailOf = (rig: Rig): string => JSON.stringify(readCacheMedia(rig.device).dirtyTail);

/** Closes what is staged without the mark of a flush. */
function closeKset(volume: InlineVolume): void {
  volume.logStep(0);
}

test('a batch is written in order of the volume, what follows on in one piece, and flushed once', (t) => {
  const rig = new Rig({ volumeBytes: 16 * MIB });
  const volume = rig.open();
  for (const offset of [9 * MIB, 4096, 0, 5 * MIB, 8192]) volume.write(offset, payload(offset, 4096));
  volume.flush();
  const calls = recordCalls(rig);
  t.true(volume.writebackStep());
  t.deepEqual(shortOf(calls), ['write 0+12288', `write ${5 * MIB}+4096`, `write ${9 * MIB}+4096`, 'flush']);
  t.false(volume.writebackStep());
  t.is(volume.dirtyBytes, 0);
  volume.close();
});

test('a piece larger than one write is written in several', (t) => {
  const rig = new Rig({ volumeBytes: 16 * MIB });
  const volume = rig.open();
  const bytes = payload(1, 2 * MIB);
  volume.write(0, bytes);
  volume.flush();
  const calls = recordCalls(rig);
  t.true(volume.writebackStep());
  t.deepEqual(shortOf(calls), [`write 0+${MIB}`, `write ${MIB}+${MIB}`, 'flush']);
  t.true(sameBytes(rig.backing.content(0, 2 * MIB), bytes));
  volume.close();
});

test('what a later write of the same batch replaces is not written', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  const volume = rig.open();
  volume.write(0, payload(1, 8192));
  volume.write(2048, payload(2, 1024));
  closeKset(volume);
  volume.write(0, payload(3, 4096));
  volume.flush();
  const calls = recordCalls(rig);
  volume.writebackStep();
  t.deepEqual(shortOf(calls), ['write 0+8192', 'flush']);
  t.true(sameBytes(rig.backing.content(0, 4096), payload(3, 4096)));
  t.is(volume.counters.writeback_bytes, 8192);
  t.is(volume.counters.writeback_keys, 3);
  volume.close();
});

test('a batch ends at a flush, even if what comes after replaces all of it', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  const volume = rig.open();
  volume.write(0, payload(1, 4096));
  volume.flush();
  volume.write(0, payload(2, 4096));
  volume.flush();
  t.true(volume.writebackStep());
  t.true(sameBytes(rig.backing.content(0, 4096), payload(1, 4096)));
  t.true(volume.writebackStep());
  t.true(sameBytes(rig.backing.content(0, 4096), payload(2, 4096)));
  t.false(volume.writebackStep());
  volume.close();
});

test('a flush that came when the kset was written already ends the batch as well', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  const volume = rig.open();
  volume.write(0, payload(1, 4096));
  closeKset(volume);
  volume.flush();
  volume.write(0, payload(2, 4096));
  closeKset(volume);
  t.true(volume.writebackStep());
  t.true(sameBytes(rig.backing.content(0, 4096), payload(1, 4096)));
  t.true(volume.writebackStep());
  t.true(sameBytes(rig.backing.content(0, 4096), payload(2, 4096)));
  volume.close();
});

test('a flush keeps its place when the process dies after it', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  let volume = rig.open();
  volume.write(0, payload(1, 4096));
  closeKset(volume);
  volume.flush();
  volume.write(0, payload(2, 4096));
  volume.close({ crash: true });
  rig.killProcess();
  volume = rig.open();
  t.true(volume.writebackStep());
  t.true(sameBytes(rig.backing.content(0, 4096), payload(1, 4096)));
  t.true(volume.writebackStep());
  t.true(sameBytes(rig.backing.content(0, 4096), payload(2, 4096)));
  volume.close();
});

test('ksets without a flush between them make one batch', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  const volume = rig.open();
  for (let count = 0; count < 10; count++) {
    volume.write(count * 4096, payload(count, 4096));
    closeKset(volume);
  }
  t.true(volume.writebackStep());
  t.false(volume.writebackStep());
  t.is(volume.dirtyBytes, 0);
  volume.close();
});

test('what is passed is what was counted as dirty, each write to the same place, and only once it is written back', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  const volume = rig.open();
  const passedBytes = (): number => volume.opened.shared.numbers[NumberWord.passedBytes]!;
  for (let count = 0; count < 3; count++) volume.write(0, payload(count, 4096));
  volume.flush();
  const dirtyBytes = volume.dirtyBytes;
  t.is(dirtyBytes, 3 * 4096);
  t.is(passedBytes(), 0);
  t.true(volume.writebackStep());
  t.is(passedBytes(), dirtyBytes);
  volume.write(4096, payload(4, 4096));
  t.is(passedBytes(), dirtyBytes);
  volume.flush();
  while (volume.writebackStep());
  t.is(passedBytes(), dirtyBytes + 4096);
  volume.close();
});

test('a batch has bounds: it ends after 64 MiB though no flush does, and after 32 MiB while somebody waits for room', (t) => {
  const rig = new Rig({ volumeBytes: 128 * MIB, cacheBytes: 192 * MIB });
  const volume = rig.open();
  const { words } = volume.opened.shared;
  for (let offset = 0; offset < 120 * MIB; offset += 64 * 1024) volume.write(offset, payload(offset / 512, 64 * 1024));
  closeKset(volume);
  while (volume.logStep(0));
  const batchMib = (): number => {
    const before = volume.dirtyBytes;
    t.true(volume.writebackStep());
    return (before - volume.dirtyBytes) / MIB;
  };
  Atomics.store(words, Word.roomWaiters, 1);
  const waitedFor = batchMib();
  Atomics.store(words, Word.roomWaiters, 0);
  const usual = batchMib();
  // A batch ends with the kset that reaches its bound: 128 keys at most, here of 8 MiB.
  t.true(waitedFor >= 32 && waitedFor < 40, `${waitedFor} MiB`);
  t.true(usual >= 64 && usual < 72, `${usual} MiB`);
  while (volume.writebackStep());
  t.is(volume.dirtyBytes, 0);
  volume.close();
});

test('a clean key is never written', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  rig.backing.fill(0, payload(1, 65536));
  const volume = rig.open();
  volume.read(0, 65536);
  t.is(volume.counters.fill_bytes, 65536);
  volume.flush();
  const calls = recordCalls(rig);
  t.is(volume.dirtyBytes, 0);
  t.true(volume.writebackStep());
  t.deepEqual(calls, []);
  volume.close();
});

for (const [name, fails] of [
  ['a write', (call: BackingCall) => call.kind === 'write' && call.n === 2],
  ['the flush', (call: BackingCall) => call.kind === 'flush'],
] as const) {
  test(`dirty_tail stays while ${name} fails, and everything is written again`, (t) => {
    const rig = new Rig({ volumeBytes: 16 * MIB });
    let isFailing = true;
    const volume = rig.open({ backing: withErrors(rig.backing, (call) => (isFailing && fails(call) ? errno.EIO : false)) });
    volume.write(0, payload(1, 4096));
    volume.write(8 * MIB, payload(2, 4096));
    volume.flush();
    const before = dirtyTailOf(rig);
    t.throws(() => volume.writebackStep(), { code: 'io' });
    t.is(dirtyTailOf(rig), before);
    t.is(volume.dirtyBytes, 8192);
    t.true(sameBytes(volume.read(8 * MIB, 4096), payload(2, 4096)));
    isFailing = false;
    const calls = recordCalls(rig);
    t.true(volume.writebackStep());
    t.deepEqual(shortOf(calls), ['write 0+4096', `write ${8 * MIB}+4096`, 'flush']);
    t.not(dirtyTailOf(rig), before);
    t.is(volume.dirtyBytes, 0);
    volume.close();
  });
}

test('dirty_tail is not moved before the flush of the backing device has returned', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  const volume = rig.open();
  volume.write(0, payload(1, 4096));
  volume.flush();
  const before = dirtyTailOf(rig);
  const seen: string[] = [];
  rig.backing.onCall = ({ kind }) => void seen.push(`${kind} ${dirtyTailOf(rig) === before ? 'before' : 'after'}`);
  volume.writebackStep();
  t.deepEqual(seen, ['write before', 'flush before']);
  t.not(dirtyTailOf(rig), before);
  volume.close();
});
