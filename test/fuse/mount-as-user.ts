// Mounts as a user who is not root, and prints what came of it as one JSON array. Started as root in a mount namespace of its own by
// mount.test.ts, with a directory of the user's as argument; becomes the user `nobody` at once.

import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { mountFuse, unmountFuse, type MountRequest } from '../../src/fuse/mount.js';
import { mountAt } from '../../src/fuse/mountinfo.js';
import { negotiate, queueDescriptors } from '../../src/fuse/session.js';
import { PcacheError } from '../../src/errors.js';

const NOBODY = 65534;

function outcomeOf(attempt: () => string): string {
  try {
    return attempt();
  } catch (error) {
    if (error instanceof PcacheError) return `${error.code}: ${error.message}${error.hint === undefined ? '' : ` | ${error.hint}`}`;
    throw error;
  }
}

const directory = process.argv[2]!;
process.setgroups!([]);
process.setgid!(NOBODY);
process.setuid!(NOBODY);

const request: MountRequest = { mountpoint: join(directory, 'own'), kind: 'directory', fsName: 'a,b' };
const outcomes = [
  outcomeOf(() => {
    const fd = mountFuse(request);
    const session = negotiate(fd);
    const fds = queueDescriptors(fd, 3);
    const entry = mountAt(request.mountpoint)!;
    const unmounted = unmountFuse(request.mountpoint);
    for (const each of fds) closeSync(each);
    return `${session.major} ${fds.length} ${entry.type} ${entry.source} ${unmounted}`;
  }),
  outcomeOf(() => String(mountFuse({ ...request, allowOther: true }))),
  outcomeOf(() => String(mountFuse({ ...request, mountpoint: join(directory, 'foreign') }))),
  outcomeOf(() => {
    process.env.PATH = '/nonexistent';
    return String(mountFuse(request));
  }),
];
console.log(JSON.stringify(outcomes));
