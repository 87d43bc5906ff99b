// fio over a volume four times its cache: what it writes is what it reads, and what reaches the backing file is what a plain file would hold.

import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pattern } from '../fuse/conformance.js';
import { fio, noFio, type FioJob } from '../support/fio.js';
import { digestOf } from '../support/mounted-commands.js';
import { CACHE_BYTES_MIN, MIB, mountTest, mounted, type GatewayOptions } from '../support/mounted.js';

const VOLUME_BYTES = 4 * CACHE_BYTES_MIN;
const VERIFY = { verify: 'crc32c', verify_fatal: 1, do_verify: 1 };

/** Blocks are written at random places, none twice in a job, so the outcome does not depend on the order in which sixteen of them arrive. */
const small = { rw: 'randwrite', bs: '4k', ioengine: 'libaio', direct: 1, iodepth: 16, io_size: 24 * MIB };
const mixed = { rw: 'randwrite', bsrange: '512-1m', bs_unaligned: 0, ioengine: 'libaio', direct: 1, iodepth: 16, io_size: 128 * MIB };
/** Not with O_DIRECT, at multiples of an odd number, so each shares its first and last sector with others. */
const odd = { rw: 'randwrite', bs: 3333, ioengine: 'psync', direct: 0, io_size: 4 * MIB };
/** Of any length at any offset, each over what others wrote before. */
const unaligned = { rw: 'randwrite', bsrange: '1-70000', bs_unaligned: 1, ioengine: 'psync', direct: 0, io_size: 16 * MIB, norandommap: 1 };

/** The bytes of a block depend on the seed alone: no times, no verification header. */
function deterministic(job: FioJob, seed: number): FioJob {
  return { ...job, size: VOLUME_BYTES, randseed: seed, refill_buffers: 1 };
}

for (const options of [
  { cacheOn: 'memory', dataCrc: false },
  { cacheOn: 'memory', dataCrc: true },
  { cacheOn: 'disk', dataCrc: false },
  { cacheOn: 'disk', dataCrc: true },
] as const satisfies GatewayOptions[]) {
  const where = `cache in a file ${options.cacheOn === 'memory' ? 'in memory' : 'on disk'}, data CRC ${options.dataCrc ? 'on' : 'off'}`;

  mountTest(`fio verifies small, mixed and unaligned writes, and the backing file ends up like the volume (${where})`, noFio, async (t) => {
    const gateway = await mounted(t, { ...options, volumeBytes: VOLUME_BYTES });
    await fio(gateway.volume, { ...small, ...VERIFY, size: VOLUME_BYTES });
    await fio(gateway.volume, { ...mixed, ...VERIFY, size: VOLUME_BYTES });
    await fio(gateway.volume, { ...odd, ...VERIFY, size: VOLUME_BYTES });
    const shown = await digestOf(gateway.volume, { direct: true });
    const status = await gateway.status();
    t.like(status, { state: 'serving', read_errors: 0, write_errors: 0, writeback_errors: 0, corrupt_keys: 0, last_error: null });
    await gateway.umount('--flush');
    t.is(await digestOf(gateway.backing), shown);
  });
}

mountTest('the backing file is byte for byte what a plain file given the same writes is', noFio, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const plain = join(gateway.folder, 'plain.img');
  await gateway.umount();
  writeFileSync(gateway.backing, pattern(8 * MIB, 1), { flag: 'r+' });
  copyFileSync(gateway.backing, plain);
  // A cache that knows the file as it was would be refused.
  await gateway.ok('format', gateway.cache);
  await gateway.mount();
  const jobs = [deterministic(small, 1), deterministic(mixed, 2), deterministic(unaligned, 3), deterministic(small, 4)];
  for (const job of jobs) {
    await fio(gateway.volume, job);
    await fio(plain, { ...job, direct: 0 });
  }
  const expected = await digestOf(plain);
  t.is(await digestOf(gateway.volume, { direct: true }), expected);
  await gateway.umount('--flush');
  t.is(await digestOf(gateway.backing), expected);
});
