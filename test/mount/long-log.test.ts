// Logs so long that an engine replays them with its other threads' help: what it serves then is what was written.

import { createHash } from 'node:crypto';
import { seededRandom } from '../../src/device/seeded-random.js';
import { openVolume } from '../../src/index.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { MIB, mountTest, unmounted } from '../support/mounted.js';

const VOLUME_BYTES = 16 * MIB;
const SECTOR = 512;
/** More than an engine replays by itself, with data CRC. */
const KEYS = 105_000;

mountTest(`a log of ${KEYS} keys is served as it was written`, undefined, async (t) => {
  const gateway = await unmounted(t, { cacheBytes: 192 * MIB, volumeBytes: VOLUME_BYTES, dataCrc: true });
  const content = Buffer.alloc(VOLUME_BYTES);
  const random = seededRandom(1);
  const volume = openVolume({ cachePath: gateway.cache, backingPath: gateway.backing });
  for (let i = 1; i <= KEYS; i++) {
    const offset = SECTOR * Math.floor((random() * VOLUME_BYTES) / SECTOR);
    content.writeUInt32LE(i, offset + Math.floor(random() * 100) * 4);
    volume.write(offset, content.subarray(offset, offset + SECTOR));
  }
  volume.close();
  const expected = createHash('blake2b512').update(content).digest('hex');
  await gateway.mount();
  t.true(keysReplayed(gateway.log())[0]! >= KEYS);
  t.is(await digestOf(gateway.volume, { direct: true }), expected);
  const { engine } = gateway.pids;
  process.kill(engine, 'SIGKILL');
  t.is(await digestOf(gateway.volume, { direct: true }), expected);
  await waitUntil(() => keysReplayed(gateway.log()).length === 2, 'another engine has replayed the log');
  await gateway.umount('--flush');
  t.is(await digestOf(gateway.backing), expected);
});

function keysReplayed(log: string): number[] {
  return [...log.matchAll(/"keys":(\d+)/g)].map(([, keys]) => Number(keys));
}
