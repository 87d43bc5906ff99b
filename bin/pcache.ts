#!/usr/bin/env node
// The command `pcache` of any build: the bundled program if there is one (it may decide against itself, see scripts/bundle.mjs), else the modules. What a
// package installs as its command is the former alone, without this detour.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const bundled = join(import.meta.dirname, '..', 'bundle', 'pcache.js');
// Imported, a bundle would have its text searched for what it exports.
if (existsSync(bundled)) createRequire(import.meta.url)(bundled);
else await import('./command-line.js');
