// The conformance suite on the real gateway, in each form in which it serves a volume.

import test from 'ava';
import { loadFuseNative } from '../../src/fuse/libfuse-library.js';
import { whyNoRings } from '../../src/fuse/ring-support.js';
import { messageOf } from '../../src/errors.js';
import { conformance, type ConformanceMount } from '../fuse/conformance.js';
import { MIB, TestGateway, noFuse, type GatewayOptions } from '../support/mounted.js';

/** Not a multiple of 4 KiB, nor of the 4 MiB of a subtree. */
const VOLUME_BYTES = 24 * MIB + 1536;

function whyNoLibfuse(): string | undefined {
  try {
    loadFuseNative();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function start(options: GatewayOptions): Promise<ConformanceMount> {
  const gateway = await TestGateway.create({ ...options, volumeBytes: VOLUME_BYTES });
  const stop = async (): Promise<void> => {
    try {
      const status = await gateway.status();
      const errors = { ...status.last_error, reads: status.read_errors, writes: status.write_errors, flushes: status.flush_errors };
      if (status.state !== 'serving' || Object.values(errors).some((each) => each !== 0)) {
        throw new Error(`${status.state}: ${JSON.stringify(errors)}\n${gateway.log()}`);
      }
      await gateway.umount('--flush');
    } finally {
      await gateway.dispose();
    }
  };
  try {
    await gateway.mount();
  } catch (error) {
    await gateway.dispose();
    throw error;
  }
  return { mountpoint: gateway.mountpoint, volumePath: gateway.volume, sizeBytes: VOLUME_BYTES, stop };
}

conformance(test, { name: 'directory', skip: noFuse, start: () => start({}) });
conformance(test, { name: 'file', skip: noFuse, start: () => start({ mountKind: 'file', cacheOn: 'disk' }) });
conformance(test, {
  name: 'kernel_cache, data CRC, four workers',
  skip: noFuse,
  start: () => start({ mountOptions: 'kernel_cache,workers=4', dataCrc: true }),
});
for (const workers of ['', ',workers=1']) {
  conformance(test, {
    name: `io-uring${workers}`,
    skip: noFuse ?? whyNoRings(),
    start: () => start({ mountOptions: `transport=io-uring${workers}`, dataCrc: workers !== '' }),
  });
}
conformance(test, {
  name: 'libfuse',
  skip: noFuse ?? whyNoLibfuse(),
  cannot: { fallocate: true },
  start: () => start({ mountOptions: 'transport=libfuse' }),
});
