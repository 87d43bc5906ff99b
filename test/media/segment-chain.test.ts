import test from 'ava';
import fc from 'fast-check';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { readSegmentChain } from '../../src/media/segment-chain.js';
import type { SegmentInfo } from '../../src/media/segment-info.js';
import type { RecordRead } from '../../src/media/two-copy-record.js';

const id = (number: number): PhysicalSegmentId => number as PhysicalSegmentId;

function infoFrom(next: readonly (number | undefined | 'bad')[]): (segment: PhysicalSegmentId) => RecordRead<SegmentInfo> {
  return (segment) => {
    const link = next[segment];
    if (link === 'bad') return { ok: false, reason: 'no valid copy of segment_info', blank: false };
    return { ok: true, index: 0, seq: 1, otherValid: true, value: { next: link === undefined ? undefined : id(link) } };
  };
}

function chain(first: number, segmentCount: number, next: readonly (number | undefined | 'bad')[]) {
  return readSegmentChain({ firstSegment: id(first), segmentCount, deviceSegmentCount: next.length }, infoFrom(next));
}

test('a chain in any order gives the physical segment of each place', (t) => {
  t.deepEqual(chain(2, 4, [1, undefined, 3, 0]), { ok: true, value: [2, 3, 0, 1].map(id) });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }).chain((count) => fc.shuffledSubarray([...Array(count).keys()], { minLength: count })),
      (order) => {
        const next: (number | undefined)[] = order.map(() => undefined);
        for (const [place, segment] of order.entries()) next[segment] = order[place + 1];
        t.deepEqual(chain(order[0]!, order.length, next), { ok: true, value: order.map(id) });
      },
    ),
  );
});

test('a chain may use fewer segments than the device has, and n_segs ends it', (t) => {
  t.deepEqual(chain(0, 2, [1, 2, 0]), { ok: true, value: [0, 1].map(id) });
});

test('a chain that loops, ends early, leaves the device or meets a bad record is refused with its reason', (t) => {
  const reasonOf = (result: ReturnType<typeof chain>): string => (result.ok ? 'accepted' : result.reason);
  t.is(reasonOf(chain(0, 3, [1, 0, undefined])), 'the segment chain comes back to segment 0 at place 2');
  t.is(reasonOf(chain(0, 3, [0, 1, 2])), 'the segment chain comes back to segment 0 at place 1');
  t.is(reasonOf(chain(0, 3, [1, undefined, undefined])), 'the segment chain ends after 2 of 3 segments');
  t.is(reasonOf(chain(0, 3, [1, 7, undefined])), 'place 2 of the segment chain is segment 7, which is not on the device');
  t.is(reasonOf(chain(3, 3, [1, 2, undefined])), 'place 0 of the segment chain is segment 3, which is not on the device');
  t.is(reasonOf(chain(0, 4, [1, 2, undefined])), 'a chain of 4 segments on a device of 3');
  t.is(reasonOf(chain(0, 3, [1, 'bad', undefined])), 'segment 1, place 1 of the segment chain: no valid copy of segment_info');
  t.is(reasonOf(chain(0, 3, [1, 2, 'bad'])), 'segment 2, place 2 of the segment chain: no valid copy of segment_info');
});
