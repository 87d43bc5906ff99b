// How mount(8) calls its helper, and what a line of fstab may say.

import test from 'ava';
import { helperMountOptions, parseHelperArguments, parseSource } from '../../src/cli/helper-arguments.js';
import { PcacheError } from '../../src/errors.js';

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof PcacheError) return error.message;
    throw error;
  }
  return 'accepted';
}

test('the arguments of mount(8), however they are put', (t) => {
  const { places, flags, options, namespace } = parseHelperArguments(
    ['/c#/b', '/mnt', '-sv', '-o', 'rw,workers=4', '-t', 'fuse.pcache', '-N', '/proc/1/ns/mnt', '-ofoo'],
    'sfnvrw',
    'mount',
  );
  t.deepEqual(places, ['/c#/b', '/mnt']);
  t.deepEqual([...flags], ['s', 'v']);
  t.deepEqual(options, ['rw', 'workers=4', 'foo']);
  t.is(namespace, '/proc/1/ns/mnt');
  t.deepEqual(parseHelperArguments(['--', '-x', '-'], '', 'mount').places, ['-x', '-']);
  t.is(
    refusal(() => parseHelperArguments(['-z'], 'sfnv', 'mount')),
    'mount: -z: unknown option',
  );
  t.is(
    refusal(() => parseHelperArguments(['-o'], 'sfnv', 'mount')),
    'mount: -o: needs a value',
  );
});

test('options for others are left out, those for this program stay', (t) => {
  const words =
    'defaults,noauto,nofail,_netdev,user,exec,nosuid,nodev,noatime,x-systemd.requires=/fast,x-systemd.device-timeout=5,comment=x,rw,workers=4,log=journal,log_level=warn';
  t.deepEqual(helperMountOptions(words.split(','), false), {
    options: ['rw', 'workers=4'],
    log: 'journal',
    logLevel: 'warn',
    configDir: undefined,
  });
});

test('what nobody knows is left for the check of mount options, unless mount is to be sloppy', (t) => {
  t.deepEqual(helperMountOptions(['bogus', 'ro'], false).options, ['bogus', 'ro']);
  t.deepEqual(helperMountOptions(['bogus', 'ro', 'rw'], true).options, ['ro', 'rw']);
});

test('what is no new mount is refused', (t) => {
  for (const option of ['remount', 'bind', 'move'])
    t.regex(
      refusal(() => helperMountOptions([option], true)),
      /can't be mounted that way/,
    );
});

test('a source is a cache and a backing device, or a name', (t) => {
  t.deepEqual(parseSource('/fast/c#/dev/sdb'), { cache: '/fast/c', backing: '/dev/sdb' });
  t.deepEqual(parseSource(String.raw`/a\#1#/b\\\#2`), { cache: '/a#1', backing: String.raw`/b\#2` });
  t.deepEqual(parseSource('vol'), { name: 'vol' });
  for (const source of ['/c', '#/b', '/c#', 'a#b#c'])
    t.regex(
      refusal(() => parseSource(source)),
      /neither CACHE#BACKING nor the NAME/,
    );
});
