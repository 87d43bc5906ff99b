// The examples, run as their users run them.

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { openVolume } from '../src/index.js';
import { temporaryFolder } from './support/tmp.js';

const copyThroughCache = fileURLToPath(new URL('../examples/copy-through-cache.js', import.meta.url));

interface Ending {
  status: number | string | null;
  stdout: string;
  stderr: string;
}

function run(...args: string[]): Promise<Ending> {
  return new Promise((resolve) => {
    execFile(process.execPath, [copyThroughCache, ...args], { timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : (error.code ?? null), stdout, stderr });
    });
  });
}

function paths(t: ExecutionContext): { source: string; cache: string; backing: string } {
  const folder = temporaryFolder(t);
  return { source: join(folder, 'source'), cache: join(folder, 'cache.pmem'), backing: join(folder, 'backing.img') };
}

test('copy-through-cache leaves the source, padded to sectors, on the backing file alone', async (t) => {
  const { source, cache, backing } = paths(t);
  const content = randomBytes(5 * 1024 * 1024 + 123);
  writeFileSync(source, content);

  const ending = await run(source, cache, backing);
  t.is(ending.stderr, '');
  t.is(ending.status, 0);
  t.regex(ending.stdout, new RegExp(`^${content.length} bytes copied; \\d+ were in the cache alone`));

  const found = readFileSync(backing);
  t.is(found.length, Math.ceil(content.length / 512) * 512);
  t.true(found.subarray(0, content.length).equals(content));
  t.true(found.subarray(content.length).every((byte) => byte === 0));
});

test('what copy-through-cache wrote reads back through the cache', async (t) => {
  const { source, cache, backing } = paths(t);
  const content = randomBytes(700_001);
  writeFileSync(source, content);
  t.is((await run(source, cache, backing)).status, 0);

  const volume = openVolume({ cachePath: cache, backingPath: backing });
  try {
    t.is(volume.dirtyBytes, 0);
    t.true(Buffer.from(volume.read(0, content.length)).equals(content));
  } finally {
    volume.close();
  }
});

test('copy-through-cache says in one line what is wrong, and leaves what is there alone', async (t) => {
  const { source, cache, backing } = paths(t);
  t.is((await run(source, cache)).status, 2);

  const missing = await run(source, cache, backing);
  t.is(missing.status, 1);
  t.regex(missing.stderr, /^copy-through-cache: [^\n]*ENOENT[^\n]*\n$/);
  t.false(existsSync(cache));
  t.false(existsSync(backing));

  writeFileSync(source, 'content');
  writeFileSync(cache, 'not a cache');
  const refused = await run(source, cache, backing);
  t.is(refused.status, 1);
  t.regex(refused.stderr, /^copy-through-cache: [^\n]+\n$/);
  t.is(readFileSync(cache, 'utf8'), 'not a cache');
});

test('copy-through-cache refuses a cache that belongs to another backing file', async (t) => {
  const { source, cache, backing } = paths(t);
  writeFileSync(source, 'content');
  t.is((await run(source, cache, backing)).status, 0);

  const other = `${backing}.other`;
  writeFileSync(other, '');
  truncateSync(other, 1024);
  const refused = await run(source, cache, other);
  t.is(refused.status, 1);
  t.regex(refused.stderr, /belongs to a backing device of 512 bytes, this one has 1024/);
  t.true(readFileSync(other).every((byte) => byte === 0));
});
