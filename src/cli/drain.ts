// Waiting until what was printed has been taken. A pipe takes 64 KiB at once; what is beyond that waits in memory, and is lost if the process exits.

import type { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';

/** Resolves when everything written to the stream has left the process, or can't any more because the reader has gone; after one turn at least. */
export async function outputTaken(stream: Writable = process.stdout): Promise<void> {
  await turn();
  if (stream.writableLength === 0 || stream.destroyed) return;
  await new Promise<void>((resolve) => {
    stream.write('', () => {
      resolve();
    });
  });
}
