// Short of memory, with dirty pages that only the gateway can clean: the volume is under ext4 on a loop device, and a writer in a memory cgroup far too
// small for what it writes fills the page cache with it. The backing device is slow, and for a while gives no answer at all.
//
// If the gateway is in the same cgroup, the kernel needs the gateway to get memory back while the gateway needs memory. That case depends on
// PR_SET_IO_FLUSHER, which needs CAP_SYS_RESOURCE. Without it, every thread of the gateway comes to wait, in folio_wait_writeback, for
// pages that it should write itself (seen with memory cgroups of version 1 on Linux 6.18).

import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { noLoopDevices } from '../support/loop.js';
import { FaultMount } from '../support/fault-mount.js';
import { MemoryGroup, noIoFlusher, noMemoryGroups } from '../support/fault-memory.js';
import { digestOf, lacking, runOk, waitUntil } from '../support/mounted-commands.js';
import { fileSystemKinds, mountOn, unmountFrom } from '../support/mounted-loop.js';
import { MIB, mountTest, mounted } from '../support/mounted.js';

const VOLUME_BYTES = 400 * MIB;
const FILE_BYTES = 240 * MIB;
const WRITER_BYTES = 48 * MIB;
const ext4 = fileSystemKinds[0]!;
const lacks = noMemoryGroups ?? noLoopDevices ?? lacking(ext4.mkfs[0]!, 'losetup', 'mount', 'umount', 'openssl', 'head', 'b2sum');

async function writeUnderPressure(t: ExecutionContext, workers: number, isShared: boolean): Promise<void> {
  t.timeout(180_000);
  const group = MemoryGroup.create(t, WRITER_BYTES);
  const device = await FaultMount.start(t, { sizeBytes: VOLUME_BYTES });
  const gateway = await mounted(t, {
    cacheOn: 'disk',
    volumeBytes: VOLUME_BYTES,
    backingFile: device.file,
    mountOptions: `workers=${workers}`,
  });
  const loop = await gateway.ok('loop', 'attach', gateway.mountpoint);
  const [mkfs, ...mkfsOptions] = ext4.mkfs;
  await runOk(mkfs!, [...mkfsOptions, loop]);
  const folder = await mountOn(gateway, loop, 'ext4');
  if (isShared) for (const pid of gateway.processes()) group.add(pid);
  await device.set({ delayMs: 2 });

  // Buffered writes: head is done when the last pages are dirty, and sync when they are written.
  const noise = `openssl enc -aes-128-ctr -nosalt -pass pass:pcache -pbkdf2 -in /dev/zero 2>/dev/null | head -c ${FILE_BYTES}`;
  const file = join(folder, 'file');
  const writing = gateway.startProgram('sh', ['-c', `${group.enter}; ${noise} > ${file} && sync ${file}`]);
  await waitUntil(async () => (await gateway.status()).cache_full_waits > 0 || writing.ended, 'the cache is full', 60_000);
  // No answer at all, until everybody stands still who can.
  await device.set({ hangs: 1 });
  let written = -1;
  await waitUntil(
    async () => {
      const status = await gateway.status();
      const isStuck = status.write_bytes === written;
      written = status.write_bytes;
      return isStuck;
    },
    'nothing is written any more',
    60_000,
  );
  t.false(writing.ended, 'the writer waits');
  await device.heal();
  const { status, stderr } = await writing.finished(120_000);
  t.is(status, 0, stderr);
  t.true(group.shortages > 0, 'memory was short');
  const expected = (await runOk('sh', ['-c', `${noise} | b2sum`])).split(' ')[0]!;
  t.is(await digestOf(file, { direct: true }), expected);
  await unmountFrom(folder);
  await gateway.ok('loop', 'detach', gateway.mountpoint);
  t.like(await gateway.status(), { engine_restarts: 0, last_error: null, write_errors: 0, read_errors: 0, flush_errors: 0 });
  await gateway.umount('--flush');
}

for (const workers of [1, 8]) {
  mountTest(
    `a writer short of memory, on ext4 over a volume whose cache is full, gets all it writes through (${workers} workers)`,
    lacks,
    (t) => writeUnderPressure(t, workers, false),
  );
  mountTest(`so it does when the gateway is short of the same memory (${workers} workers)`, lacks ?? noIoFlusher, (t) =>
    writeUnderPressure(t, workers, true),
  );
}
