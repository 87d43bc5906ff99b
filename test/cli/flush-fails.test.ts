// A backing device that takes nothing more while everything is to be written back: what is said names what is still dirty, and where, and it is all there.

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { Client } from '../fuse/client.js';
import { MIB, mountTest, unmounted, type TestGateway } from '../support/mounted.js';
import { isRoot, smallTmpfs } from '../support/tmp.js';

const lacks = isRoot ? undefined : 'needs root';
const O_RDWR = 2;
const bytes = pattern(3 * MIB, 7);

interface Full {
  readonly gateway: TestGateway;
  readonly makeRoom: () => void;
}

/** Mounted, with dirty data that its backing device, a sparse file on a disk that is full, has no room for. */
async function withoutRoom(t: ExecutionContext, mountOptions?: string): Promise<Full> {
  const backingFolder = smallTmpfs(t, 4 * MIB);
  const gateway = await unmounted(t, { volumeBytes: 32 * MIB, backingFolder, ...(mountOptions === undefined ? {} : { mountOptions }) });
  const other = join(backingFolder, 'other');
  writeFileSync(other, Buffer.alloc((7 * MIB) / 2));
  await gateway.mount();
  const user = new Client();
  try {
    await user.call('write', await user.call('open', gateway.volume, O_RDWR), 0, bytes);
  } finally {
    await user.close();
  }
  return { gateway, makeRoom: () => rmSync(other) };
}

/** Writes all of it back. */
async function hasEverything(t: ExecutionContext, { gateway, makeRoom }: Full): Promise<void> {
  makeRoom();
  t.regex(await gateway.ok('recover', gateway.cache, gateway.backing), /; it has everything now$/);
}

mountTest('a flush at the end that fails says what stays and where, and that nothing is lost', lacks, async (t) => {
  const full = await withoutRoom(t, 'flush_on_stop');
  const { gateway } = full;
  const { status, stdout, stderr } = await gateway.pcache('umount', gateway.mountpoint);
  t.deepEqual([status, stdout], [1, '']);
  const [said, hint] = stderr
    .trimEnd()
    .split('\n')
    .filter((line) => !line.startsWith('pcache: progress: '));
  const what =
    /unmounted, but \d+ bytes of dirty data could not be written back to \S+backing\.img and stay in \S+cache\.pmem, nothing is lost: /;
  t.regex(said!, what);
  t.regex(said!, /: no space left on device \(ENOSPC\)$/);
  t.notRegex(said!, /log|flush:/);
  t.regex(hint!, /^hint: .*pcache recover \S+cache\.pmem \S+backing\.img writes it back/);
  await hasEverything(t, full);
});

mountTest('a flush that fails, and an umount that begins with it, say the same, and the volume is served', lacks, async (t) => {
  const full = await withoutRoom(t);
  const { gateway } = full;
  for (const args of [['flush'], ['umount', '--flush']] as const) {
    const { status, stdout, stderr } = await gateway.pcache(...args, gateway.mountpoint);
    t.deepEqual([status, stdout], [1, '']);
    t.regex(
      stderr,
      /could not be written back to \S+backing\.img and stay in \S+cache\.pmem: .*no space left on device \(ENOSPC\)\nhint: Nothing is lost: /,
    );
    t.is(/: not unmounted: /.test(stderr), args[0] === 'umount');
  }
  t.regex(await gateway.ok('umount', gateway.mountpoint), /unmounted; .* of dirty data stay in/);
  await hasEverything(t, full);
});
