import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { dataEndOf } from '../../src/device/data-end.js';
import { fallocate, mmap, msync, munmap, view } from '../../src/device/libc.js';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/device/linux-constants.js';
import { temporaryFolder } from '../support/tmp.js';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;

test('the data of a file ends where it was written to last, through a mapping too, and is cut with the file', (t) => {
  const fd = openSync(join(temporaryFolder(t), 'file'), 'w+');
  t.teardown(() => closeSync(fd));
  ftruncateSync(fd, SIZE);
  t.is(dataEndOf(fd, SIZE), 0);
  fallocate(fd, 0, 0, SIZE);
  t.is(dataEndOf(fd, SIZE), 0, 'room that was never written');
  const address = mmap(SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  new Uint8Array(view(address, SIZE))[5 * MIB + 5000] = 1;
  t.true(dataEndOf(fd, SIZE) > 5 * MIB + 5000, 'not durable yet');
  msync(address, SIZE);
  munmap(address, SIZE);
  t.true(dataEndOf(fd, SIZE) > 5 * MIB + 5000);
  writeSync(fd, new Uint8Array(SIZE - 8192).fill(1), 0, SIZE - 8192, 0);
  t.is(dataEndOf(fd, SIZE), SIZE - 8192);
  readSync(fd, new Uint8Array(1), 0, 1, SIZE - 1);
  writeSync(fd, new Uint8Array(1), 0, 1, SIZE - 1);
  t.is(dataEndOf(fd, SIZE), SIZE);
  ftruncateSync(fd, 9 * MIB + 5000);
  t.is(dataEndOf(fd, 9 * MIB + 5000), 9 * MIB + 5000);
  ftruncateSync(fd, SIZE);
  t.is(dataEndOf(fd, SIZE), 9 * MIB + 8192, 'to the page');
});
