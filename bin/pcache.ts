#!/usr/bin/env node
// The command `pcache`: runs its program as a bundle, which starts in less time, or as the modules that tsc wrote.
//
// Invariant: a bundle is used only if it was made from the modules beside it. `scripts/bundle.mjs` notes size and time of tsc's own record, which tsc
// writes anew whenever it writes a module. A package has no such record, since nothing in it changes.

import { readFileSync, statSync } from 'node:fs';

const bundle = new URL('../bundle/', import.meta.url);

function isBundleCurrent(): boolean {
  let madeFrom: string;
  try {
    madeFrom = readFileSync(new URL('made-from', bundle), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return false;
  }
  const record = statSync(new URL('../.tsbuildinfo', import.meta.url), { throwIfNoEntry: false });
  return record === undefined || madeFrom === `${record.size} ${record.mtimeMs}`;
}

await import(isBundleCurrent() ? new URL('pcache.js', bundle).href : '../src/cli/pcache.js');
