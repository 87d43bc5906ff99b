// Requests as Linux 6.18 sends them, in annotated hex (uapi/linux/fuse.h): what `#` begins is a comment. `len`, the first word, is filled in.

export interface RequestFixture {
  readonly name: string;
  readonly hex: string;
}

const HEADER = (opcode: string, nodeid: string): string => `
  00000000            # len: filled in
  ${opcode}           # opcode
  0400000000000000    # unique 4
  ${nodeid}           # nodeid
  e8030000            # uid 1000
  64000000            # gid 100
  d2040000            # pid 1234
  0000 0000           # total_extlen, padding
`;
const ROOT = '0100000000000000';
const VOLUME = '0200000000000000';

export const fixtures: readonly RequestFixture[] = [
  { name: 'LOOKUP', hex: `${HEADER('01000000', ROOT)} 766f6c756d652e696d67 00 # "volume.img"` },
  { name: 'FORGET', hex: `${HEADER('02000000', VOLUME)} 0100000000000000 # nlookup 1` },
  {
    name: 'GETATTR',
    hex: `${HEADER('03000000', VOLUME)}
      00000000 00000000   # flags, dummy
      0000000000000000    # fh`,
  },
  {
    name: 'SETATTR',
    hex: `${HEADER('04000000', VOLUME)}
      48000000 00000000   # valid: SIZE | FH
      0700000000000000    # fh 7
      0000000100000000    # size 16 MiB
      0000000000000000    # lock_owner
      0000000000000000 0000000000000000 0000000000000000 # times
      00000000 00000000 00000000                         # their nanoseconds
      a4810000            # mode 0100644
      00000000            # unused
      e9030000 65000000   # uid 1001, gid 101
      00000000            # unused`,
  },
  {
    name: 'OPEN',
    hex: `${HEADER('0e000000', VOLUME)}
      02c00000            # flags: O_RDWR | O_DIRECT | O_LARGEFILE
      00000000            # open_flags`,
  },
  {
    name: 'READ',
    hex: `${HEADER('0f000000', VOLUME)}
      0700000000000000    # fh 7
      0010000001000000    # offset 4 GiB + 4096
      00000200            # size 128 KiB
      00000000            # read_flags
      0000000000000000    # lock_owner
      02c00000 00000000   # flags, padding`,
  },
  {
    name: 'WRITE',
    hex: `${HEADER('10000000', VOLUME)}
      0700000000000000    # fh 7
      0102000000000000    # offset 513
      03000000            # size 3
      00000000            # write_flags
      0000000000000000    # lock_owner
      02c00000 00000000   # flags, padding
      616263              # "abc"`,
  },
  { name: 'STATFS', hex: HEADER('11000000', ROOT) },
  {
    name: 'RELEASE',
    hex: `${HEADER('12000000', VOLUME)}
      0700000000000000    # fh 7
      02c00000 00000000   # flags, release_flags
      0000000000000000    # lock_owner`,
  },
  {
    name: 'FSYNC',
    hex: `${HEADER('14000000', VOLUME)}
      0700000000000000    # fh 7
      01000000 00000000   # fsync_flags: FDATASYNC`,
  },
  { name: 'OPENDIR', hex: `${HEADER('1b000000', ROOT)} 00000100 00000000 # flags: O_DIRECTORY` },
  {
    name: 'READDIR',
    hex: `${HEADER('1c000000', ROOT)}
      0000000000000000    # fh
      0200000000000000    # offset: after the second entry
      00100000            # size 4096
      00000000            # read_flags
      0000000000000000    # lock_owner
      00000100 00000000   # flags, padding`,
  },
  { name: 'RELEASEDIR', hex: `${HEADER('1d000000', ROOT)} 0000000000000000 00000100 00000000 0000000000000000` },
  { name: 'INTERRUPT', hex: `${HEADER('24000000', VOLUME)} 0200000000000000 # unique 2` },
  {
    name: 'FALLOCATE',
    hex: `${HEADER('2b000000', VOLUME)}
      0700000000000000    # fh 7
      0000100000000000    # offset 1 MiB
      0000000001000000    # length 4 GiB
      03000000 00000000   # mode: PUNCH_HOLE | KEEP_SIZE`,
  },
  {
    name: 'LSEEK',
    hex: `${HEADER('2e000000', VOLUME)}
      0700000000000000    # fh 7
      0020000000000000    # offset 8192
      04000000 00000000   # whence: SEEK_HOLE`,
  },
];

/** The bytes of a fixture, with `len` filled in. */
export function bytesOf(fixture: RequestFixture): Buffer {
  const bytes = Buffer.from(fixture.hex.replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''), 'hex');
  bytes.writeUInt32LE(bytes.length, 0);
  return bytes;
}

export function fixtureNamed(name: string): Buffer {
  return bytesOf(fixtures.find((fixture) => fixture.name === name)!);
}
