// Where the kernel can't send requests again, a mount ends with its engine: at once, with errors for its users and not with silence, and the next mount
// has everything that was acknowledged.

import type { ExecutionContext } from 'ava';
import { messageOf } from '../../src/errors.js';
import { loadFuseNative } from '../../src/fuse/libfuse-library.js';
import { Client } from '../fuse/client.js';
import { threeRanges } from '../support/mounted-diary.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { MIB, mountTest, mounted, type GatewayOptions, type OtherSupervisor } from '../support/mounted.js';

const WRITES = 50;
/**
 * What users of a FUSE connection that was aborted are told, in a call under way and in later ones. A write that the kernel sends in several requests, as it
 * does with libfuse, may have got some of them answered: then its writer hears how many bytes that were.
 */
const ENDED = ['ECONNABORTED', 'ENOTCONN', 'Error: short write'];

function whyNoLibfuse(): string | undefined {
  try {
    loadFuseNative();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function endsCleanly(t: ExecutionContext, options: GatewayOptions, reason: RegExp, other?: OtherSupervisor): Promise<void> {
  const gateway = await mounted(t, { volumeBytes: 32 * MIB, ...options }, other && (() => other));
  const ranges = threeRanges(gateway);
  for (const range of ranges) range.start();
  await Promise.all(ranges.map((range) => range.progress(WRITES)));
  process.kill(gateway.pids.engine, 'SIGKILL');
  for (const range of ranges) {
    const failure = await range.failure();
    t.true(ENDED.includes(failure), failure);
  }
  await waitUntil(() => gateway.processes().length === 0, 'no process is left');
  t.false(gateway.isMounted);
  t.deepEqual(
    gateway.leftovers().map((name) => name.replace(/.*\./, '')),
    ['log'],
  );
  t.regex(gateway.log(), reason);
  t.notRegex(gateway.log(), /started another engine/);
  await gateway.mount();
  const client = new Client();
  for (const range of ranges) t.is(await range.difference(client), undefined);
  await client.close();
  const shown = await digestOf(gateway.volume, { direct: true });
  await gateway.umount('--flush');
  t.is(await digestOf(gateway.backing), shown);
}

mountTest('on a kernel that cannot send requests again, a dead engine ends the mount at once and cleanly', undefined, (t) =>
  endsCleanly(t, {}, /engine: killed by SIGKILL: this kernel \(before Linux 6\.9\) can't go on after that/, {
    main: new URL('./no-resend-supervisor-main.js', import.meta.url),
  }),
);

mountTest('with transport=libfuse, a dead engine ends the mount at once and cleanly', whyNoLibfuse(), (t) =>
  endsCleanly(t, { mountOptions: 'transport=libfuse' }, /engine: killed by SIGKILL: transport libfuse can't go on after that/),
);
