// A process that writes to a volume until it is stopped, and keeps a diary of what was acknowledged and when: a line before each write and one after, in a
// file that no mount has to do with. Whoever kills a gateway reads there what must not be lost. Started by mounted-diary.ts and torture-diary.ts, as
// `node mounted-writer.js VOLUME DIARY START LENGTH SEED HOW`; writes within [START, START + LENGTH) only.
//
// The lines: `write N OFFSET LENGTH` before, `done N MS` after, MS on the clock that all processes of a machine share; `failed ERRNO` last if a call
// failed. The bytes are `pattern(LENGTH, SEED + N)`.

import * as fs from 'node:fs';
import { pattern } from '../fuse/conformance.js';
import { machineMs } from '../torture/machine-clock.js';

export type WriterHow = 'plain' | 'fsync' | 'unaligned';

const BYTES_MAX = 48 * 1024;
const SECTOR_BYTES = 512;
/** With `fsync`, after so many writes. */
const FSYNC_EVERY = 4;

function main([volume, diary, startText, lengthText, seedText, how]: string[]): void {
  const start = Number(startText);
  const length = Number(lengthText);
  const seed = Number(seedText);
  const log = fs.openSync(diary!, 'a');
  const unit = how === 'unaligned' ? 1 : SECTOR_BYTES;
  let state = (seed * 2654435761 + 1) >>> 0;
  const random = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  try {
    const fd = fs.openSync(volume!, fs.constants.O_RDWR);
    for (let n = 0; ; n++) {
      const bytes = (1 + random(BYTES_MAX / unit)) * unit;
      const offset = start + random((length - bytes) / unit) * unit;
      fs.writeSync(log, `write ${n} ${offset} ${bytes}\n`);
      if (fs.writeSync(fd, pattern(bytes, seed + n), 0, bytes, offset) !== bytes) throw new Error('short write');
      fs.writeSync(log, `done ${n} ${machineMs()}\n`);
      if (how === 'fsync' && n % FSYNC_EVERY === FSYNC_EVERY - 1) fs.fsyncSync(fd);
    }
  } catch (error) {
    fs.writeSync(log, `failed ${(error as NodeJS.ErrnoException).code ?? String(error)}\n`);
  }
}

main(process.argv.slice(2));
