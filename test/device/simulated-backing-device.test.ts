import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { errno } from '../../src/device/errno-codes.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedBackingDevice, withErrors } from '../../src/device/simulated-backing-device.js';
import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';

const MIB = 1024 * 1024;
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

test('writes are read back across chunks, and what was never written is zeros', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: MIB });
  device.write(65536 - 512, filled(2048, 4), 512, 1024);
  const back = filled(4096, 255);
  device.read(65536 - 1024, back, 1024, 2048);
  t.deepEqual([...new Set(back.subarray(0, 1024))], [255]);
  t.deepEqual([...new Set(back.subarray(1024, 1536))], [0]);
  t.deepEqual([...new Set(back.subarray(1536, 2560))], [4]);
  t.deepEqual([...new Set(back.subarray(2560, 3072))], [0]);
  t.deepEqual([...new Set(back.subarray(3072))], [255]);
  t.deepEqual(device.calls, { read: 1, write: 1, flush: 0 });
});

test('what was flushed survives every crash, later sectors each survive or not', (t) => {
  const outcomes = new Set<string>();
  for (let seed = 0; seed < 40; seed++) {
    const device = new SimulatedBackingDevice({ sizeBytes: MIB });
    device.write(0, filled(1024, 1), 0, 1024);
    device.flush();
    device.write(512, filled(1024, 2), 0, 1024);
    device.crash(seededRandom(seed));
    const content = device.content(0, 1536);
    for (const sector of [0, 512, 1024]) t.is(new Set(content.subarray(sector, sector + 512)).size, 1);
    outcomes.add([content[0], content[512], content[1024]].join());
    device.crash(() => 0);
    t.deepEqual(device.content(0, 1536), content, 'the outcome is durable');
  }
  t.deepEqual([...outcomes].sort(), ['1,1,0', '1,1,2', '1,2,0', '1,2,2']);
});

test('a volume of 16 TiB takes memory only where it was written', (t) => {
  const sizeBytes = 16 * 1024 ** 4;
  const device = new SimulatedBackingDevice({ sizeBytes });
  device.write(sizeBytes - 512, filled(512, 8), 0, 512);
  t.is(device.content(sizeBytes - 512)[0], 8);
  t.true(device.memoryBytes <= 65536);
});

test('filled bytes are durable at once and leave unflushed ones as they are', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: MIB });
  device.write(0, filled(512, 1), 0, 512);
  device.fill(512, filled(70_144, 2));
  device.crash(() => 0);
  t.deepEqual([device.content(0, 1)[0], device.content(512, 1)[0], device.content(70_144, 512)[511]], [0, 2, 2]);
});

test('a call that a hook ends has no effect', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: MIB });
  device.onCall = ({ kind, n }) => {
    if (kind === 'write' && n === 2) throw new SimulatedCrash();
  };
  device.write(0, filled(512, 1), 0, 512);
  t.throws(() => device.write(0, filled(512, 2), 0, 512), { instanceOf: SimulatedCrash });
  t.is(device.content(0, 1)[0], 1);
});

test('a layer of errors fails the calls it chooses, before or after they took effect', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: MIB, identity: 'x' });
  const layered = withErrors(device, ({ kind, n, offsetBytes }) => {
    if (kind === 'flush') return n === 1 ? errno.EIO : false;
    if (kind === 'write') return offsetBytes === 512 ? errno.ENOSPC : offsetBytes === 1024 ? { after: errno.EIO } : false;
    return false;
  });
  t.is(layered.identity, 'x');
  layered.write(0, filled(512, 1), 0, 512);
  t.is(t.throws(() => layered.write(512, filled(512, 1), 0, 512), { instanceOf: PcacheError }).code, 'no-space');
  const after = t.throws(() => layered.write(1024, filled(512, 1), 0, 512), { instanceOf: PcacheError });
  t.is(after.message, 'backing device with errors: write of 512 bytes at 1024: input/output error (EIO)');
  t.deepEqual([device.content(0, 1)[0], device.content(512, 1)[0], device.content(1024, 1)[0]], [1, 0, 1]);
  t.is(t.throws(() => layered.flush(), { instanceOf: PcacheError }).errno, errno.EIO);
  const lost = device.fork();
  lost.crash(() => 0);
  t.is(lost.content(0, 1)[0], 0, 'a flush that failed made nothing durable');
  layered.flush();
  device.crash(() => 0);
  t.is(device.content(0, 1)[0], 1);
});

test('the contract of a backing device holds: sectors only, within the device, not when closed or read-only', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: 4096, readOnly: true });
  const memory = new Uint8Array(1024);
  t.throws(() => device.read(1, memory, 0, 512), { instanceOf: RangeError });
  t.throws(() => device.read(4096, memory, 0, 512), { instanceOf: RangeError });
  t.throws(() => device.read(0, memory, 1000, 512), { instanceOf: RangeError });
  t.is(t.throws(() => device.write(0, memory, 0, 512), { instanceOf: PcacheError }).code, 'io');
  device.close();
  t.is(t.throws(() => device.read(0, memory, 0, 512), { instanceOf: PcacheError }).code, 'closed');
  device.killProcess();
  t.notThrows(() => device.read(0, memory, 0, 512));
});
