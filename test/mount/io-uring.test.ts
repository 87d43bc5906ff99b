// Transport io-uring: what it has beyond the conformance suite. Its requests can't be sent again after a death, so a death is the end of the mount, at once.

import { whyNoRings } from '../../src/fuse/ring-support.js';
import { fioArguments, noFio } from '../support/fio.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { threeRanges } from '../support/mounted-diary.js';
import { MIB, mountTest, mounted } from '../support/mounted.js';

const lacks = whyNoRings();
const mountOptions = 'transport=io-uring';

mountTest('through rings: an engine that dies ends the mount at once, and the next one has everything acknowledged', lacks, async (t) => {
  const gateway = await mounted(t, { volumeBytes: 32 * MIB, mountOptions });
  const ranges = threeRanges(gateway);
  for (let round = 0; round < 3; round++) {
    for (const range of ranges) range.start();
    await Promise.all(ranges.map((range) => range.progress(100)));
    const status = await gateway.status();
    t.like(status, { transport: 'io-uring', engine_restarts: 0 });
    process.kill(status.engine_pid, 'SIGKILL');
    for (const range of ranges) t.not(await range.failure(), 'none');
    await waitUntil(() => gateway.processes().length === 0 && !gateway.isMounted, 'the mount is gone');
    t.regex(gateway.log(), /killed by SIGKILL: transport io-uring can't go on after that/);
    await gateway.mount();
    const client = gateway.client();
    for (const range of ranges) t.is(await range.difference(client), undefined);
    await client.close();
  }
  const shown = await digestOf(gateway.volume, { direct: true });
  await gateway.umount('--flush');
  t.is(await digestOf(gateway.backing), shown);
});

mountTest(
  'through rings: fio at depth 16 by four jobs, on a volume four times the cache, reads back what it wrote',
  lacks ?? noFio,
  async (t) => {
    const gateway = await mounted(t, { mountOptions });
    const job = {
      rw: 'randwrite',
      bsrange: '512-256k',
      ioengine: 'libaio',
      direct: 1,
      iodepth: 16,
      numjobs: 4,
      size: gateway.volumeBytes / 4,
    };
    const writing = gateway.startProgram('fio', [
      ...fioArguments(gateway.volume, {
        ...job,
        offset_increment: gateway.volumeBytes / 4,
        io_size: 64 * MIB,
        verify: 'crc32c',
        verify_fatal: 1,
      }),
    ]);
    const { status, stdout } = await writing.finished(80_000);
    t.is(status, 0, stdout);
    t.like(await gateway.status(), { engine_restarts: 0, read_errors: 0, write_errors: 0 });
    const shown = await digestOf(gateway.volume, { direct: true });
    await gateway.umount('--flush');
    t.is(await digestOf(gateway.backing), shown);
  },
);

mountTest('through rings: the supervisor killed, the mount goes in order', lacks, async (t) => {
  const gateway = await mounted(t, { volumeBytes: 32 * MIB, mountOptions });
  const ranges = threeRanges(gateway);
  for (const range of ranges) range.start();
  await Promise.all(ranges.map((range) => range.progress(100)));
  process.kill(gateway.pids.supervisor, 'SIGKILL');
  for (const range of ranges) t.not(await range.failure(), 'none');
  await waitUntil(() => gateway.processes().length === 0 && !gateway.isMounted, 'engine and mount are gone');
  t.true((JSON.parse(await gateway.ok('--json', 'status', gateway.cache)) as { closed_in_order: boolean }).closed_in_order);
  await gateway.mount();
  const client = gateway.client();
  for (const range of ranges) t.is(await range.difference(client), undefined);
  await client.close();
  await gateway.umount('--flush');
});
