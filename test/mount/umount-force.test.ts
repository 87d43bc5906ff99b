// `pcache umount --force`: users that wait for a backing device which is full, dead or silent get errors, the mount goes, and every write that was acknowledged
// is there at the next mount.

import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { errno } from '../../src/device/errno-codes.js';
import { listLoops } from '../../src/device/loop-device.js';
import { loadFuseNative } from '../../src/fuse/libfuse-library.js';
import { whyNoRings } from '../../src/fuse/ring-support.js';
import { FaultMount } from '../support/fault-mount.js';
import { TAKEN_AWAY, detachIfOver, noLoopDevices } from '../support/loop.js';
import { USER_VOLUME_BYTES, mountedAsUser, whyNoOtherUser } from '../support/mounted-as-user.js';
import { type Job, waitUntil } from '../support/mounted-commands.js';
import { CACHE_BYTES_MIN, MIB, mountTest, mounted, type TestGateway } from '../support/mounted.js';

const VOLUME_BYTES = 2 * CACHE_BYTES_MIN;
const WAIT_MS = 60_000;
/** In memory that is not aligned, and still in one request. */
const BLOCK_BYTES = MIB / 2;
/** Writes block after block until one fails, and says how many bytes of each were taken. */
const WRITER = `
const fs = require('node:fs');
const [file, size, count] = process.argv.slice(1).map((each, index) => (index === 0 ? each : Number(each)));
const fd = fs.openSync(file, 'r+');
for (let i = 0, written = size; i < count && written === size; i++) {
  try {
    written = fs.writeSync(fd, Buffer.alloc(size, i + 1), 0, size, i * size);
    fs.writeSync(1, written + '\\n');
  } catch (error) {
    fs.writeSync(1, error.code + '\\n');
    break;
  }
}
`;

function startWriter(gateway: TestGateway): Job {
  return gateway.startProgram(process.execPath, ['-e', WRITER, gateway.volume, String(BLOCK_BYTES), String(VOLUME_BYTES / BLOCK_BYTES)]);
}

/** Bytes that the writer was told are written. */
function acknowledgedBytes(writer: Job): number {
  return writer.stdout
    .split('\n')
    .filter((line) => /^\d+$/.test(line))
    .reduce((sum, line) => sum + Number(line), 0);
}

/** Until not one more byte is written, and somebody waits. */
async function waitUntilStuck(gateway: TestGateway, state: string): Promise<void> {
  let written = -1;
  await waitUntil(
    async () => {
      const status = await gateway.status();
      const isStuck = status.state === state && status.cache_full_waits > 0 && status.write_bytes === written;
      written = status.write_bytes;

      return isStuck;
    },
    `the cache is full, and the state ${state}`,
    WAIT_MS,
  );
}

/** Whether a file begins with so many bytes of what the writer writes. */
function hasWritten(file: string, lengthBytes: number): boolean {
  const fd = openSync(file, 'r');
  const bytes = Buffer.alloc(BLOCK_BYTES);
  try {
    for (let at = 0; at < lengthBytes; at += BLOCK_BYTES) {
      const length = Math.min(BLOCK_BYTES, lengthBytes - at);
      readSync(fd, bytes, 0, length, at);
      if (!bytes.subarray(0, length).equals(Buffer.alloc(length, at / BLOCK_BYTES + 1))) return false;
    }
    return true;
  } finally {
    closeSync(fd);
  }
}

interface Kind {
  readonly mountOptions: string;
  readonly lacks: string | undefined;
}

const kinds: readonly Kind[] = [
  { mountOptions: 'workers=2,flush_on_stop', lacks: undefined },
  { mountOptions: 'transport=io-uring', lacks: whyNoRings() },
  { mountOptions: 'transport=libfuse', lacks: whyNoLibfuse() },
];

function whyNoLibfuse(): string | undefined {
  try {
    loadFuseNative();
    return undefined;
  } catch {
    return 'no fuse-native';
  }
}

for (const { mountOptions, lacks } of kinds) {
  mountTest(`writers that wait for a failing device get errors, and what was acknowledged stays (${mountOptions})`, lacks, async (t) => {
    const device = await FaultMount.start(t, { sizeBytes: VOLUME_BYTES });
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, backingFile: device.file, mountOptions });
    await device.set({ writeErrno: errno.ENOSPC });
    const writer = startWriter(gateway);
    await waitUntilStuck(gateway, 'backing-error');

    // Nothing else helps, and it says what does.
    const refused = await gateway.pcache('umount', gateway.mountpoint);
    t.is(refused.status, 1);
    t.true(refused.stderr.includes(`pcache umount ${gateway.mountpoint} --force ends their calls with errors`), refused.stderr);
    t.true(gateway.isMounted);
    t.false(writer.ended);

    const { status, stdout, stderr } = await gateway.pcache('--json', 'umount', gateway.mountpoint, '--force');
    t.is(status, 0, stderr);
    const said = JSON.parse(stdout) as { dirty_bytes: number };
    t.like(said, { mountpoint: gateway.mountpoint, flushed_bytes: 0, forced: true, loop_devices: [] });
    t.deepEqual(gateway.leftovers(), []);
    await writer.finished(WAIT_MS);
    const bytes = acknowledgedBytes(writer);
    t.true(bytes >= MIB && said.dirty_bytes >= bytes, `${bytes} of ${said.dirty_bytes} bytes`);
    t.true(bytes < VOLUME_BYTES, 'not all was written');

    await device.heal();
    t.like(JSON.parse(await gateway.ok('--json', 'status', gateway.cache)), { closed_in_order: true });
    await gateway.mount();
    await gateway.umount('--flush');
    t.true(hasWritten(device.bytesFile, bytes));
  });
}

mountTest('a device that gives no answer keeps the daemon, but no user and no mount', undefined, async (t) => {
  const device = await FaultMount.start(t, { sizeBytes: VOLUME_BYTES });
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, backingFile: device.file });
  await device.set({ hangs: 1 });
  const writer = startWriter(gateway);
  await waitUntilStuck(gateway, 'cache-full');
  // What a user sees who tries everything.
  writer.child.kill('SIGKILL');
  const forcing = gateway.start('umount', gateway.mountpoint, '--force');
  await waitUntil(() => writer.ended && !gateway.isMounted, 'the user and the mount are gone', WAIT_MS);
  const bytes = acknowledgedBytes(writer);
  t.true(bytes >= MIB);
  await device.heal();
  const { status, stdout, stderr } = await forcing.finished(WAIT_MS);
  t.is(status, 0, stderr);
  t.regex(stdout, /: unmounted by force; .* of dirty data stay in /);
  t.deepEqual(gateway.leftovers(), []);
  await gateway.mount();
  await gateway.umount('--flush');
  t.true(hasWritten(device.bytesFile, bytes));
});

mountTest('a volume in use goes by force, and the loop device over it is named', noLoopDevices, async (t) => {
  const gateway = await mounted(t, { volumeBytes: 8 * MIB });
  const device = await gateway.ok('loop', 'attach', gateway.mountpoint);
  t.teardown(() => detachIfOver(device, gateway.volume, TAKEN_AWAY));
  const both = await gateway.pcache('umount', gateway.mountpoint, '--flush', '--force');
  t.is(both.status, 2);
  t.true(gateway.isMounted);
  const refused = await gateway.pcache('umount', gateway.mountpoint);
  t.is(refused.status, 1);
  t.notRegex(refused.stderr, /--force/, 'whoever does not wait can be ended');
  const { status, stdout, stderr } = await gateway.pcache('--json', 'umount', gateway.mountpoint, '--force');
  t.is(status, 0, stderr);
  t.like(JSON.parse(stdout), { forced: true, dirty_bytes: 0, loop_devices: [device] });
  t.regex(stderr, new RegExp(`${device} is still attached to the dead volume`));
  t.deepEqual(gateway.leftovers(), []);
  t.is(await gateway.ok('loop', 'detach', device), `${device} detached`);
  await waitUntil(() => listLoops().every((loop) => loop.device !== device), 'the device is gone');
});

mountTest('a user who is not root ends a mount in use by force', whyNoOtherUser(), async (t) => {
  const { gateway, prefix, isMounted } = await mountedAsUser(t);
  const [program, ...rest] = prefix;
  // It ends at the first error, and some time anyhow.
  const script =
    'exec 3<> "$0"; for i in $(seq 200); do dd if=/dev/urandom of=/proc/self/fd/3 bs=1M count=1 conv=notrunc status=none 2> /dev/null || exit 7; echo written; sleep 0.2; done';
  const user = gateway.startProgram(program, [...rest, 'sh', '-c', script, gateway.volume]);
  await waitUntil(() => user.ended || user.stdout.includes('written'), 'the volume is open');
  t.is((await gateway.pcache('umount', gateway.mountpoint)).status, 1);
  t.true(isMounted());
  t.regex(await gateway.ok('umount', gateway.mountpoint, '--force'), /: unmounted by force; /);
  t.false(isMounted());
  t.is((await user.finished(WAIT_MS)).status, 7, 'its user got an error');
  await gateway.mount();
  await gateway.umount('--flush');
  t.is(statSync(gateway.backing).size, USER_VOLUME_BYTES);
  t.true(
    readFileSync(gateway.backing)
      .subarray(0, MIB)
      .some((byte) => byte !== 0),
    'what it wrote',
  );
});
