// What is said when the optional package can't be used.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { loadFuseNative } from '../../src/fuse/libfuse-library.js';
import { temporaryFolder } from '../support/tmp.js';

/** A module whose packages are the given ones, each a text of JavaScript. */
function moduleWith(t: ExecutionContext, packages: Record<string, string>): string {
  const folder = temporaryFolder(t);
  for (const [name, text] of Object.entries(packages)) {
    fs.mkdirSync(path.join(folder, 'node_modules', name), { recursive: true });
    fs.writeFileSync(path.join(folder, 'node_modules', name, 'index.js'), text);
  }
  return pathToFileURL(path.join(folder, 'module.js')).href;
}

test('without the package, the message says that it is not installed and how to get it', (t) => {
  const error = t.throws(() => loadFuseNative(moduleWith(t, {})), {
    code: 'unsupported',
    message: 'transport libfuse: npm package fuse-native is not installed',
  }) as unknown as { hint: string };
  t.regex(error.hint, /npm install fuse-native/);
});

test('a package without its library says which library is missing, in one line', (t) => {
  const from = moduleWith(t, {
    'fuse-native': "throw new Error('libfuse.so.2: cannot open shared object file: No such file or directory');",
    'fuse-shared-library': "module.exports = { lib: '/nonexistent/libfuse.so' };",
  });
  t.throws(() => loadFuseNative(from), { code: 'unsupported', message: /fuse-native can't be loaded: .*libfuse\.so/ });
});

test('a package that was built for another Node says so', (t) => {
  const from = moduleWith(t, { 'fuse-native': "throw new Error('No native build was found\\nfor platform=linux');" });
  t.throws(() => loadFuseNative(from), { code: 'unsupported', message: /can't be loaded: No native build was found for platform=linux/ });
});
