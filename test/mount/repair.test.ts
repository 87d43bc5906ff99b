// A cache that was damaged while nobody used it: the mount refuses it, the repair says what it costs, and the volume can be mounted and used again.

import { constants } from 'node:fs';
import { SEGMENTS_OFFSET, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import { flipByte, useVolume } from '../cli/offline-support.js';
import { MIB, mountTest, unmounted } from '../support/mounted.js';

const KSET_BYTES = 64;

mountTest(
  'a cache with a damaged log is refused, repaired, and served again as it was before the first write that is lost',
  undefined,
  async (t) => {
    const gateway = await unmounted(t, { cacheOn: 'disk', volumeBytes: 8 * MIB });
    const { cache: cachePath, backing: backingPath } = gateway;
    // Without a mount nothing is written back, so that the cache alone has the writes.
    useVolume({ cachePath, backingPath }, (volume) => {
      for (let number = 0; number < 5; number++) {
        volume.write(number * 65536, new Uint8Array(4096).fill(number + 1));
        volume.flush();
      }
    });
    flipByte(cachePath, SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET + 2 * KSET_BYTES + 30);
    const refused = await gateway.pcache(...gateway.mountArguments);
    t.is(refused.status, 1);
    t.regex(refused.stderr, /the log is damaged in segment 0 at offset 128: /);

    const repaired = JSON.parse(await gateway.ok('--json', 'check', cachePath, '--repair', '--yes')) as {
      given_up: { writes: number; unreadable_writes_max: number } | null;
      backup: string;
    };
    t.like(repaired.given_up, { writes: 2, unreadable_writes_max: 1 });
    await gateway.mount();
    const client = gateway.client();
    const fd = await client.call('open', gateway.volume, constants.O_RDWR);
    const bytes: number[] = [];
    for (let number = 0; number < 5; number++) bytes.push((await client.call('read', fd, number * 65536, 512))[0]!);
    t.deepEqual(bytes, [1, 2, 0, 0, 0]);
    await client.call('close', fd);
    await gateway.umount('--flush');
    const undo = await gateway.pcache('check', cachePath, '--undo', repaired.backup, '--yes');
    t.is(undo.status, 1);
    t.regex(undo.stderr, /the cache has been used since/);
  },
);
