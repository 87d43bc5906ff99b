// The life of a session whose requests come through rings: handed on, stopped, aborted, killed. These tests check the facts about the kernel
// that io-uring-transport.ts relies on.

import * as fs from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { abortConnection, connectionNumber } from '../../src/fuse/connection.js';
import { ringQueueCount } from '../../src/fuse/io-uring-transport.js';
import { withClients } from './client.js';
import { pattern } from './conformance.js';
import { COUNT_AFTER_REPLY, COUNT_PENDING } from './memory-file-system.js';
import { MemoryMount, whyNoFuse, type MemoryMountOptions } from './memory-mount.js';
import { whyNoRings } from '../../src/fuse/ring-support.js';

const SIZE_BYTES = 8 << 20;
const { O_RDWR, O_DIRECT } = fs.constants;

const skip = whyNoFuse() ?? whyNoRings();
const mountTest = (
  title: string,
  options: Partial<MemoryMountOptions>,
  body: (t: ExecutionContext, mount: MemoryMount) => Promise<void>,
): void => {
  const implementation = async (t: ExecutionContext): Promise<void> => {
    t.timeout(60_000);
    const mount = await MemoryMount.start({ sizeBytes: SIZE_BYTES, ioUring: true, ...options });
    try {
      await body(t, mount);
    } finally {
      await mount.stop();
    }
    t.deepEqual(mount.errors, []);
  };
  if (skip === undefined) test.serial(title, implementation);
  else test.serial.skip(`${title} (${skip})`, implementation);
};

mountTest('requests are answered by the rings and by other threads, and no slot is lost', { slotCount: 4 }, async (t, mount) => {
  await withClients(6, async (clients) => {
    await Promise.all(
      clients.map(async (client, i) => {
        const fd = await client.call('open', mount.volumePath, O_RDWR | O_DIRECT);
        for (let n = 0; n < 20; n++) {
          const offset = i * (1 << 20) + n * 49_152;
          const bytes = pattern(49_152, offset);
          await client.call('writeAligned', fd, offset, bytes);
          t.true(Buffer.from(await client.call('readAligned', fd, offset, 49_152)).equals(bytes));
        }
        await client.call('close', fd);
      }),
    );
  });
  mount.order('counts');
  const { counts, freeSlots } = await mount.message('counts');
  t.true(counts[COUNT_PENDING]! >= 40);
  t.true(counts[COUNT_AFTER_REPLY]! >= 40);
  // The queue worker beside the rings holds the one that it reads the next request into.
  t.is(freeSlots, 3);
});

mountTest('rings that are told to stop return, all of them', {}, async (t, mount) => {
  await withClients(1, async ([client]) => {
    const fd = await client!.call('open', mount.volumePath, O_RDWR);
    await client!.call('write', fd, 4000, Buffer.from('before'));
    await client!.call('close', fd);
    const ended = mount.message('ended');
    mount.order('stop');
    t.deepEqual((await ended).ends, Array<string>(1 + ringQueueCount()).fill('stopped'));
    await mount.serverExit();
  });
});

mountTest('aborting a session fails its requests at once and ends the rings', { swallow: true }, async (t, mount) => {
  await withClients(1, async ([client]) => {
    const fd = await client!.call('open', mount.volumePath, O_RDWR);
    const swallowed = mount.message('swallowed');
    const reading = client!.errnoOf('read', fd, 0, 10);
    await swallowed;
    abortConnection(connectionNumber(mount.mountpoint)!);
    t.is(await reading, 'ECONNABORTED');
    t.is(await client!.errnoOf('read', fd, 0, 10), 'ENOTCONN');
    await mount.kill();
  });
});

mountTest(
  'after the death of the server its users get errors as soon as the connection is aborted',
  { swallow: true },
  async (t, mount) => {
    await withClients(2, async ([one, two]) => {
      const fd = await one!.call('open', mount.volumePath, O_RDWR);
      const swallowed = mount.message('swallowed');
      const reading = one!.errnoOf('read', fd, 0, 10);
      await swallowed;
      await mount.kill();
      // Nobody serves: this would wait.
      const opening = two!.errnoOf('open', mount.volumePath, O_RDWR);
      abortConnection(connectionNumber(mount.mountpoint)!);
      t.is(await reading, 'ECONNABORTED');
      t.true(['ECONNABORTED', 'ENOTCONN'].includes(await opening));
    });
  },
);
