// `check --repair` and `--undo` as a user calls them.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import test from 'ava';
import { DIRTY_TAIL_OFFSETS, KEY_TAIL_OFFSETS, SEGMENTS_OFFSET, SEGMENT_DATA_OFFSET, SUPERBLOCK_OFFSET } from '../../src/media/layout.js';
import type { SmallCache } from './offline-support.js';
import { PCACHE, flipByte, hashOf, isRefused, linesOf, overwrite, pcache, smallCache, useVolume } from './offline-support.js';

const KSET_BYTES = 64;

/** Five flushed writes of one key each, 4 KiB at 0, 64 KiB, ...; the kset of the third is damaged. */
function cacheWithDamagedLog(t: ExecutionContext): SmallCache {
  const cache = smallCache(t);
  useVolume(cache, (volume) => {
    for (let number = 0; number < 5; number++) {
      volume.write(number * 65536, new Uint8Array(4096).fill(number + 1));
      volume.flush();
    }
  });
  flipByte(cache.cachePath, SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET + 2 * KSET_BYTES + 30);
  return cache;
}

test('check says what a damaged log means for the volume, and what to do next', async (t) => {
  const { cachePath } = cacheWithDamagedLog(t);
  const result = await pcache('check', cachePath);
  t.is(result.status, 1);
  t.regex(result.stdout, /\nerror {4}volume at 192 KiB, 4 KiB long \(bytes 196608 to 200703\): written behind the damage: [^\n]+\n/);
  t.regex(result.stdout, /\nerror {4}log at 0:128: 1 write at most behind the damage can't be read: /);
  t.regex(result.stdout, /; 8 KiB of the volume in 2 ranges concerned /);
  t.regex(
    result.stdout,
    /\nnext: pcache check \S+cache\.pmem --repair --dry-run says what would be repaired[^\n]+\nnext: pcache recover [^\n]+\n$/,
  );
  const [record] = linesOf(await pcache('--json', 'check', cachePath));
  t.like(record, { affected_bytes: 8192, repairable: true });
});

test('a repair is shown, saved, made, checked and taken back', async (t) => {
  const cache = cacheWithDamagedLog(t);
  const { cachePath, folder } = cache;
  const damaged = hashOf(cachePath);
  const dry = await pcache('check', cachePath, '--repair', '--dry-run');
  t.is(dry.status, 1);
  t.regex(dry.stdout, /^\S+cache\.pmem: 1 repair:\n1\. log at 0:128: /);
  t.regex(dry.stdout, /given up: 2 writes, 8 KiB of the volume/);
  t.regex(dry.stdout, /\n +at 192 KiB, 4 KiB long \(bytes 196608 to 200703\)\n/);
  t.regex(dry.stdout, /and 1 write at most that can't be read/);
  t.regex(dry.stdout, /Nothing was changed: this was a dry run\.\n$/);
  isRefused(t, await pcache('check', cachePath, '--repair'), 2, /there is no terminal to ask on\nhint: --dry-run .*--yes/);
  const refused = await pcache('--json', 'check', cachePath, '--repair');
  t.is(refused.status, 2);
  t.regex((JSON.parse(refused.stderr) as { error: { message: string } }).error.message, /there is no terminal to ask on$/);
  t.is(hashOf(cachePath), damaged);
  t.deepEqual(readdirSync(folder).sort(), ['backing.img', 'cache.pmem']);

  const backup = join(folder, 'saved');
  const repaired = await pcache('--json', 'check', cachePath, '--repair', '--yes', '--backup', backup);
  t.is(repaired.status, 0, repaired.stderr);
  t.like(linesOf(repaired)[0], {
    repaired: true,
    backup,
    given_up: { writes: 2, bytes: 8192, unreadable_writes_max: 1 },
    check: { errors: 0, warnings: 0 },
  });
  t.is(statSync(backup).mode & 0o777, 0o600);
  t.is((await pcache('check', cachePath)).status, 0);

  const undone = await pcache('check', cachePath, '--undo', backup, '--yes');
  t.is(undone.status, 0, undone.stderr);
  t.regex(undone.stdout, /puts back \d+ bytes that the repair of .* changed; .*\nDone\.\n$/);
  t.is(hashOf(cachePath), damaged);

  // The name next to the cache, and the volume as it was before the first write that is missing.
  const again = await pcache('check', cachePath, '--repair', '--yes');
  t.is(again.status, 0, again.stderr);
  t.regex(again.stdout, /\n\S+cache\.pmem: repaired\. To take it back, .* --undo \S+\n\S+: no problems found /);
  t.is(readdirSync(folder).filter((name) => /^cache\.pmem\.before-repair-\d{8}T\d{6}Z$/.test(name)).length, 1);
  useVolume(cache, (volume) => {
    t.deepEqual(
      [0, 1, 2, 3, 4].map((number) => volume.read(number * 65536, 1)[0]),
      [1, 2, 0, 0, 0],
    );
    volume.write(65536, new Uint8Array(512).fill(9));
  });
  isRefused(t, await pcache('check', cachePath, '--undo', backup, '--yes'), 1, /the cache has been used since/);
});

test('a backup is never written over, and one that is not whole or of another cache is refused', async (t) => {
  const { cachePath, folder } = cacheWithDamagedLog(t);
  const damaged = hashOf(cachePath);
  const backup = join(folder, 'saved');
  writeFileSync(backup, 'something');
  const taken = await pcache('--quiet', 'check', cachePath, '--repair', '--yes', '--backup', backup);
  isRefused(t, taken, 1, /saved: exists already, and is not overwritten\nhint: --backup/);
  t.is(readFileSync(backup, 'utf8'), 'something');
  t.is(hashOf(cachePath), damaged);
  const nowhere = await pcache('--quiet', 'check', cachePath, '--repair', '--yes', '--backup', join(folder, 'none', 'saved'));
  isRefused(t, nowhere, 1, /no such file or directory/);
  t.is(hashOf(cachePath), damaged);

  const good = join(folder, 'good');
  t.is((await pcache('check', cachePath, '--repair', '--yes', '--backup', good)).status, 0);
  const repaired = hashOf(cachePath);
  isRefused(t, await pcache('check', cachePath, '--undo', backup, '--yes'), 1, /saved: not a backup that a repair made/);
  const bytes = readFileSync(good);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(backup, bytes);
  isRefused(t, await pcache('check', cachePath, '--undo', backup, '--yes'), 1, /saved: the backup is damaged: bad CRC/);
  writeFileSync(backup, bytes.subarray(0, bytes.length - 7));
  isRefused(t, await pcache('check', cachePath, '--undo', backup, '--yes'), 1, /saved: the backup is damaged: \d+ bytes of data, not \d+/);
  isRefused(t, await pcache('check', cachePath, '--undo', good), 2, /there is no terminal to ask on/);
  t.is(hashOf(cachePath), repaired);
  const other = smallCache(t);
  overwrite(other.cachePath, 24, new Uint8Array(16).fill(0x77));
  const otherHash = hashOf(other.cachePath);
  const refused = await pcache('check', other.cachePath, '--undo', good, '--yes');
  t.is(refused.status, 1);
  t.is(hashOf(other.cachePath), otherHash);
});

test('what can not be repaired safely is said, and nothing is changed', async (t) => {
  const { cachePath, folder } = cacheWithDamagedLog(t);
  overwrite(cachePath, KEY_TAIL_OFFSETS[0], new Uint8Array(64).fill(0xee));
  // The header, which names a place for them; its backup does not.
  overwrite(cachePath, 0, new Uint8Array(4096));
  overwrite(cachePath, SUPERBLOCK_OFFSET, new Uint8Array(24));
  const before = hashOf(cachePath);
  const result = await pcache('check', cachePath, '--repair', '--yes');
  t.is(result.status, 1);
  t.regex(result.stdout, /^\S+cache\.pmem: can not be repaired safely, so nothing is changed\n/);
  t.regex(result.stdout, /\nnext: key_tail and dirty_tail can not be repaired safely \(both are lost: [^\n]+\n$/);
  t.is(hashOf(cachePath), before);
  t.deepEqual(readdirSync(folder).sort(), ['backing.img', 'cache.pmem']);
});

test('nothing to repair is no failure, and makes no backup', async (t) => {
  const { cachePath, folder } = smallCache(t);
  const before = hashOf(cachePath);
  const result = await pcache('check', cachePath, '--repair', '--yes');
  t.is(result.status, 0);
  t.regex(result.stdout, /^\S+: nothing to repair\n\S+: no problems found /);
  t.is(hashOf(cachePath), before);
  t.deepEqual(readdirSync(folder).sort(), ['backing.img', 'cache.pmem']);
});

test('a bad copy of a record is rewritten from the good one', async (t) => {
  const cache = cacheWithDamagedLog(t);
  flipByte(cache.cachePath, SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET + 2 * KSET_BYTES + 30);
  flipByte(cache.cachePath, DIRTY_TAIL_OFFSETS[1] + 9);
  const [record] = linesOf(await pcache('--json', 'check', cache.cachePath, '--repair', '--yes'));
  t.like(record, {
    repaired: true,
    given_up: null,
    steps: [{ place: 'dirty_tail copy 1', writes: [{ device_offset: DIRTY_TAIL_OFFSETS[1], bytes: 16 }] }],
  });
});

test('a repair that leaves only what nobody has to do something about ends with status 0', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => {
    volume.write(0, new Uint8Array(4096).fill(1));
    volume.writeBackAll();
  });
  // What is on the backing device too, and one of two copies.
  flipByte(cache.cachePath, readFileSync(cache.cachePath).indexOf(Buffer.alloc(4096, 1), SEGMENTS_OFFSET));
  flipByte(cache.cachePath, DIRTY_TAIL_OFFSETS[1] + 9);
  t.is((await pcache('check', cache.cachePath)).status, 1, 'a copy is to be rewritten');
  const repaired = await pcache('check', cache.cachePath, '--repair', '--yes');
  t.is(repaired.status, 0, repaired.stdout);
  t.regex(repaired.stdout, /: repaired\. .*\nwarning [^]*\nnext: nothing needs to be done: the cache can be used\n$/);
  t.is((await pcache('check', cache.cachePath)).status, 0);
});

test('options that make no sense together are refused', async (t) => {
  const { cachePath } = smallCache(t);
  for (const [options, line] of [
    [['--dry-run'], /--dry-run needs --repair/],
    [['--backup', 'x'], /--backup needs --repair/],
    [['--yes'], /--yes needs --repair or --undo/],
    [['--repair', '--dry-run', '--yes'], /exclude each other/],
    [['--undo', 'x', '--repair'], /--undo goes with --yes only/],
  ] as const) {
    isRefused(t, await pcache('check', cachePath, ...options), 2, line);
  }
  isRefused(t, await pcache('check', cachePath, '--undo', join(cachePath, 'x'), '--yes'), 1, /not a directory/);
});

const hasScript = existsSync('/usr/bin/script');
const title = `at a terminal it asks, and anything but yes changes nothing${hasScript ? '' : ' (skipped: no script command)'}`;
(hasScript ? test : test.skip)(title, (t) => {
  const { cachePath } = cacheWithDamagedLog(t);
  const before = hashOf(cachePath);
  const ask = (answer: string) => {
    const command = `'${process.execPath}' '${PCACHE}' check '${cachePath}' --repair`;
    return spawnSync('/usr/bin/script', ['-qec', command, '/dev/null'], { input: answer, timeout: 60_000, encoding: 'utf8' });
  };
  for (const answer of ['n\n', '\n', 'maybe\n']) {
    const no = ask(answer);
    t.is(no.status, 1, no.stdout);
    t.regex(no.stdout, /Do this, and give up the writes named above\? \[y\/N\]/);
    t.is(hashOf(cachePath), before);
  }
  const yes = ask('y\n');
  t.is(yes.status, 0, yes.stdout);
  t.regex(yes.stdout, /repaired\. To take it back/);
  t.not(hashOf(cachePath), before);
});
