import * as fs from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { HUGE_PAGE_BYTES } from '../../src/device/huge-pages.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';

const MEMORY = '/dev/shm';
const SIZE_BYTES = 96 * 1024 * 1024;
const MAPPED_BYTES = 5 * 16 * 1024 * 1024;

const noMemory = fs.existsSync(MEMORY) ? undefined : 'there is no /dev/shm';
const withMemory = noMemory === undefined ? test : test.skip;
const why = noMemory === undefined ? '' : ` (skipped: ${noMemory})`;

function folderIn(parent: string, teardown: (clean: () => void) => void): string {
  const folder = fs.mkdtempSync(join(parent, 'pcache-huge-'));
  teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Bytes of this process's mapping at `address` that huge pages map. */
function hugeBytesAt(address: number): number {
  const regions = fs.readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const region = regions.find((text) => parseInt(text, 16) === address) ?? '';
  return Number(/^ShmemPmdMapped: +(\d+) kB$/m.exec(region)?.[1] ?? 0) * 1024;
}

/** What the kernel was told not to do. */
function isDenied(): boolean {
  const setting = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
  return !fs.existsSync(setting) || fs.readFileSync(setting, 'utf8').includes('[deny]');
}

withMemory(`gathering a cache in memory changes nothing of what it holds, and can be done twice${why}`, (t) => {
  const path = join(
    folderIn(MEMORY, (clean) => t.teardown(clean)),
    'cache',
  );
  createCacheFile(path, SIZE_BYTES);
  const device = openCacheDevice(path);
  const random = seededRandom(1);
  const places = Array.from({ length: 500 }, () => Math.floor(random() * 5 * 16 * 1024 * 1024));
  for (const [index, place] of places.entries()) {
    device.segment(Math.floor(place / 2 ** 24) as PhysicalSegmentId).bytes[place % 2 ** 24] = 1 + (index % 255);
  }
  device.control.bytes[17] = 99;
  const before = Buffer.from(fs.readFileSync(path));
  device.gatherHugePages();
  device.gatherHugePages();
  t.is(Buffer.compare(fs.readFileSync(path), before), 0);
  t.is(fs.statSync(path).blocks * 512, SIZE_BYTES, 'it takes as much memory as before');
  t.is(device.addressOf(0) % HUGE_PAGE_BYTES, 0);
  const hugeBytes = hugeBytesAt(device.addressOf(0));
  if (isDenied() || hugeBytes === 0) t.log(`not looked at: this system gave ${hugeBytes} bytes in huge pages`);
  else t.true(hugeBytes >= MAPPED_BYTES / 2, `${hugeBytes} bytes are in huge pages`);
  device.close();
  // Another mapping, as another process makes it, needs no gathering again.
  const again = openCacheDevice(path);
  let sum = 0;
  for (const place of places) sum += again.segment(Math.floor(place / 2 ** 24) as PhysicalSegmentId).bytes[place % 2 ** 24]!;
  t.true(sum > 0);
  if (hugeBytes > 0) t.true(hugeBytesAt(again.addressOf(0)) > 0);
  again.close();
});

test('a cache on a disk, or a read-only one, is not gathered', (t) => {
  const path = join(
    folderIn(process.cwd(), (clean) => t.teardown(clean)),
    'cache',
  );
  createCacheFile(path, SIZE_BYTES);
  const device = openCacheDevice(path);
  if (device.persistence === 'synced') t.is(device.hugePageGatherer(), undefined);
  else t.log('the working directory is in memory');
  device.gatherHugePages();
  device.close();
  const readOnly = openCacheDevice(path, { readOnly: true });
  t.is(readOnly.hugePageGatherer(), undefined);
  readOnly.close();
});
