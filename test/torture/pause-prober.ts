// A user of a volume who does one small thing after another and looks at the clock: writes 4 KiB, reads them, compares. Started by pause-probe.ts as
// `node pause-prober.js FILE OFFSET`; lives until it is killed. Lines on stdout: `gap START END` for completions that lie far apart, in machineMs;
// `failed WHY` last if a call failed or what was read is not what was written.

import * as fs from 'node:fs';
import { alignedBuffer } from '../../src/gateway/aligned-buffer.js';
import { machineMs } from './machine-clock.js';

const BLOCK_BYTES = 4096;
const BLOCKS = 64;
/** Shorter gaps are not worth a line. */
const GAP_MS_MIN = 3;

function main([file, offsetText]: string[]): void {
  try {
    const fd = fs.openSync(file!, fs.constants.O_RDWR | fs.constants.O_DIRECT);
    const written = alignedBuffer(BLOCK_BYTES);
    const read = alignedBuffer(BLOCK_BYTES);
    const stamp = new Float64Array(written.buffer, written.byteOffset, 1);
    let lastMs = machineMs();
    const completed = (): void => {
      const nowMs = machineMs();
      if (nowMs - lastMs >= GAP_MS_MIN) fs.writeSync(1, `gap ${lastMs} ${nowMs}\n`);
      lastMs = nowMs;
    };
    for (let n = 1; ; n++) {
      const offset = Number(offsetText) + (n % BLOCKS) * BLOCK_BYTES;
      written.fill(n & 0xff);
      stamp[0] = n;
      if (fs.writeSync(fd, written, 0, BLOCK_BYTES, offset) !== BLOCK_BYTES) throw new Error('short write');
      completed();
      if (fs.readSync(fd, read, 0, BLOCK_BYTES, offset) !== BLOCK_BYTES) throw new Error('short read');
      completed();
      if (Buffer.compare(read, written) !== 0) throw new Error(`block ${n % BLOCKS} is not what was written`);
    }
  } catch (error) {
    fs.writeSync(1, `failed ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}\n`);
  }
}

main(process.argv.slice(2));
