// The structures' sizes, and that no two fields overlap.

import test from 'ava';
import * as structs from '../../src/fuse/structs.js';

/** sizeof() in C of each structure of uapi/linux/fuse.h. */
const sizes: Record<string, number> = {
  IN_HEADER: 40,
  OUT_HEADER: 16,
  INIT_OUT: 64,
  ATTR: 88,
  ENTRY_OUT: 128,
  ATTR_OUT: 104,
  SETATTR_IN: 88,
  GETATTR_IN: 16,
  OPEN_IN: 8,
  OPEN_OUT: 16,
  RELEASE_IN: 24,
  READ_IN: 40,
  WRITE_IN: 40,
  WRITE_OUT: 8,
  FSYNC_IN: 16,
  FALLOCATE_IN: 32,
  LSEEK_IN: 24,
  LSEEK_OUT: 8,
  STATFS_OUT: 80,
  DIRENT: 24,
  RETRIEVE_OUT: 32,
};

for (const [name, bytes] of Object.entries(sizes)) {
  test(`${name} has ${bytes} bytes and its fields lie in it, each in a place of its own`, (t) => {
    const struct = structs[name as keyof typeof structs] as unknown as Record<string, number>;
    t.is(struct.bytes, bytes);
    t.is(bytes % 8, 0);
    const offsets = Object.entries(struct)
      .filter(([field]) => field !== 'bytes')
      .map(([, offset]) => offset);
    t.is(new Set(offsets).size, offsets.length);
    t.true(offsets.every((offset) => offset % 2 === 0 && offset < bytes));
  });
}
