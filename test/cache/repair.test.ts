// Damage, plan, repair: the cache can be mounted again, its volume is a state that it was in, what is not named as lost is there, and undoing the repair
// gives the same bytes as before it.

import type { ExecutionContext } from 'ava';
import test from 'ava';
import fc from 'fast-check';
import { examineCache } from '../../src/cache/check-cache.js';
import { applyPatches, undoPatches } from '../../src/cache/repair-apply.js';
import { decodeBackup, encodeBackup } from '../../src/cache/repair-backup.js';
import type { Patch } from '../../src/cache/repair-draft.js';
import { bytesAt } from '../../src/cache/repair-draft.js';
import type { RepairPlan } from '../../src/cache/repair-plan.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import type { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';
import { PcacheError } from '../../src/errors.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import {
  CACHE_INFO_OFFSETS,
  DIRTY_TAIL_OFFSETS,
  GATEWAY_BACKUP_OFFSET,
  KEY_TAIL_OFFSETS,
  SEGMENT_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
  SEGMENT_INFO_OFFSETS,
  SEGMENTS_OFFSET,
  SUPERBLOCK_OFFSET,
} from '../../src/media/layout.js';
import { bootIdOf } from '../support/model-rig.js';
import type { History, HistoryOptions } from './repair-support.js';
import { checksumOf, ksetPlaces, makeHistory, patchesOf, planOf, prefixOf, readAll } from './repair-support.js';

type Damage = (device: SimulatedCacheDevice) => void;

/** Zeros, or noise, from a place of the device on. */
function overwrite(device: SimulatedCacheDevice, position: number, lengthBytes: number, noise = false): void {
  const random = seededRandom(position + lengthBytes);
  const segment = Math.floor((position - SEGMENTS_OFFSET) / SEGMENT_BYTES);
  const bytes = position < SEGMENTS_OFFSET ? device.control.bytes : device.segment(segment as PhysicalSegmentId).bytes;
  const at = position < SEGMENTS_OFFSET ? position : (position - SEGMENTS_OFFSET) % SEGMENT_BYTES;
  const part = bytes.subarray(at, at + lengthBytes);
  if (noise) part.forEach((_, index) => (part[index] = Math.floor(random() * 256)));
  else part.fill(0);
}

function segmentAt(id: number, offset: number): number {
  return SEGMENTS_OFFSET + id * SEGMENT_BYTES + offset;
}

/** What each does, and how many of the 12 writes are left at least; 12 if nothing may be lost. */
const DAMAGES: readonly (readonly [name: string, damage: Damage, writesLeft: number])[] = [
  ['the superblock zeroed', (device) => overwrite(device, SUPERBLOCK_OFFSET, 64), 12],
  ["the superblock's page lost", (device) => overwrite(device, SUPERBLOCK_OFFSET, 4096, true), 12],
  ['one page of cache_info lost', (device) => overwrite(device, CACHE_INFO_OFFSETS[0], 4096, true), 12],
  ['the other page of cache_info lost', (device) => overwrite(device, CACHE_INFO_OFFSETS[1], 4096, true), 12],
  ['both pages of cache_info lost', (device) => overwrite(device, CACHE_INFO_OFFSETS[0], 8192, true), 12],
  ["the gateway header's page lost", (device) => overwrite(device, 0, 4096), 12],
  ['a copy of the gateway header full of noise', (device) => overwrite(device, 100, 900, true), 12],
  ['the backup of the gateway header full of noise', (device) => overwrite(device, GATEWAY_BACKUP_OFFSET + 8, 64, true), 12],
  ['key_tail lost', (device) => overwrite(device, KEY_TAIL_OFFSETS[0], 32, true), 12],
  ['dirty_tail lost', (device) => overwrite(device, DIRTY_TAIL_OFFSETS[0], 32, true), 12],
  ['both tails zeroed', (device) => overwrite(device, KEY_TAIL_OFFSETS[0], 64), 12],
  ['the page of the tails lost', (device) => overwrite(device, KEY_TAIL_OFFSETS[0], 4096, true), 12],
  ['a copy of dirty_tail lost', (device) => overwrite(device, DIRTY_TAIL_OFFSETS[1], 16, true), 12],
  ['a segment_info full of noise', (device) => overwrite(device, segmentAt(1, SEGMENT_INFO_OFFSETS[0]), 4096, true), 12],
  ['both copies of a segment_info lost', (device) => overwrite(device, segmentAt(2, 0), 8192, true), 12],
  ['the link of the last segment lost', (device) => overwrite(device, segmentAt(4, 0), 8192), 12],
  ['a generation that keys refer to lost', (device) => overwrite(device, segmentAt(1, SEGMENT_GENERATION_OFFSETS[0]), 32, true), 12],
  ['a generation that no key refers to lost', (device) => overwrite(device, segmentAt(3, SEGMENT_GENERATION_OFFSETS[0]), 64, true), 12],
  ['all of a segment but its data lost', (device) => overwrite(device, segmentAt(1, 0), SEGMENT_DATA_OFFSET, true), 12],
  ...Array.from({ length: 12 }, (_, index) => {
    const damage: Damage = (device) => overwrite(device, segmentAt(0, SEGMENT_DATA_OFFSET + ksetPlaces(device)[index]! + 30), 8, true);
    // The first four are written back.
    return [`kset ${index} damaged`, damage, index < 4 ? 12 : index] as const;
  }),
  ['the start of the log lost', (device) => overwrite(device, segmentAt(0, SEGMENT_DATA_OFFSET), 100), 12],
  ['64 bytes in the middle of the log zeroed', (device) => overwrite(device, segmentAt(0, SEGMENT_DATA_OFFSET + 384), 64), 6],
  ['the whole log lost', (device) => overwrite(device, segmentAt(0, SEGMENT_DATA_OFFSET), 4096), 4],
];

function sectorsThatDiffer(a: Uint8Array, b: Uint8Array): number[] {
  const sectors: number[] = [];
  for (let at = 0; at < a.length; at += 512) if (Buffer.compare(a.subarray(at, at + 512), b.subarray(at, at + 512)) !== 0) sectors.push(at);
  return sectors;
}

/** Whatever differs from the newest state is named, unless there are writes that nobody can name. */
function lossIsNamed(t: ExecutionContext, { loss }: RepairPlan, bytes: Uint8Array, history: History, name: string): void {
  const named = (at: number): boolean => {
    return loss?.ranges.some(({ offsetBytes, lengthBytes }) => at >= offsetBytes && at < offsetBytes + lengthBytes) === true;
  };
  const unnamed = sectorsThatDiffer(bytes, history.states.at(-1)!).filter((at) => !named(at));
  t.true(
    unnamed.length === 0 || (loss !== undefined && loss.unreadableWritesMax !== 0),
    `${name}: ${unnamed.length} sectors, first ${unnamed[0]}`,
  );
}

function problemsOf(device: SimulatedCacheDevice): string[] {
  const { findings } = examineCache(device, { bootId: bootIdOf(1) });
  return findings.filter(({ severity }) => severity !== 'info').map(({ place, message }) => `${place}: ${message}`);
}

function repairedAndUndone(t: ExecutionContext, name: string, damage: Damage, writesLeft: number, options: HistoryOptions): void {
  const history = makeHistory(options);
  const { rig, states, writtenBack } = history;
  damage(rig.device);
  const before = checksumOf(rig.device);
  t.true(problemsOf(rig.device).length > 0, `${name}: check finds it`);
  const plan = planOf(rig.device);
  t.deepEqual(plan.refusals, [], name);
  t.true(plan.steps.length > 0, name);
  t.is(checksumOf(rig.device), before, `${name}: a plan changes nothing`);
  const patches = patchesOf(plan);
  applyPatches(rig.device, patches);
  t.deepEqual(problemsOf(rig.device), [], name);
  t.deepEqual(planOf(rig.device).steps, [], `${name}: once is enough`);

  // The backup is enough to take it back.
  const backup = decodeBackup(encodeBackup({ uuid: 'u', deviceBytes: rig.device.sizeBytes, madeAt: '', patches }));
  undoPatches(rig.device, backup.patches);
  t.is(checksumOf(rig.device), before, `${name}: undone`);
  applyPatches(rig.device, backup.patches);

  const volume = rig.open();
  const bytes = readAll(volume);
  const prefix = prefixOf(history, bytes);
  t.true(prefix >= Math.max(writesLeft, writtenBack), `${name}: ${prefix} writes are left`);
  t.is(plan.loss === undefined, prefix === states.length - 1, `${name}: what is lost is said to be`);
  lossIsNamed(t, plan, bytes, history, name);
  // It can be used, and nothing comes back from behind the cut.
  const more = new Uint8Array(1024).fill(0xee);
  volume.write(1_000_000 - (1_000_000 % 512), more);
  volume.flush();
  volume.close();
  const again = rig.open();
  bytes.set(more, 1_000_000 - (1_000_000 % 512));
  t.true(Buffer.compare(readAll(again), bytes) === 0, `${name}: the same again after a write`);
  again.writeBackAll();
  again.close();
}

for (const [name, damage, writesLeft] of DAMAGES) {
  test(`repaired: ${name}`, (t) => {
    repairedAndUndone(t, name, damage, writesLeft, {});
    // Without a close nothing says that there was a twelfth kset.
    if (name !== 'kset 11 damaged') repairedAndUndone(t, name, damage, writesLeft, { dataCrc: false, crash: true });
  });
}

test('a repair that is cut off at any persist leaves the cache refused, or as it is after the repair', (t) => {
  const history = makeHistory({ persistence: 'synced' });
  const { device } = history.rig;
  const restore = keeping(device);
  for (const [name, damage] of DAMAGES) {
    damage(device);
    const restoreDamaged = keeping(device);
    const patches = patchesOf(planOf(device, 2));
    applyPatches(device, patches);
    const wanted = openedAs(history);
    t.not(wanted, 'refused', name);
    // Every persist of the smaller repairs, some of a long one.
    const step = Math.max(1, Math.floor(patches.length / 6));
    for (let cutOff = 1; cutOff <= patches.length; cutOff += step) {
      restoreDamaged();
      const first = device.persists;
      device.onPersist = (n) => {
        if (n === first + cutOff) throw new SimulatedCrash();
      };
      t.throws(() => applyPatches(device, patches), { instanceOf: SimulatedCrash });
      device.onPersist = undefined;
      tearPatches(device, patches, seededRandom(cutOff));
      const outcome = openedAs(history);
      t.true(outcome === 'refused' || outcome === wanted, `${name}: cut off at ${cutOff}: ${outcome} instead of ${wanted}`);
      // The repair can be taken back, or begun anew.
      const restoreTorn = keeping(device);
      undoPatches(device, patches);
      const undone = checksumOf(device);
      restoreDamaged();
      t.is(undone, checksumOf(device), `${name}: undone after ${cutOff}`);
      restoreTorn();
      const again = planOf(device, 2);
      t.deepEqual(again.refusals, [], `${name}: cut off at ${cutOff}`);
      applyPatches(device, patchesOf(again));
      t.is(openedAs(history), wanted, `${name}: cut off at ${cutOff} and begun again`);
    }
    restore();
  }
});

/** Where the structures are; the log of the history is shorter than 1,500 bytes. */
const place = fc.oneof(
  { weight: 4, arbitrary: fc.nat(SEGMENTS_OFFSET - 1) },
  { weight: 2, arbitrary: fc.tuple(fc.nat(4), fc.nat(SEGMENT_DATA_OFFSET - 1)).map(([id, at]) => segmentAt(id, at)) },
  { weight: 4, arbitrary: fc.nat(1500).map((at) => segmentAt(0, SEGMENT_DATA_OFFSET + at)) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(0, SUPERBLOCK_OFFSET, ...CACHE_INFO_OFFSETS, ...KEY_TAIL_OFFSETS, segmentAt(0, SEGMENT_DATA_OFFSET)),
  },
);
const anyDamage = fc.array(fc.tuple(place, fc.constantFrom(1, 8, 24, 64, 512, 4096), fc.boolean()), { minLength: 1, maxLength: 4 });

test('whatever is damaged of the structures, a repair is refused or leaves a state of the volume, and names what is missing', (t) => {
  const history = makeHistory();
  const { device } = history.rig;
  const restore = keeping(device);
  let repaired = 0;
  fc.assert(
    fc.property(anyDamage, (list) => {
      try {
        for (const [position, lengthBytes, noise] of list) overwrite(device, position, Math.min(lengthBytes, roomAt(position)), noise);
        const damaged = checksumOf(device);
        const plan = planOf(device);
        if (checksumOf(device) !== damaged) throw new Error('a plan that was taken back left something');
        if (plan.refusals.length > 0) return;
        applyPatches(device, patchesOf(plan));
        if (plan.steps.length > 0) repaired++;
        const bytes = readAll(history.rig.open({ readOnly: true }));
        const prefix = prefixOf(history, bytes);
        if (prefix < history.writtenBack) throw new Error(`no state that the volume was in since the last writeback: ${prefix}`);
        const mayMissTheNewest = plan.steps.some(({ consequence }) => consequence.includes('that can not be noticed'));
        if (plan.loss === undefined && !mayMissTheNewest && prefix < history.states.length - 1)
          throw new Error('writes are missing, and nothing was said');
        const left = problemsOf(device).filter((problem) => !problem.includes('something else than zeros follows'));
        if (left.length > 0) throw new Error(`still wrong: ${left.join('; ')}`);
      } catch (error) {
        // Nothing of a cache may be left.
        if (!(error instanceof PcacheError) || error.code !== 'not-a-cache') throw error;
      } finally {
        restore();
      }
    }),
    { numRuns: 150 },
  );
  t.true(repaired > 30, `${repaired} repaired`);
});

/** How much damage may reach from a place on: that of the structures of a segment not into its data, which are payload here but for the log's segment. */
function roomAt(position: number): number {
  const at = (position - SEGMENTS_OFFSET) % SEGMENT_BYTES;
  return position >= SEGMENTS_OFFSET && at < SEGMENT_DATA_OFFSET ? SEGMENT_DATA_OFFSET - at : Infinity;
}

/** Bytes that any damage or repair here can change; the result puts them back. */
function keeping(device: SimulatedCacheDevice): () => void {
  const ranges = [device.control.bytes];
  for (let id = 0; id < device.segmentCount; id++) ranges.push(device.segment(id as PhysicalSegmentId).bytes.subarray(0, 64 * 1024));
  const kept = ranges.map((bytes) => Uint8Array.from(bytes));
  return () => {
    for (const [index, bytes] of ranges.entries()) bytes.set(kept[index]!);
    for (let id = 0; id < device.segmentCount; id++) device.persist(segmentAt(id, 0), 64 * 1024);
    device.persist(0, SEGMENTS_OFFSET);
  };
}

/** Loss of power: of each unit of 64 bytes that a patch changes and that is not durable yet, the old or the new is there. */
function tearPatches(device: SimulatedCacheDevice, patches: readonly Patch[], random: () => number): void {
  // Patches are made durable one by one, so only the one that was under way can be torn: the last whose bytes are seen.
  const index = patches.findLastIndex(
    ({ deviceOffset, after }) => Buffer.compare(bytesAt(device, deviceOffset, after.length), after) === 0,
  );
  const { deviceOffset, before } = patches[index]!;
  const bytes = bytesAt(device, deviceOffset, before.length);
  for (let at = 0; at < before.length; at += 64 - ((deviceOffset + at) % 64)) {
    const end = Math.min(before.length, at + 64 - ((deviceOffset + at) % 64));
    if (random() < 0.5) bytes.set(before.subarray(at, end), at);
  }
}

/** How many writes a mount would serve, after a loss of power. */
function openedAs(history: History): string {
  const { rig } = history;
  rig.boot = 2;
  try {
    return String(prefixOf(history, readAll(rig.open({ readOnly: true }))));
  } catch (error) {
    if (error instanceof PcacheError && error.code !== 'internal') return 'refused';
    throw error;
  }
}
