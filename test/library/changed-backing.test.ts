// A backing file that was written to while the cache was closed, as the library meets it; and that its own use of the file never looks like that.

import { closeSync, openSync, truncateSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import test from 'ava';
import { createCache, openCache, openVolume, PcacheError } from '../../src/index.js';
import { CACHE_BYTES_MIN } from '../../src/media/layout.js';
import { temporaryFolder } from '../support/tmp.js';

const VOLUME_BYTES = 4 * 1024 * 1024;

function files(t: ExecutionContext): { cachePath: string; backingPath: string } {
  const folder = temporaryFolder(t);
  const paths = { cachePath: join(folder, 'cache'), backingPath: join(folder, 'backing') };
  createCache(paths.cachePath, CACHE_BYTES_MIN);
  closeSync(openSync(paths.backingPath, 'w'));
  truncateSync(paths.backingPath, VOLUME_BYTES);
  return paths;
}

test('twenty openings with writes and writing back in between are never refused', async (t) => {
  const paths = files(t);
  for (let round = 0; round < 20; round++) {
    const bytes = new Uint8Array(4096).fill(round);
    if (round % 4 === 3) {
      const volume = await openCache(paths);
      await volume.write(round * 4096, bytes);
      if (round % 8 === 3) await volume.writeBackAll();
      await volume.close();
    } else {
      const volume = openVolume(paths);
      volume.write(round * 4096, bytes);
      if (round % 2 === 0) volume.writeBackAll();
      volume.close();
    }
  }
  const volume = openVolume({ ...paths, readOnly: true });
  t.is(volume.read(19 * 4096, 1)[0], 19);
  volume.close();
});

test('a backing file that was written to meanwhile is refused with its reason by openCache and openVolume, and taken with adopt', async (t) => {
  const paths = files(t);
  openVolume(paths).close();
  utimesSync(paths.backingPath, 1_600_000_000, 1_600_000_000);
  const says = {
    instanceOf: PcacheError,
    code: 'mismatch',
    message: /written to after the cache was closed: it was last changed at 2020-/,
  };
  await t.throwsAsync(openCache(paths), says);
  t.throws(() => openVolume(paths), says);
  t.throws(() => openVolume({ ...paths, readOnly: true }), says);
  await (await openCache({ ...paths, adopt: true })).close();
  openVolume(paths).close();
});
