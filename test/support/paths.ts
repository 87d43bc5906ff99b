// Where things are, seen from a compiled test in whatever build folder: the repository's root is the nearest folder above with a package.json.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const above = dirname(folder);
    if (above === folder) throw new Error('no package.json above the tests');
    folder = above;
  }
  return folder;
}

export const repositoryRoot: string = findRoot();

/** Path of a file in test/fixtures. */
export function fixturePath(name: string): string {
  return join(repositoryRoot, 'test', 'fixtures', name);
}
