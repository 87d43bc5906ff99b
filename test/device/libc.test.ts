import { once } from 'node:events';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { receiveFileDescriptor, receiveFileDescriptors, sendFileDescriptors } from '../../src/device/descriptor-passing.js';
import { errno, errnoName, errnoText } from '../../src/device/errno-codes.js';
import * as libc from '../../src/device/libc.js';
import * as linux from '../../src/device/linux-constants.js';
import { temporaryFolder } from '../support/tmp.js';

const PAGE = 4096;

function anonymous(lengthBytes: number): number {
  return libc.mmap(lengthBytes, linux.PROT_READ | linux.PROT_WRITE, linux.MAP_SHARED | linux.MAP_ANONYMOUS, -1, 0);
}

function openFile(t: Parameters<typeof temporaryFolder>[0], content: Uint8Array): number {
  const fd = fs.openSync(path.join(temporaryFolder(t), 'file'), 'w+');
  t.teardown(() => fs.closeSync(fd));
  fs.writeSync(fd, content);
  return fd;
}

test('reads and writes go between a descriptor and memory named by its address', (t) => {
  const fd = openFile(t, Buffer.from('abcdefgh'));
  const address = anonymous(PAGE);
  const bytes = new Uint8Array(libc.view(address, PAGE));
  t.is(libc.pread(fd, address + 8, 4, 2), 4);
  t.is(Buffer.from(bytes.subarray(8, 12)).toString(), 'cdef');
  t.is(libc.pwrite(fd, address + 9, 2, 0), 2);
  t.is(libc.lseek(fd, 0, 0), 0);
  t.is(libc.read(fd, address, PAGE), 8);
  t.is(Buffer.from(bytes.subarray(0, 8)).toString(), 'decdefgh');
  t.is(libc.read(fd, address, PAGE), 0);
  const iovec = new BigUint64Array(libc.view(address, PAGE), 1024, 4);
  iovec.set([BigInt(address + 2), 3n, BigInt(address), 2n]);
  t.is(libc.writev(fd, address + 1024, 2), 5);
  t.is(libc.pread(fd, address, 5, 8), 5);
  t.is(Buffer.from(bytes.subarray(0, 5)).toString(), 'cdede');
  libc.munmap(address, PAGE);
});

test('memory is copied whole for whoever reads it next, in pieces too, and over itself upwards and downwards', (t) => {
  const most = 3 * libc.COPY_TO_READ_BYTES + 7;
  const source = 2 * most;
  const address = anonymous(5 * most);
  t.teardown(() => libc.munmap(address, 5 * most));
  const bytes = new Uint8Array(libc.view(address, 5 * most));
  const content = Uint8Array.from({ length: most }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
  for (const length of [1, libc.COPY_TO_READ_BYTES, libc.COPY_TO_READ_BYTES + 1, most - 7, most]) {
    for (const distance of [0, 1, 4099, libc.COPY_TO_READ_BYTES, 2 * most, -1, -4099, -libc.COPY_TO_READ_BYTES, -2 * most]) {
      bytes.fill(0);
      bytes.set(content, source);
      const expected = bytes.slice();
      expected.copyWithin(source + distance, source, source + length);
      libc.copyToRead(address + source + distance, address + source, length);
      t.true(Buffer.from(bytes).equals(expected), `${length} bytes by ${distance}`);
    }
  }
});

test('offsets beyond 4 GiB and beyond 2^43 arrive exactly', (t) => {
  const fd = openFile(t, new Uint8Array(1));
  const offset = 2 ** 43 + 12_345;
  const address = anonymous(PAGE);
  new Uint8Array(libc.view(address, 1))[0] = 77;
  t.is(libc.lseek(fd, offset, 0), offset);
  t.is(libc.pwrite(fd, address, 1, offset), 1);
  t.is(fs.fstatSync(fd).size, offset + 1);
  libc.munmap(address, PAGE);
});

test('hot calls return the negated error number and cold ones throw a PcacheError that names it', (t) => {
  t.is(libc.read(-1, 0, 0), -errno.EBADF);
  t.is(libc.writev(-1, 0, 0), -errno.EBADF);
  t.is(libc.pread(-1, 0, 0, 0), -errno.EBADF);
  const error = t.throws(() => libc.mmap(0, 1, linux.MAP_SHARED | linux.MAP_ANONYMOUS, -1, 0), { instanceOf: PcacheError });
  t.is(error.errno, errno.EINVAL);
  t.is(error.message, 'mmap: invalid argument (EINVAL)');
  t.is(t.throws(() => libc.open('/nonexistent/x', 0), { instanceOf: PcacheError }).code, 'not-found');
});

test('error numbers agree with those of the running system', (t) => {
  const system = new Map<string, number>(Object.entries(os.constants.errno));
  const known = Object.entries(errno).filter(([name]) => system.has(name));
  t.true(known.length > 40);
  for (const [name, number] of known) t.is(number, system.get(name)!, name);
  t.is(errnoName(5), 'EIO');
  t.is(errnoName(4095), 'errno 4095');
  t.is(errnoText(28), 'no space left on device (ENOSPC)');
});

test('poll reports a readable event counter and times out on one that is not', (t) => {
  const fd = libc.eventfd(0, linux.EFD_CLOEXEC | linux.EFD_NONBLOCK);
  const address = anonymous(PAGE);
  const words = new Int32Array(libc.view(address, PAGE));
  words[0] = fd;
  words[1] = linux.POLLIN;
  t.is(libc.poll(address, 1, 0), 0);
  words[16] = 1;
  t.is(libc.write(fd, address + 64, 8), 8);
  t.is(libc.poll(address, 1, 1000), 1);
  t.is(words[1] >> 16, linux.POLLIN);
  t.is(libc.read(fd, address + 64, 8), 8);
  t.is(libc.read(fd, address + 64, 8), -errno.EAGAIN);
  fs.closeSync(fd);
  libc.munmap(address, PAGE);
});

test('atomic operations of two workers on one mapping lose no update', async (t) => {
  const address = anonymous(PAGE);
  const times = 50_000;
  const workers = [0, 1].map(() => new Worker(new URL('./atomics-worker.js', import.meta.url), { workerData: { address, times } }));
  await Promise.all(workers.map((worker) => once(worker, 'exit')));
  t.is(new Int32Array(libc.view(address, PAGE))[3], 2 * times);
  libc.munmap(address, PAGE);
});

test('a view of no bytes or of 4 GiB is refused instead of ending the process', (t) => {
  t.throws(() => libc.view(4096, 0), { instanceOf: RangeError });
  t.throws(() => libc.view(4096, 2 ** 32), { instanceOf: RangeError });
});

test('the address of an array counts its offset, and memory shared between threads has none', (t) => {
  const bytes = new Uint8Array(PAGE);
  t.is(libc.addressOf(bytes.subarray(100)), libc.addressOf(bytes) + 100);
  t.is(libc.addressOf(new Uint8Array(new SharedArrayBuffer(8))), 0);
});

test('a descriptor without close-on-exec reaches a child, and fcntl sets and clears the mark', (t) => {
  const fd = libc.open('/dev/null', fs.constants.O_RDONLY);
  t.is(libc.fcntl(fd, linux.F_GETFD, 0), 0);
  libc.fcntl(fd, linux.F_SETFD, linux.FD_CLOEXEC);
  t.is(libc.fcntl(fd, linux.F_GETFD, 0), linux.FD_CLOEXEC);
  fs.closeSync(fd);
});

test('the file system of a descriptor is named by its magic number', (t) => {
  const proc = fs.openSync('/proc', 'r');
  t.is(libc.fileSystemOf(proc).type, 0x9fa0);
  fs.closeSync(proc);
});

test('descriptors sent over a socket arrive in order, close-on-exec, and from a closed socket none', (t) => {
  const [ours, theirs] = libc.socketpair(linux.AF_UNIX, linux.SOCK_STREAM | linux.SOCK_CLOEXEC);
  const paths = ['/proc/self/status', '/proc/self/stat', '/proc/self/maps'];
  const sent = paths.map((path) => fs.openSync(path, 'r'));
  sendFileDescriptors(theirs, sent);
  const received = receiveFileDescriptors(ours);
  t.deepEqual(
    received.map((fd) => fs.readlinkSync(`/proc/self/fd/${fd}`).split('/').at(-1)),
    ['status', 'stat', 'maps'],
  );
  for (const fd of received) t.is(libc.fcntl(fd, linux.F_GETFD, 0), linux.FD_CLOEXEC);
  sendFileDescriptors(theirs, [sent[0]!]);
  received.push(receiveFileDescriptor(ours));
  t.throws(() => sendFileDescriptors(theirs, []), { instanceOf: RangeError });
  fs.writeSync(theirs, 'x');
  t.throws(() => receiveFileDescriptors(ours), { message: 'receiving a file descriptor: the message carries none' });
  fs.closeSync(theirs);
  t.throws(() => receiveFileDescriptor(ours), { message: 'receiving a file descriptor: the sender closed the socket' });
  fs.closeSync(ours);
  for (const fd of [...sent, ...received]) fs.closeSync(fd);
});

test('a thread pinned to a CPU may run on that one only, and a CPU that cannot exist is refused', (t) => {
  const allowed = (): string => /Cpus_allowed_list:\s*(\S+)/.exec(fs.readFileSync('/proc/thread-self/status', 'utf8'))![1]!;
  const cpu = Number(/^\d+/.exec(allowed())![0]);
  libc.pinThreadToCpu(cpu);
  t.is(allowed(), String(cpu));
  t.throws(() => libc.pinThreadToCpu(5000), { instanceOf: RangeError });
});
