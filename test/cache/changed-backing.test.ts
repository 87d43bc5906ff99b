// A backing device that was written to while the cache was closed: noticed if it can be proved, and never suspected without a proof.

import test from 'ava';
import { examineCache } from '../../src/cache/check-cache.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { PcacheError } from '../../src/errors.js';
import type { BackingPrint } from '../../src/media/backing-print.js';
import { PRINT_BYTES_MAX } from '../../src/media/backing-print.js';
import { readCacheInfo, writeCacheInfo } from '../../src/media/cache-info.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import { systemError } from '../../src/device/system-error.js';
import { KernelModel } from '../support/kernel-model.js';
import { payload } from '../support/model-payload.js';
import { fingerprint, layerOverBacking, MIB, Rig, sameBytes } from '../support/model-rig.js';

const VOLUME_BYTES = 16 * MIB;

/** A cache with two writes that was closed in order: both dirty, or both written back. */
function closedRig({ dirty }: { dirty: boolean }): Rig {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES });
  const volume = rig.open();
  volume.write(8192, payload(1, 4096));
  volume.write(MIB, payload(2, 4096));
  if (!dirty) volume.writeBackAll();
  volume.close();
  return rig;
}

function printIn({ device }: Rig): BackingPrint | undefined {
  const header = readGatewayHeader(device.control.bytes);
  if (!header.ok) throw new Error(header.reason);
  return header.value.backingPrint;
}

function refusal(open: () => unknown): PcacheError | undefined {
  try {
    open();
    return undefined;
  } catch (error) {
    if (error instanceof PcacheError) return error;
    throw error;
  }
}

for (const dirty of [false, true]) {
  test(`a cache with ${dirty ? 'dirty' : 'clean'} data is refused once the start of its backing device has changed, unless it is adopted`, (t) => {
    const rig = closedRig({ dirty });
    rig.backing.fill(PRINT_BYTES_MAX - 512, payload(3, 512));
    const before = fingerprint(rig.device);
    for (const readOnly of [false, true]) {
      const error = refusal(() => rig.open({ readOnly }));
      t.is(error?.code, 'mismatch');
      t.regex(
        error!.message,
        /^the backing device was written to after the cache was closed: its first 256 KiB are not what they were then; /,
      );
      t.regex(
        error!.hint!,
        dirty ? /^8192 bytes that only the cache has .* -o adopt.* pcache format --force/ : /^Nothing is dirty, so pcache format /,
      );
    }
    t.is(fingerprint(rig.device), before);
    const print = rig.backing.print({ durable: false });
    t.like(
      examineCache(rig.device, { backing: { sizeBytes: VOLUME_BYTES, identity: 'simulated:0', print } }).findings.filter(
        ({ severity }) => severity !== 'info',
      ),
      [{ severity: 'error', code: 'backing-changed' }],
    );
    rig.open({ adopt: true }).close();
    t.is(
      refusal(() => rig.open({ readOnly: true }).close()),
      undefined,
    );
  });
}

test('a change behind what the print is of is not noticed, and opening and closing is no change', (t) => {
  const rig = closedRig({ dirty: true });
  rig.backing.fill(PRINT_BYTES_MAX, payload(3, 512));
  for (let count = 0; count < 20; count++) {
    const volume = rig.open();
    volume.write(count * 4096, payload(count, 4096));
    if (count % 3 === 0) volume.writeBackAll();
    volume.close();
  }
  t.not(printIn(rig), undefined);
});

test('of a smaller backing device all is looked at', (t) => {
  const rig = new Rig({ volumeBytes: 4096 });
  rig.open().close();
  t.is(printIn(rig)?.bytes, 4096);
  rig.backing.fill(4096 - 512, payload(3, 512));
  t.regex(refusal(() => rig.open())!.message, /its first 4 KiB are not/);
});

test('the time of change is compared if it is known of both', (t) => {
  const at = (seconds: number | undefined) => (rig: Rig) =>
    layerOverBacking(rig.backing, {
      print: (options) => ({
        ...rig.backing.print(options),
        ...(seconds === undefined ? {} : { changed: { seconds, nanoseconds: 5 } }),
      }),
    });
  for (const [then, now, isRefused] of [
    [1_700_000_000, 1_700_000_000, false],
    [1_700_000_000, 1_700_000_001, true],
    // Put back by a backup tool.
    [1_700_000_000, 1_600_000_000, true],
    [1_700_000_000, undefined, false],
    [undefined, 1_700_000_000, false],
  ] as const) {
    const rig = closedRig({ dirty: false });
    rig.open({ backing: at(then)(rig) }).close();
    const error = refusal(() => rig.open({ backing: at(now)(rig), readOnly: true }));
    t.is(error !== undefined, isRefused);
    if (isRefused)
      t.regex(error!.message, /: it was last changed at 20\d\d-.*\.000000005Z, not at 2023-11-14T22:13:20\.000000005Z as then; /);
  }
});

test('after a crash there is no print, and nothing is refused', (t) => {
  const rig = closedRig({ dirty: true });
  const volume = rig.open();
  t.is(printIn(rig), undefined);
  volume.close({ crash: true });
  rig.killProcess();
  rig.backing.fill(0, payload(3, 512));
  rig.open().close({ crash: true });
  rig.losePower(seededRandom(1), 64);
  rig.open().close();
  t.not(printIn(rig), undefined);
});

test('a backing device that can not be read when the cache is closed is closed without a print, and one that can not be read is opened', (t) => {
  const rig = closedRig({ dirty: false });
  const fails = layerOverBacking(rig.backing, {
    print: () => {
      throw systemError('simulated', 5, 'io');
    },
  });
  rig.open({ backing: fails }).close();
  t.is(printIn(rig), undefined);
  rig.open().close();
  t.not(printIn(rig), undefined);
  t.is(
    refusal(() => rig.open({ backing: fails, readOnly: true })),
    undefined,
  );
});

test('what the kernel did with the cache meanwhile is no reason to refuse', (t) => {
  const rig = closedRig({ dirty: true });
  const kernel = new KernelModel(rig.device, rig.backing);
  kernel.write(0, payload(5, 4096));
  kernel.flush();
  t.is(kernel.writeBack(), 2);
  rig.backing.fill(512, payload(6, 512));
  const volume = rig.open();
  t.true(sameBytes(volume.read(8192, 4096), payload(1, 4096)));
  volume.close();
});

test('a kernel that starts a cache stores cache_info, and what it may have written back before it came to store a tail is no reason to refuse', (t) => {
  const rig = closedRig({ dirty: true });
  rig.backing.fill(8192, payload(1, 4096));
  t.is(refusal(() => rig.open({ readOnly: true }))?.code, 'mismatch');
  const control = rig.device.control.bytes;
  const info = readCacheInfo(control, rig.device.segmentCount);
  if (!info.ok) throw new Error(info.reason);
  writeCacheInfo(control, info.value, info);
  t.is(
    refusal(() => rig.open().close()),
    undefined,
  );
});

test('a device that can not say its print is never refused', (t) => {
  const backing = new SimulatedBackingDevice({ sizeBytes: VOLUME_BYTES });
  const rig = closedRig({ dirty: false });
  rig.backing.fill(0, payload(3, 512));
  t.not(printIn(rig), undefined);
  t.is(
    refusal(() => rig.open({ backing: layerOverBacking(backing, {}), readOnly: true })),
    undefined,
  );
});

for (const dirty of [false, true]) {
  test(`a backing device that was cut while a cache with ${dirty ? 'dirty' : 'clean'} data was open is refused afterwards, unless it is adopted`, (t) => {
    const rig = new Rig({ volumeBytes: VOLUME_BYTES });
    let lostBytes = 0;
    const cut = layerOverBacking(rig.backing, {
      print: (options) => rig.backing.print(options),
      requireWhole() {
        if (lostBytes > 0) throw new PcacheError('mismatch', 'cut');
      },
    });
    const volume = rig.open({ backing: cut });
    volume.write(8192, payload(1, 4096));
    if (!dirty) volume.writeBackAll();
    lostBytes = 512;
    if (dirty) t.throws(() => volume.writeBackAll(), { code: 'mismatch' });
    volume.close();
    // It has its length again, and all else that a print is of.
    lostBytes = 0;
    const error = refusal(() => rig.open());
    t.is(error?.code, 'mismatch');
    t.regex(error!.message, /^the backing device was cut while it was in use, /);
    t.regex(error!.hint!, dirty ? /^Bring its content back .* the 4096 bytes .* -o adopt/ : /^Bring its content back .* pcache format/);
    rig.open({ adopt: true }).close();
    rig.open().close();
  });
}
