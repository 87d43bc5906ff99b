// The model that the interleaving test judges by: a byte that is written over by the same byte tells nobody which write was there.

import test from 'ava';
import { SECTOR_BYTES } from '../../src/media/layout.js';
import { EventKind, bytesOfOperation } from '../support/sim-events.js';
import { SimHistory } from '../support/sim-history.js';

const SECTORS = 3;

/** Three sectors, and who writes them: key after key, one sector each. */
class Volume {
  readonly before = bytesOfOperation(-1, SECTORS * SECTOR_BYTES);
  readonly history = new SimHistory(this.before);
  /** What state n is, made without the model. */
  readonly states = [this.before.slice()];
  #tick = 0;

  write(operation: number, offset: number, length: number): void {
    this.#add(EventKind.write, operation, offset, length);
    this.#add(EventKind.key, operation, offset - (offset % SECTOR_BYTES), SECTOR_BYTES, 0, 1, this.history.keys * SECTOR_BYTES);
    this.#add(EventKind.acknowledged, operation);
    const state = this.states.at(-1)!.slice();
    state.set(bytesOfOperation(operation, length), offset);
    this.states.push(state);
  }

  flush(flush: number): void {
    this.#add(EventKind.barrier, flush);
    this.#add(EventKind.flushed, this.#tick, flush);
  }

  /** An operation from `first` on whose first byte is, or is not, what the newest state has at an offset. */
  operation(first: number, offset: number, isSame: boolean): number {
    const byte = this.states.at(-1)![offset]!;
    for (let operation = first; ; operation++) if ((bytesOfOperation(operation, 1)[0] === byte) === isSame) return operation;
  }

  #add(kind: number, ...values: number[]): void {
    this.history.onEvent(
      kind,
      ++this.#tick,
      Int32Array.from({ length: 6 }, (_, index) => values[index] ?? 0),
      new Uint8Array(0),
    );
  }
}

/** Sector 0 is written whole (key 1), sector 1 too (2), then the last byte of sector 0 (3), then sector 2 (4); a flush after each of the first two. */
function volumeWithLastByte(isSame: boolean): Volume {
  const volume = new Volume();
  volume.write(1, 0, SECTOR_BYTES);
  volume.flush(2);
  volume.write(3, SECTOR_BYTES, SECTOR_BYTES);
  volume.flush(4);
  volume.write(volume.operation(5, SECTOR_BYTES - 1, isSame), SECTOR_BYTES - 1, 1);
  volume.write(1000, 2 * SECTOR_BYTES, SECTOR_BYTES);
  return volume;
}

test('each state is found to be a prefix, also where a write left a sector as it was', (t) => {
  for (const isSame of [false, true]) {
    const { history, states } = volumeWithLastByte(isSame);
    // States 2 and 3 are the same bytes then; the newest of them is named.
    t.deepEqual(
      states.map((state) => history.prefixOf(state, 0)),
      isSame ? [0, 1, 3, 3, 4] : [0, 1, 2, 3, 4],
    );
  }
});

test('a content that lacks an older write is no prefix, whether the newer one changed anything or not', (t) => {
  for (const isSame of [false, true]) {
    const { history, states, before } = volumeWithLastByte(isSame);
    const content = states[4]!.slice();
    content.set(before.subarray(SECTOR_BYTES, 2 * SECTOR_BYTES), SECTOR_BYTES);
    t.is(history.prefixOf(content, 0), 'no prefix: sector 2 has what key 4 wrote, but sector 1 does not have what key 2 wrote');
  }
});

test('the backing device may lack the interval before a write that changed nothing, and not before one that did', (t) => {
  for (const isSame of [false, true]) {
    const { history, states } = volumeWithLastByte(isSame);
    const content = states[1]!.slice();
    content.set(states[3]!.subarray(0, SECTOR_BYTES));
    const problem =
      'sector 1 does not have what key 2 wrote, but sector 0 has what key 3 wrote, and between them is the barrier after key 2';
    t.is(history.intervalProblem(content, 1), isSame ? undefined : problem);
    t.is(history.intervalProblem(content, 2), 'sector 1 does not have what key 2 wrote, and dirty_tail says that 2 keys are written back');
  }
});

test('after a loss of power the backing device may still have the older of two versions that are the same', (t) => {
  const { history, states } = volumeWithLastByte(true);
  // The backing device has state 1, whose sector 0 is that of state 3 too; the cache has all.
  history.goOnFrom(4, 100, states[1]);
  t.is(history.intervalProblem(states[1]!, 1), undefined);
  t.is(history.prefixOf(states[4]!, 4), 4);
});

test('no payload is damaged that an older version could be served instead of', (t) => {
  const inSector0 = (): number => 0;
  t.is(volumeWithLastByte(true).history.payloadIn(4, inSector0), undefined);
  t.is(volumeWithLastByte(false).history.payloadIn(4, inSector0)?.version.key, 3);
  t.is(volumeWithLastByte(true).history.payloadIn(2, inSector0)?.version.key, 1);
});
