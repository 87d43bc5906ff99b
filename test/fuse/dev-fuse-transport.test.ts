// The life of a session: workers stopped, killed and replaced while files are in use. These tests check the facts about the kernel that
// session.ts relies on.

import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { abortConnection, connectionNumber } from '../../src/fuse/connection.js';
import { unmountFuse } from '../../src/fuse/mount.js';
import { describeMountUser, whoUses } from '../../src/fuse/who-uses.js';
import { detachIfOver } from '../support/loop.js';
import { isRoot } from '../support/tmp.js';
import { Client, withClients } from './client.js';
import { pattern } from './conformance.js';
import { COUNT_AFTER_REPLY, COUNT_PENDING, COUNT_RESENT } from './memory-file-system.js';
import { MemoryMount, whyNoFuse, type MemoryMountOptions } from './memory-mount.js';

const SIZE_BYTES = 8 << 20;
const { O_RDWR, O_DIRECT } = fs.constants;

const skip = whyNoFuse();
const mountTest = (
  title: string,
  options: Partial<MemoryMountOptions> & { expectErrors?: number },
  body: (t: ExecutionContext, mount: MemoryMount) => Promise<void>,
): void => {
  const implementation = async (t: ExecutionContext): Promise<void> => {
    t.timeout(60_000);
    const mount = await MemoryMount.start({ sizeBytes: SIZE_BYTES, ...options });
    try {
      await body(t, mount);
    } finally {
      await mount.stop();
    }
    t.is(mount.errors.length, options.expectErrors ?? 0, mount.errors.join('; '));
  };
  if (skip === undefined) test.serial(title, implementation);
  else test.serial.skip(`${title} (${skip})`, implementation);
};

/** The server tells of its errors in messages, which may come after the answer that the client got. Bounded by the test's timeout. */
async function reported(mount: MemoryMount, count: number): Promise<void> {
  while (mount.errors.length < count) await setTimeout(10);
}

mountTest('requests are answered by the worker and by other threads, and no slot is lost', { slotCount: 4 }, async (t, mount) => {
  await withClients(4, async (clients) => {
    await Promise.all(
      clients.map(async (client, i) => {
        const fd = await client.call('open', mount.volumePath, O_RDWR | O_DIRECT);
        for (let n = 0; n < 30; n++) {
          const offset = i * (2 << 20) + n * 65_536;
          const bytes = pattern(65_536, offset);
          await client.call('writeAligned', fd, offset, bytes);
          t.true(Buffer.from(await client.call('readAligned', fd, offset, 65_536)).equals(bytes));
        }
        await client.call('close', fd);
      }),
    );
  });
  mount.order('counts');
  const { counts, freeSlots } = await mount.message('counts');
  t.true(counts[COUNT_PENDING]! >= 60);
  t.true(counts[COUNT_AFTER_REPLY]! >= 60);
  // Each of the two workers holds the slot it reads the next request into.
  t.is(freeSlots, 2);
});

mountTest(
  'an answer that the kernel can not read, or an exception, becomes EIO and is reported, and the worker goes on',
  { queues: 1, expectErrors: 2 },
  async (t, mount) => {
    await withClients(1, async ([client]) => {
      t.is(await client!.errnoOf('readFile', path.join(mount.mountpoint, 'gone.dat')), 'EIO');
      await reported(mount, 1);
      t.regex(mount.errors[0]!, /READ.*FUSE answer: bad address/);
      t.is(await client!.errnoOf('readFile', path.join(mount.mountpoint, 'throws.dat')), 'EIO');
      await reported(mount, 2);
      t.regex(mount.errors[1]!, /READ.*as it was told to/);
      t.is(Buffer.from(await client!.call('readFile', path.join(mount.mountpoint, 'note.txt'))).toString(), 'a note\n');
    });
  },
);

for (const used of [true, false]) {
  const title = `stopped workers return while a volume that is ${used ? '' : 'not '}in use stays mounted, and others serve on`;
  mountTest(title, { queues: 2, workersPerQueue: 2 }, async (t, mount) => {
    await withClients(1, async ([client]) => {
      const fd = used ? await client!.call('open', mount.volumePath, O_RDWR) : 0;
      if (used) await client!.call('write', fd, 4000, Buffer.from('before'));
      const ended = mount.message('ended');
      mount.order('stop');
      t.deepEqual((await ended).ends, ['stopped', 'stopped', 'stopped', 'stopped']);
      await mount.serverExit();
      const opening = used ? fd : client!.call('open', mount.volumePath, O_RDWR);
      // What the stopped workers read and left alone, if anything, has to be asked for.
      await mount.serve({ resend: true });
      t.is(Buffer.from(await client!.call('read', await opening, 4000, 6)).toString(), used ? 'before' : '\0\0\0\0\0\0');
    });
  });
}

mountTest(
  'requests that a killed server had read are carried out by its successor, once it has asked for them',
  { swallow: true },
  async (t, mount) => {
    await withClients(2, async ([one, two]) => {
      const fdOne = await one!.call('open', mount.volumePath, O_RDWR);
      const fdTwo = await two!.call('open', mount.volumePath, O_RDWR);
      const swallowed = mount.message('swallowed');
      const writing = one!.call('write', fdOne, 10, Buffer.from('not lost'));
      await swallowed;
      const swallowedToo = mount.message('swallowed');
      const reading = two!.call('read', fdTwo, 0, 4);
      await swallowedToo;
      await mount.kill();
      await mount.serve({ resend: true, swallow: false });
      t.is(await writing, 8);
      t.is((await reading).length, 4);
      t.is(Buffer.from(await two!.call('read', fdTwo, 10, 8)).toString(), 'not lost');
      mount.order('counts');
      t.is((await mount.message('counts')).counts[COUNT_RESENT], 2);
    });
  },
);

mountTest(
  'a clone that nobody else holds takes its requests with it when its server is killed',
  { swallow: true, letGoOfClones: true },
  async (t, mount) => {
    await withClients(2, async (clients) => {
      const results: Promise<string>[] = [];
      for (const client of clients) {
        const fd = await client.call('open', mount.volumePath, O_RDWR);
        const swallowed = mount.message('swallowed');
        results.push(client.errnoOf('read', fd, 0, 4));
        await swallowed;
      }
      await mount.kill();
      await mount.serve({ resend: true, swallow: false });
      t.deepEqual((await Promise.all(results)).sort(), ['ECONNABORTED', 'none']);
    });
  },
);

mountTest('a busy mount says who uses it, and is unmounted when it is not used any more', {}, async (t, mount) => {
  const child = new Client();
  const fd = await child.call('open', mount.volumePath, O_RDWR);
  t.is(unmountFuse(mount.mountpoint), 'busy');
  const users = whoUses(mount.mountpoint);
  t.is(users.length, 1);
  t.regex(describeMountUser(users[0]!), /^process \d+ \(.+: open file\)$/);
  await child.call('close', fd);
  t.deepEqual(whoUses(mount.mountpoint), []);
  await child.close();
  const ended = mount.message('ended');
  t.is(unmountFuse(mount.mountpoint), 'done');
  t.deepEqual((await ended).ends, ['unmounted', 'unmounted']);
  t.throws(() => unmountFuse(mount.mountpoint), { code: 'not-found', message: /not a mount point/ });
});

mountTest('a loop device over the volume passes discard on, keeps the mount busy and is named', {}, async (t, mount) => {
  const why = !isRoot ? 'needs root' : !fs.existsSync('/dev/loop-control') ? 'no loop devices here' : undefined;
  if (why !== undefined) {
    t.log(`skipped: ${why}`);
    t.pass();
    return;
  }
  const run = async (...command: string[]): Promise<string> =>
    (await promisify(execFile)(command[0]!, command.slice(1), { timeout: 20_000 })).stdout.trim();
  const device = await run('losetup', '--direct-io=on', '-f', '--show', mount.volumePath);
  try {
    await withClients(1, async ([client]) => {
      const fd = await client!.call('open', device, O_RDWR | O_DIRECT);
      const bytes = pattern(1 << 20, 1);
      t.is(await client!.call('writeAligned', fd, 65_536, bytes), 1 << 20);
      await client!.call('fsync', fd);
      t.true(Buffer.from(await client!.call('readAligned', fd, 65_536, 1 << 20)).equals(bytes));
      await client!.call('close', fd);
    });
    await run('blkdiscard', '-o', '131072', '-l', '65536', device);
    const volume = fs.readFileSync(path.join(mount.directory, 'bytes'));
    t.true(volume.subarray(131_072, 196_608).every((byte) => byte === 0));
    t.not(volume[131_071], 0);
    t.not(volume[196_608], 0);
    t.is(unmountFuse(mount.mountpoint), 'busy');
    t.deepEqual(whoUses(mount.mountpoint).map(describeMountUser), [device]);
  } finally {
    detachIfOver(device, mount.volumePath);
  }
  // The kernel lets go of the file a moment after the device is detached.
  for (let i = 0; i < 100 && whoUses(mount.mountpoint).length > 0; i++) await setTimeout(20);
  t.deepEqual(whoUses(mount.mountpoint), []);
});

mountTest('aborting a session fails its requests at once and ends its workers', { swallow: true }, async (t, mount) => {
  const number = connectionNumber(mount.mountpoint)!;
  await withClients(1, async ([client]) => {
    const fd = await client!.call('open', mount.volumePath, O_RDWR);
    const swallowed = mount.message('swallowed');
    const reading = client!.errnoOf('read', fd, 0, 4);
    await swallowed;
    abortConnection(number);
    t.is(await reading, 'ECONNABORTED');
    t.is(await client!.errnoOf('read', fd, 0, 4), 'ENOTCONN');
  });
  await mount.kill();
  t.throws(() => abortConnection(4_000_000), { code: 'not-found' });
});
