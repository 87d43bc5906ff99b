// A program that uses a cache and comes to an end without closing it, in one of several ways: `write` writes until it is killed and tells its parent
// what was acknowledged; `idle` comes to the end of its own code; `exit` leaves with writeback under way.

import { openCache } from '../../src/index.js';

export interface ChildMessage {
  readonly offset: number;
  readonly value: number;
}

const MIB = 1 << 20;
const [how, cachePath, backingPath, value] = process.argv.slice(2) as [string, string, string, string];
const volume = await openCache({ cachePath, backingPath });

async function writeOn(lane: number): Promise<never> {
  for (let i = 0; ; i++) {
    const offset = (lane * 500 + (i % 500)) * 4099;
    await volume.write(offset, new Uint8Array(1000).fill(Number(value)));
    process.send!({ offset, value: Number(value) } satisfies ChildMessage);
  }
}

if (how === 'write') {
  await Promise.all(Array.from({ length: 8 }, (_, lane) => writeOn(lane)));
} else if (how === 'idle') {
  process.channel!.unref();
  // Nothing but the call keeps the process alive.
  void volume.write(1, new Uint8Array(5 * MIB).fill(1)).then(() => process.stdout.write('written\n'));
} else {
  for (let mib = 0; mib < 60; mib++) await volume.write(mib * MIB, new Uint8Array(MIB).fill(mib + 1));
  void volume.writeBackAll();
  process.exit(3);
}
