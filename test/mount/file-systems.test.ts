// ext4 and XFS on a loop device over the volume: what they wrote is on the backing file alone after `umount --flush`, and sound.

import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { pattern } from '../fuse/conformance.js';
import { Client } from '../fuse/client.js';
import { fileSystemKinds, mountOn, unmountFrom, whyNoFileSystem } from '../support/mounted-loop.js';
import { runOk } from '../support/mounted-commands.js';
import { MIB, mountTest, mounted } from '../support/mounted.js';

const O_RDWR_CREAT = 0o102;
/** More than the cache holds, in all. */
const FILE_BYTES = [0, 1, 511, 4096, 70_001, MIB, 5 * MIB + 7, 24 * MIB, 40 * MIB, 40 * MIB + 1];

for (const kind of fileSystemKinds) {
  mountTest(`${kind.name} on the volume: the backing file alone is sound and has every file`, whyNoFileSystem(kind), async (t) => {
    const gateway = await mounted(t, { volumeBytes: kind.volumeBytes, dataCrc: kind.name === 'xfs' });
    const device = await gateway.ok('loop', 'attach', gateway.mountpoint);
    await runOk(kind.mkfs[0]!, [...kind.mkfs.slice(1), device]);
    const folder = await mountOn(gateway, device, 'fs');
    const client = new Client();
    t.teardown(() => client.close());
    const sums: string[] = [];
    for (const [index, sizeBytes] of FILE_BYTES.entries()) {
      const bytes = pattern(sizeBytes, index);
      const fd = await client.call('open', join(folder, `file-${index}`), O_RDWR_CREAT);
      for (let at = 0; at < sizeBytes; at += 4 * MIB) await client.call('write', fd, at, bytes.subarray(at, at + 4 * MIB));
      if (index % 2 === 0) await client.call('fsync', fd);
      await client.call('close', fd);
      sums.push(createHash('sha256').update(bytes).digest('hex'));
    }
    await client.call('unlink', join(folder, 'file-7'));
    await client.call('rename', join(folder, 'file-8'), join(folder, 'renamed'));
    await unmountFrom(folder);
    await gateway.ok('loop', 'detach', gateway.mountpoint);
    await gateway.umount('--flush');

    // Checked on the file itself, and mounted from a copy, so that not even a journal is replayed into it.
    await runOk(kind.check[0]!, [...kind.check.slice(1), gateway.backing], { timeoutMs: 60_000 });
    const copy = join(gateway.folder, 'copy.img');
    copyFileSync(gateway.backing, copy);
    const alone = await mountOn(gateway, copy, 'alone', 'ro,loop');
    for (const [index, sum] of sums.entries()) {
      if (index === 7) continue;
      const name = index === 8 ? 'renamed' : `file-${index}`;
      t.is((await runOk('sha256sum', [join(alone, name)])).split(' ')[0], sum, name);
    }
    t.deepEqual((await client.call('readdir', alone)).filter((name) => name !== 'lost+found').length, FILE_BYTES.length - 1);
    await unmountFrom(alone);
  });
}
