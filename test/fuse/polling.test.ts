// Workers that poll before they sleep: requests are answered as without, and a volume that nobody uses takes no processor time.

import * as fs from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import test from 'ava';
import { whyNoRings } from '../../src/fuse/ring-support.js';
import { withClients } from './client.js';
import { pattern } from './conformance.js';
import { MemoryMount, whyNoFuse } from './memory-mount.js';

const { O_RDWR, O_DIRECT } = fs.constants;
/** As long as the mount option permits: a worker that did not stop would use a whole core. */
const POLL_US = 1000;
const IDLE_MS = 2000;
/** Of 10 ms each, in those two seconds, for all threads of the server. A worker that polls all the time takes 200. */
const TICKS_MAX = 40;

/** Processor time of a process, in ticks. */
function ticksOf(pid: number): number {
  const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

function pollingTest(transport: 'dev-fuse' | 'io-uring', skip: string | undefined): void {
  const title = `workers on ${transport} that poll answer all requests, and use no processor time once there are none`;
  if (skip !== undefined) {
    test.serial.skip(`${title} (${skip})`, (t) => t.pass());
    return;
  }
  test.serial(title, async (t) => {
    t.timeout(60_000);
    const mount = await MemoryMount.start({ sizeBytes: 8 << 20, pollUs: POLL_US, ioUring: transport === 'io-uring' });
    try {
      await withClients(3, async (clients) => {
        await Promise.all(
          clients.map(async (client, i) => {
            const fd = await client.call('open', mount.volumePath, O_RDWR | O_DIRECT);
            for (let n = 0; n < 100; n++) {
              const offset = (i * 100 + n) * 4096;
              const bytes = pattern(4096, offset);
              await client.call('writeAligned', fd, offset, bytes);
              t.true(Buffer.from(await client.call('readAligned', fd, offset, 4096)).equals(bytes));
            }
            await client.call('close', fd);
          }),
        );
      });
      await setTimeout(1000);
      const before = ticksOf(mount.serverPid);
      await setTimeout(IDLE_MS);
      const ticks = ticksOf(mount.serverPid) - before;
      t.true(ticks <= TICKS_MAX, `${ticks} ticks`);
    } finally {
      await mount.stop();
    }
    t.deepEqual(mount.errors, []);
  });
}

pollingTest('dev-fuse', whyNoFuse());
pollingTest('io-uring', whyNoFuse() ?? whyNoRings());
