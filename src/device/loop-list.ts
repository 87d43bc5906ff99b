// Which loop devices there are, as sysfs tells. Invariant: opens no device and touches no file behind one, so nothing here can hang on a volume that is dead.

import * as fs from 'node:fs';
import { errnoOf } from './system-error.js';

export interface LoopDevice {
  /** `/dev/loopN` */
  readonly device: string;
  /** As the kernel names it: where the file is now; of a mount that was taken away, its path in that mount. */
  readonly backingFile: string;
  readonly offsetBytes: number;
  readonly directIo: boolean;
  readonly readOnly: boolean;
  /** The kernel detaches it when its last user closes it. */
  readonly autoclear: boolean;
}

/** All attached loop devices. */
export function listLoops(): LoopDevice[] {
  let names: string[];
  try {
    names = fs.readdirSync('/sys/block');
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return [];
  }
  return names.filter((name) => /^loop\d+$/.test(name)).flatMap((name) => loopNamed(name) ?? []);
}

/** @param name `loopN`; undefined if nothing is attached to it */
export function loopNamed(name: string): LoopDevice | undefined {
  const folder = `/sys/block/${name}`;
  const read = (file: string): string => fs.readFileSync(`${folder}/${file}`, 'utf8').trimEnd();
  try {
    return {
      device: `/dev/${name}`,
      backingFile: read('loop/backing_file'),
      offsetBytes: Number(read('loop/offset')),
      directIo: read('loop/dio') === '1',
      readOnly: read('ro') === '1',
      autoclear: read('loop/autoclear') === '1',
    };
  } catch (error) {
    // Without a file attached there is no folder `loop`.
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}
