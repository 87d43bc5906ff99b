// A user who is not root, with files and a mount point of their own. Run by root as `nobody`, see mounted-as-user.ts. (Run by a user, all other tests of
// mounts are this test.)

import { spawnSync } from 'node:child_process';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { USER, USER_VOLUME_BYTES, mountedAsUser, whyNoOtherUser } from '../support/mounted-as-user.js';
import { mountTest } from '../support/mounted.js';

mountTest('a user who is not root formats, mounts, writes, flushes and unmounts', whyNoOtherUser(), async (t) => {
  const { gateway, asUser, isMounted } = await mountedAsUser(t);
  t.true(isMounted());
  const script = 'dd if=/dev/urandom of="$0" bs=100k count=20 seek=3 conv=notrunc,fsync status=none && b2sum < "$0"';
  const shown = (await asUser('sh', '-c', script, gateway.volume)).split(' ')[0];
  const status = await gateway.status();
  t.is(status.state, 'serving');
  t.is(status.write_errors, 0);
  const uid = spawnSync('id', ['-u', USER], { encoding: 'utf8' }).stdout.trim();
  t.is(await asUser('stat', '-c', '%u %a %s', gateway.volume), `${uid} 600 ${USER_VOLUME_BYTES}`);
  const loop = await gateway.pcache('loop', 'attach', gateway.mountpoint);
  t.is(loop.status, 1);
  t.regex(loop.stderr, /^pcache: .*permission denied.*\n/);
  t.regex(await gateway.umount('--flush'), /everything is on/);
  t.false(isMounted());
  t.is(await digestOf(gateway.backing), shown!);
});

mountTest('a mount of a user who is not root is cleaned up after kill -9, and ended by SIGTERM', whyNoOtherUser(), async (t) => {
  const { gateway, isMounted } = await mountedAsUser(t);
  process.kill(gateway.pids.supervisor, 'SIGKILL');
  process.kill(gateway.pids.engine, 'SIGKILL');
  await waitUntil(() => gateway.processes().length === 0, 'both are gone');
  t.regex(await gateway.ok('umount', gateway.mountpoint), /the daemon was dead already/);
  t.false(isMounted());
  await gateway.mount();
  process.kill(gateway.pids.supervisor, 'SIGTERM');
  await waitUntil(() => gateway.leftovers().length === 0 && !isMounted(), 'mount, processes and runtime files are gone');
});
