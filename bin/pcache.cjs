#!/usr/bin/env node
// The command `pcache` of a package, and of a clone that npm has linked. In the repository, not in a build: of a command that is not there npm makes none, and
// says nothing. CommonJS, since it is part of every start.
/* global __dirname, process */
'use strict';
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const program = join(__dirname, '..', 'dist', 'bundle', 'pcache.js');
if (existsSync(program)) {
  require(program);
} else {
  const folder = join(__dirname, '..');
  const isClone = existsSync(join(folder, 'tsconfig.json'));
  const what = isClone
    ? 'not built: run `npm run build` there'
    : 'a copy of what was not built: run `npm run build` in the clone, and install again';
  process.stderr.write(`pcache: ${folder}: ${what}\n`);
  process.exitCode = 1;
}
