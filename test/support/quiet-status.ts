// The status of a gateway from which nothing is wanted any more.

import type { StatusSnapshot } from '../../src/gateway/status.js';
import { waitUntil } from './mounted-commands.js';
import type { TestGateway } from './mounted.js';

/** Longer than it takes until a rate of writeback is known; before, it is 0. */
const QUIET_MS = 1500;

/** Once all is written back, and the rate of that, which goes on changing when nothing happens, is 0: the same each time it is asked for. */
export async function quietStatus(gateway: TestGateway): Promise<StatusSnapshot> {
  let quietSinceMs: number | undefined;
  await waitUntil(async () => {
    const { dirty_bytes: dirtyBytes, writeback_bytes_per_s: rate } = await gateway.status();
    quietSinceMs = dirtyBytes === 0 && rate === 0 ? (quietSinceMs ?? performance.now()) : undefined;
    return quietSinceMs !== undefined && performance.now() - quietSinceMs > QUIET_MS;
  }, 'the volume is quiet');
  return gateway.status();
}
