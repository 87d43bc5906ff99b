// Whether a program will still be where it is now. What the system runs at its start must be: a clone is pulled, cleaned and removed, /tmp is emptied, and a home
// folder may belong to somebody who should not say what root runs, or be mounted later than the service starts.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ProgramPaths } from './system-files.js';

/** `/root` is no better than the others; `/var/tmp` is emptied less often, not never. */
const PASSING = ['/tmp', '/var/tmp', '/dev/shm', '/run'];
const HOMES = ['/home', '/root'];

const HINT = 'as root, in a clone, `npm install --global --install-links .` makes a copy that stays; then pcache config install again';

/** One line for each of the two programs that may not stay, with what to do. The paths are absolute, and no links. */
export function whatMayGo({ node, pcache }: ProgramPaths): string[] {
  const why = whyItMayGo(pcache);
  const nodeWhy = node === undefined ? undefined : whyItMayGo(node);
  return [
    ...(why === undefined ? [] : [`the service will run ${pcache}, which is ${why}, and fails when that is gone or changed: ${HINT}`]),
    ...(nodeWhy === undefined ? [] : [`the service will run ${node!}, which is ${nodeWhy}: Node.js from the system's packages stays`]),
  ];
}

function whyItMayGo(path: string): string | undefined {
  const isBelow = (folder: string): boolean => path.startsWith(`${folder}/`);
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (existsSync(join(folder, '.git'))) return `in a git clone (${folder})`;
    if (folder === dirname(folder)) break;
  }
  const passing = PASSING.find(isBelow);
  if (passing !== undefined) return `below ${passing}`;
  const home = HOMES.find(isBelow);
  return home === undefined ? undefined : `in a home folder (below ${home})`;
}
