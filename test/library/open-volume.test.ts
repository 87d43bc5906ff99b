// The volume in the calling thread: what it says of itself. What it does is that of InlineVolume, which has tests of its own.

import { closeSync, openSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { createCache, openVolume } from '../../src/index.js';
import { CACHE_BYTES_MIN } from '../../src/media/layout.js';
import { temporaryFolder } from '../support/tmp.js';

const VOLUME_BYTES = 4 * 1024 * 1024;

test('what is written over and over again is dirty once, here too', (t) => {
  const folder = temporaryFolder(t);
  const paths = { cachePath: join(folder, 'cache'), backingPath: join(folder, 'backing') };
  createCache(paths.cachePath, CACHE_BYTES_MIN);
  closeSync(openSync(paths.backingPath, 'w'));
  truncateSync(paths.backingPath, VOLUME_BYTES);
  const volume = openVolume(paths);
  t.is(volume.dirtyBytes, 0);
  for (let round = 1; round <= 10; round++) volume.write(8192, new Uint8Array(4096).fill(round));
  t.is(volume.dirtyBytes, 4096);
  volume.write(VOLUME_BYTES - 512, new Uint8Array(512).fill(1));
  t.is(volume.dirtyBytes, 4608);
  volume.close();
  const again = openVolume(paths);
  t.is(again.dirtyBytes, 4608);
  again.writeBackAll();
  t.is(again.dirtyBytes, 0);
  again.close();
});
