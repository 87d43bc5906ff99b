// What every transport must do for a program that uses the volume, as a library: `conformance(test, target)` registers the tests. Each target
// starts with a volume of zeros; the tests run one after another on one mount and keep a copy of what the volume must hold.

import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestFn } from 'ava';
import { Client } from './client.js';

const { O_RDWR, O_RDONLY, O_CREAT, O_DIRECT, O_TRUNC, O_WRONLY } = fs.constants;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;
const FALLOC_COLLAPSE_RANGE = 8;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const SEEK_END = 2;
/** An ioctl number that no file system takes. */
const IOCTL_UNKNOWN = 0x1234;
const MIB = 1 << 20;

export interface ConformanceMount {
  readonly mountpoint: string;
  readonly volumePath: string;
  /** At least 8 MiB, at most 256 MiB; all zeros. */
  readonly sizeBytes: number;
  /** Unmounts and ends; rejects if anything went wrong meanwhile that the client could not see. */
  stop(): Promise<void>;
}

export interface ConformanceTarget {
  readonly name: string;
  start(): Promise<ConformanceMount>;
  /** Why the tests can't run on this machine. */
  readonly skip?: string | undefined;
  /** What the transport can't do, by its own documentation; each is then tested to fail cleanly. */
  readonly cannot?: { readonly fallocate?: boolean; readonly sharedMapping?: boolean };
}

/** Bytes that tell where they belong: no two aligned words in 16 MiB are equal. */
export function pattern(lengthBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < lengthBytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function conformance(test: TestFn, target: ConformanceTarget): void {
  const title = (text: string): string => `${target.name}: ${text}`;
  if (target.skip !== undefined) {
    test(title(`skipped: ${target.skip}`), (t) => {
      t.log(`skipped: ${target.skip!}`);
      t.pass();
    });
    return;
  }
  let mount: ConformanceMount;
  let client: Client;
  let copy: Buffer;
  let path: string;
  let size: number;
  let fd: number;

  test.serial.before(async () => {
    mount = await target.start();
    client = new Client();
    ({ volumePath: path, sizeBytes: size } = mount);
    copy = Buffer.alloc(size);
    fd = await client.call('open', path, O_RDWR);
  });

  test.after.always(async () => {
    // Undefined if starting failed.
    await (client as Client | undefined)?.close();
    await (mount as ConformanceMount | undefined)?.stop();
  });

  const write = async (offset: number, bytes: Buffer, on = fd): Promise<number> => {
    const written = await client.call('write', on, offset, bytes);
    bytes.copy(copy, offset, 0, written);
    return written;
  };
  const agrees = async (offset: number, length: number, on = fd): Promise<boolean> =>
    Buffer.from(await client.call('read', on, offset, length)).equals(copy.subarray(offset, offset + length));

  test.serial(title('a new volume reads as zeros'), async (t) => {
    t.true(await agrees(0, MIB));
    t.true(await agrees(size - 4096, 4096));
  });

  for (const [offset, length] of [
    [0, 1],
    [1, 1],
    [511, 2],
    [4095, 4098],
    [65535, 65537],
    [196607, 131075],
    [MIB - 1, MIB + 2],
    [3 * MIB + 513, 777],
  ] as const) {
    test.serial(title(`${length} bytes written at ${offset} are read back, and their neighbours are as before`), async (t) => {
      t.is(await write(offset, pattern(length, offset + length)), length);
      const start = Math.max(0, offset - 5000);
      t.true(await agrees(start, Math.min(length + 10_000, size - start)));
    });
  }

  test.serial(title('direct I/O of 1 MiB goes through, at any multiple of 512'), async (t) => {
    const direct = await client.call('open', path, O_RDWR | O_DIRECT);
    for (const offset of [0, 512, 4 * MIB + 1536]) {
      const bytes = pattern(MIB, offset + 7);
      t.is(await client.call('writeAligned', direct, offset, bytes), MIB);
      bytes.copy(copy, offset);
      t.true(Buffer.from(await client.call('readAligned', direct, offset, MIB)).equals(bytes));
    }
    await client.call('close', direct);
    t.true(await agrees(0, 6 * MIB));
  });

  test.serial(title('a read over the end is short, and one beyond it gives nothing'), async (t) => {
    await write(size - 100, pattern(100, 3));
    t.true(Buffer.from(await client.call('read', fd, size - 100, 5000)).equals(copy.subarray(size - 100)));
    t.is((await client.call('read', fd, size, 10)).length, 0);
    t.is((await client.call('read', fd, size + MIB, 10)).length, 0);
    t.is((await client.call('read', fd, 2 ** 52, 10)).length, 0);
  });

  test.serial(title('a write over the end is short, and one beyond it fails with ENOSPC, as on a block device'), async (t) => {
    t.is(await write(size - 10, pattern(50, 4)), 10);
    t.is(await client.errnoOf('write', fd, size, Buffer.alloc(1)), 'ENOSPC');
    t.is(await client.errnoOf('write', fd, size + MIB, Buffer.alloc(1)), 'ENOSPC');
    t.is((await client.call('fstat', fd)).sizeBytes, size);
    t.true(await agrees(size - 4096, 4096));
  });

  test.serial(title('fsync and fdatasync succeed'), async (t) => {
    await t.notThrowsAsync(client.call('fsync', fd));
    await t.notThrowsAsync(client.call('fdatasync', fd));
  });

  test.serial(title('stat says size, blocks, type, link count and owner'), async (t) => {
    const stat = await client.call('stat', path);
    t.is(stat.sizeBytes, size);
    t.true(stat.blocks >= 0 && stat.blocks * 512 <= size);
    t.is(stat.mode & 0o170000, 0o100000);
    t.not(stat.mode & 0o600, 0);
    t.is(stat.mode & 0o111, 0);
    t.is(stat.linkCount, 1);
    t.is(stat.uid, process.getuid!());
    t.is(stat.gid, process.getgid!());
    t.true(stat.blockSizeBytes >= 512);
    t.deepEqual(await client.call('fstat', fd), stat);
  });

  test.serial(title('statfs says the size of the volume'), async (t) => {
    const figures = await client.call('statfs', path);
    t.true(figures.blockSizeBytes >= 512);
    t.true(Math.abs(figures.sizeBytes - size) <= figures.blockSizeBytes);
  });

  test.serial(title('SEEK_DATA, SEEK_HOLE and SEEK_END know where the file ends'), async (t) => {
    t.is(await client.call('lseek', fd, 0, SEEK_END), size);
    t.true((await client.call('lseek', fd, 0, SEEK_HOLE)) <= size);
    t.true((await client.call('lseek', fd, 0, SEEK_DATA)) < size);
    t.is(await client.errnoOf('lseek', fd, size, SEEK_DATA), 'ENXIO');
  });

  test.serial(title('a shared mapping reads what was written and writes what is read'), async (t) => {
    if (target.cannot?.sharedMapping === true) {
      t.is(await client.errnoOf('mapRead', fd, 0, 4096), 'ENODEV');
      return;
    }
    t.true(Buffer.from(await client.call('mapRead', fd, 2 * MIB - 100, 9000)).equals(copy.subarray(2 * MIB - 100, 2 * MIB + 8900)));
    const bytes = pattern(9000, 5);
    await client.call('mapWrite', fd, 5 * MIB + 300, bytes);
    bytes.copy(copy, 5 * MIB + 300);
    t.true(await agrees(5 * MIB, 20_000));
  });

  test.serial(title('punching a hole and zeroing a range make zeros of exactly these bytes'), async (t) => {
    if (target.cannot?.fallocate === true) {
      t.is(await client.errnoOf('fallocate', fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 4096), 'EOPNOTSUPP');
      return;
    }
    for (const [mode, offset, length] of [
      [FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100, 10_001],
      [FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 65_536, 131_072],
      [FALLOC_ZERO_RANGE, MIB + 1, 511],
    ] as const) {
      await client.call('fallocate', fd, mode, offset, length);
      copy.fill(0, offset, offset + length);
      t.true(await agrees(0, 2 * MIB));
    }
  });

  test.serial(title('allocating inside the file changes nothing, and beyond its end fails'), async (t) => {
    if (target.cannot?.fallocate === true) {
      t.is(await client.errnoOf('fallocate', fd, 0, 0, 4096), 'EOPNOTSUPP');
      return;
    }
    await client.call('fallocate', fd, 0, 0, size);
    t.is(await client.errnoOf('fallocate', fd, 0, size, 4096), 'ENOSPC');
    t.is(await client.errnoOf('fallocate', fd, FALLOC_COLLAPSE_RANGE, 0, 4096), 'EOPNOTSUPP');
    t.is((await client.call('fstat', fd)).sizeBytes, size);
    t.true(await agrees(0, 2 * MIB));
  });

  test.serial(title('the size can be set to what it is and to nothing else'), async (t) => {
    await t.notThrowsAsync(client.call('truncate', path, size));
    await t.notThrowsAsync(client.call('ftruncate', fd, size));
    for (const other of [0, size - 1, size + 1]) {
      t.is(await client.errnoOf('truncate', path, other), 'EPERM');
      t.is(await client.errnoOf('ftruncate', fd, other), 'EPERM');
    }
    t.is(await client.errnoOf('open', path, O_WRONLY | O_TRUNC), 'EPERM');
    t.is((await client.call('stat', path)).sizeBytes, size);
    t.true(await agrees(0, MIB));
  });

  test.serial(title('mode, owner and times stay as they are: EPERM'), async (t) => {
    t.is(await client.errnoOf('chmod', path, 0o777), 'EPERM');
    t.is(await client.errnoOf('chown', path, 12345, 12345), 'EPERM');
    t.is(await client.errnoOf('utimes', path, 1), 'EPERM');
  });

  test.serial(title('there are no extended attributes and no ioctls'), async (t) => {
    t.is(await client.errnoOf('setxattr', path, 'user.a'), 'EOPNOTSUPP');
    t.true(['EOPNOTSUPP', 'ENODATA'].includes(await client.errnoOf('getxattr', path, 'user.a')));
    t.true(['EOPNOTSUPP', 'none'].includes(await client.errnoOf('listxattr', path)));
    t.is(await client.errnoOf('ioctl', fd, IOCTL_UNKNOWN), 'ENOTTY');
    t.is(await client.errnoOf('readlink', path), 'EINVAL');
  });

  test.serial(title('locks are kept between processes'), async (t) => {
    const other = new Client();
    try {
      const otherFd = await other.call('open', path, O_RDWR);
      await client.call('flock', fd);
      t.is(await other.errnoOf('flock', otherFd), 'EAGAIN');
      await client.call('recordLock', fd);
      t.true(['EAGAIN', 'EACCES'].includes(await other.errnoOf('recordLock', otherFd)));
    } finally {
      await other.close();
    }
  });

  test.serial(title('the names are fixed: creating, renaming and removing fail with EPERM'), async (t) => {
    // The single-file form has no directory of its own.
    if (dirname(path) !== mount.mountpoint) {
      t.is(path, mount.mountpoint);
      return;
    }
    const other = join(mount.mountpoint, 'other');
    t.is(await client.errnoOf('open', other, O_RDWR | O_CREAT), 'EPERM');
    t.is(await client.errnoOf('mkdir', other), 'EPERM');
    t.is(await client.errnoOf('mkfifo', other), 'EPERM');
    t.is(await client.errnoOf('symlink', 'a', other), 'EPERM');
    t.is(await client.errnoOf('link', path, other), 'EPERM');
    t.is(await client.errnoOf('rename', path, other), 'EPERM');
    t.is(await client.errnoOf('unlink', path), 'EPERM');
    t.is(await client.errnoOf('rmdir', path), 'ENOTDIR');
    t.is(await client.errnoOf('open', other, O_RDONLY), 'ENOENT');
    t.is(await client.errnoOf('stat', join(path, 'below')), 'ENOTDIR');
    t.is(await client.errnoOf('open', join(mount.mountpoint, 'n'.repeat(300)), O_RDONLY), 'ENAMETOOLONG');
    t.is(await client.errnoOf('open', mount.mountpoint, O_RDWR), 'EISDIR');
    t.true((await client.call('readdir', mount.mountpoint)).includes('volume.img'));
  });

  test.serial(title('writers in four processes do not disturb each other'), async (t) => {
    const clients = [0, 1, 2, 3].map(() => new Client());
    try {
      const share = Math.floor(size / 4 / 65_536) * 65_536;
      await Promise.all(
        clients.map(async (writer, i) => {
          const own = await writer.call('open', path, i % 2 === 0 ? O_RDWR : O_RDWR | O_DIRECT);
          for (let n = 0; n < 40; n++) {
            // Interleaved, so that all four write close to each other.
            const offset = ((n * 4 + i) * 12_288) % (share * 4 - 12_288);
            const bytes = pattern(12_288, n * 4 + i);
            const written = await writer.call('writeAligned', own, offset, bytes);
            bytes.copy(copy, offset, 0, written);
            if (written !== bytes.length) throw new Error(`short write of ${written}`);
          }
        }),
      );
      t.true(await agrees(0, 4 * MIB));
    } finally {
      await Promise.all(clients.map((writer) => writer.close()));
    }
  });

  test.serial(title('at the end the whole volume holds what was written to it'), async (t) => {
    for (let offset = 0; offset < size; offset += MIB) {
      if (!(await agrees(offset, Math.min(MIB, size - offset)))) t.fail(`the MiB at ${offset} differs`);
    }
    t.pass();
  });
}
